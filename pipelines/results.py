"""What a model scores on clips: figures, and the probabilities behind them, as files of a run."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.errors import ConfigError, InputError, OutputError
from skelkit.metrics import confusion_matrix, mean_class_accuracy, per_class_accuracy, top_k_accuracy
from skelkit.structures import Float32, Float64, Int64

RESULTS_FOLDER = "results"
"""Of a run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Probabilities of N clips."""

    video_ids: tuple[str, ...]
    labels: Int64
    """(N,) the true classes."""
    probabilities: Float32
    """(N, classes)."""
    class_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """How often the most probable classes are the true ones."""

    clips: int
    top1: float
    top5: float
    mean_class: float
    """Mean over classes of the share of their clips that are recognised."""
    per_class: Float64
    """(classes,) that share; NaN for a class without clips."""
    confusion: Int64
    """(classes, classes) rows: true, columns: predicted."""

    @classmethod
    def of(cls, scores: Scores) -> Result:
        """Measure."""
        predicted = scores.probabilities.argmax(axis=1)
        confusion = confusion_matrix(predicted, scores.labels, len(scores.class_names))
        return cls(
            clips=len(scores.labels),
            top1=top_k_accuracy(scores.probabilities, scores.labels),
            top5=top_k_accuracy(scores.probabilities, scores.labels, 5),
            mean_class=mean_class_accuracy(confusion),
            per_class=per_class_accuracy(confusion),
            confusion=confusion,
        )

    def figures(self) -> dict[str, float]:
        """The figures over all classes, ready for JSON."""
        return {n: getattr(self, n) for n in ("clips", "top1", "top5", "mean_class")}


def write_result(folder: Path, split: str, scores: Scores, result: Result) -> None:
    """Write ``<split>.json``, ``<split>-confusion.csv`` and ``<split>-scores.npz``.

    Raises:
        OutputError: the operating system refuses.
    """
    names = scores.class_names
    per_class = {n: v if np.isfinite(v) else None for n, v in zip(names, result.per_class, strict=True)}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["true \\ predicted", *names])
    table.writerows([name, *row] for name, row in zip(names, result.confusion.tolist(), strict=True))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / f"{split}-scores.npz",
            video_ids=np.asarray(scores.video_ids, np.str_),
            labels=scores.labels,
            probabilities=scores.probabilities,
            class_names=np.asarray(names, np.str_),
        )
        (folder / f"{split}-confusion.csv").write_text(text.getvalue(), encoding="utf-8")
        values = result.figures() | {"per_class": per_class}
        (folder / f"{split}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write results to {folder}: {error.strerror}", path=folder) from error


def read_scores(run: Path, split: str) -> Scores:
    """The probabilities of a run.

    Raises:
        InputError: it has none of this split, or not in this form.
    """
    path = run / RESULTS_FOLDER / f"{split}-scores.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return Scores(
                video_ids=tuple(file["video_ids"].tolist()),
                labels=file["labels"].astype(np.int64),
                probabilities=file["probabilities"].astype(np.float32),
                class_names=tuple(file["class_names"].tolist()),
            )
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"expected the scores of a run in {path} ({error}); make them with "
            f"`skelkit test {run} --split {split} --data DIR`",
            path=path,
        ) from error


def fuse_scores(parts: Sequence[Scores], weights: Sequence[float]) -> Scores:
    """The weighted mean of several models' probabilities (two-stream fusion, UNIK section 4).

    Raises:
        ConfigError: not the same clips, labels and classes, or not a weight above 0 for each.
    """
    first = parts[0]
    if len(weights) != len(parts) or not all(0 < w < float("inf") for w in weights):
        raise ConfigError(f"expected a weight above 0 for each of {len(parts)} runs, got {list(weights)}")
    for other in parts[1:]:
        for name in ("class_names", "video_ids"):
            if getattr(other, name) != getattr(first, name):
                what = "classes" if name == "class_names" else "clips"
                raise ConfigError(f"expected runs tested on the same {what}; they differ, test them on one")
        if not np.array_equal(other.labels, first.labels):
            raise ConfigError(
                "expected runs tested on the same labels; they differ, test them on one dataset"
            )
    share = np.asarray(weights, np.float64) / sum(weights)
    fused: Any = sum(w * part.probabilities for w, part in zip(share, parts, strict=True))
    return Scores(
        video_ids=first.video_ids,
        labels=first.labels,
        probabilities=np.asarray(fused, np.float32),
        class_names=first.class_names,
    )
