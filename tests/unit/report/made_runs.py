"""Training runs in numbers for the tests of their report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skelkit.report.run_facts import JointMatrices, RunFacts, SplitResult
from skelkit.skeletons import COCO17


def result_of(confusion: Any, split: str = "test") -> SplitResult:
    """What a confusion matrix is the count of; every prediction has a probability of its own."""
    counts = np.asarray(confusion, np.int64)
    classes = len(counts)
    labels, predicted = (np.repeat(axis, counts.ravel()) for axis in np.indices(counts.shape).reshape(2, -1))
    probabilities = np.full((len(labels), classes), 0.1 / classes, np.float32)
    probabilities[np.arange(len(labels)), predicted] = np.linspace(0.5, 0.9, len(labels))
    total = counts.sum(axis=1)
    per_class = np.full(classes, np.nan)
    np.divide(np.diag(counts), total, out=per_class, where=total > 0)
    return SplitResult(
        split=split,
        top1=float(np.trace(counts) / max(len(labels), 1)),
        top5=1.0,
        mean_class=float(np.nanmean(per_class)) if total.any() else float("nan"),
        per_class=per_class,
        confusion=counts,
        video_ids=[f"clip{i:04}" for i in range(len(labels))],
        labels=labels,
        probabilities=probabilities,
    )


def confused(classes: int, seed: int = 0) -> Any:
    """About twelve clips of each class, most of them recognised, the others taken for a neighbour."""
    rng = np.random.default_rng(seed)
    counts = np.diag(rng.integers(4, 12, classes))
    if classes > 1:
        for i in range(classes):
            counts[i, (i + rng.integers(1, 4)) % classes] += rng.integers(0, 8)
    return counts


def points(epochs: int, *, validation: bool = True) -> list[dict[str, float]]:
    """Curves of epochs of ten steps."""
    found: list[dict[str, float]] = []
    for epoch in range(epochs):
        for step in (1, 6):
            found.append({"epoch": epoch, "step": 10 * epoch + step, "lr": 0.1 / (epoch + 1), "loss": 9.0})
        figures = {"train_loss": 3.0 / (epoch + 1), "train_top1": 1 - 0.9 / (epoch + 1)}
        watched = {"val_loss": 4.0 / (epoch + 1), "val_top1": 0.8 - 0.7 / (epoch + 1)}
        found.append({"epoch": epoch, "step": 10 * epoch + 10, **figures, **(watched if validation else {})})
    return found


def matrices_of(name: str, heads: int = 3, *, graph: bool = False, seed: int = 0) -> JointMatrices:
    """A unit of 17 joints."""
    rng = np.random.default_rng(seed)
    attention = rng.random((heads, 17, 17)).astype(np.float32)
    return JointMatrices(
        name=name,
        matrix="head",
        before=np.stack([np.eye(17, dtype=np.float32)] * heads) if graph else None,
        learned=rng.normal(0, 0.1, (heads, 17, 17)).astype(np.float32),
        attention=None if graph else attention / attention.sum(axis=1, keepdims=True),
    )


def run_of(names: Sequence[str], *, splits: Sequence[str] = ("test",), **changes: Any) -> RunFacts:
    """A finished run of six epochs with results of these splits."""
    fields: dict[str, Any] = {
        "name": "made",
        "created_with": "skelkit 0",
        "architecture": "unik",
        "recipe": {"model": {"name": "unik"}},
        "about": (("Network", "unik"), ("Training", "6 epochs")),
        "finished": True,
        "epochs": 6,
        "curves": points(6),
        "class_names": tuple(names),
        "results": [result_of(confused(len(names), i), split) for i, split in enumerate(splits)],
        "train_clips": dict.fromkeys(names, 30),
        "skeleton": COCO17,
        "parameters": 522_070,
        "gflops": 0.33,
        "matrices": [matrices_of("Block 1"), matrices_of("Block 2, single frames", 13, graph=True)],
        "matrices_note": "What the network has learnt.",
    }
    return RunFacts(**(fields | changes))
