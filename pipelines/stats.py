"""A shard or a dataset in numbers: clips by split and class, lengths, people, confidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.data import ShardReader
from skelkit.data.assembling import measure_clips
from skelkit.data.dataset import DatasetReader
from skelkit.data.preparing import Preparation
from skelkit.errors import InputError

_FROM_CLIPS = ("label", "split", "num_rows", "num_frames", "num_people", "fps", "status")
_FACTS = ("presence", "mean_confidence", "mean_score", "joint_visibility")
_QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}


def stats(path: Path) -> dict[str, Any]:
    """Sum up a shard or a dataset; of a dataset only the index is read.

    Raises:
        InputError: there is nothing.
        ShardError: it is damaged.
    """
    if not path.exists():
        raise InputError(f"expected a shard or a dataset, found nothing at {path}", path=path)
    if path.is_dir():
        dataset = DatasetReader(path)
        columns = {name: dataset.column(name) for name in (*_FROM_CLIPS, *_FACTS)}
        joints = dataset.info.skeleton
        size = sum(shard.bytes for shard in dataset.info.shards)
    else:
        with ShardReader(path) as reader:
            columns = {name: reader.column(name) for name in _FROM_CLIPS}
            joints = reader.skeleton
            facts = measure_clips(reader, 0, len(reader), Preparation(skeleton=joints), describe=False).facts
            columns |= {name: getattr(facts, name) for name in _FACTS}
        size = path.stat().st_size
    everything = np.ones(len(columns["split"]), bool)
    splits = sorted(set(columns["split"].tolist()))
    weights = columns["num_rows"][:, None]
    visible = np.nansum(columns["joint_visibility"] * weights, axis=0) / max(int(weights.sum()), 1)
    return {
        "path": str(path),
        "skeleton": joints.name,
        "bytes": size,
        **_totals(columns, everything),
        "splits": {split: _totals(columns, columns["split"] == split) for split in splits},
        "classes": _classes(columns, splits),
        "distributions": {
            name: _distribution(columns[name])
            for name in ("num_frames", "num_people", "presence", "mean_confidence", "mean_score")
        },
        "joint_visibility": dict(zip(joints.joints, np.round(visible, 4).tolist(), strict=True)),
    }


def _totals(columns: Mapping[str, npt.NDArray[Any]], mine: npt.NDArray[np.bool_]) -> dict[str, Any]:
    frames, fps = columns["num_frames"][mine], columns["fps"][mine]
    timed = fps > 0
    return {
        "clips": int(mine.sum()),
        "frames": int(frames.sum()),
        "hours": round(float((frames[timed] / fps[timed]).sum()) / 3600, 3),
        "people": int(columns["num_people"][mine].sum()),
        "poses": int(columns["num_rows"][mine].sum()),
        "labels": len(set(columns["label"][mine].tolist()) - {""}),
    }


def _classes(columns: Mapping[str, npt.NDArray[Any]], splits: list[str]) -> list[dict[str, Any]]:
    """Clips of every label in every split."""
    counts: dict[str, dict[str, int]] = {}
    for label, split in zip(columns["label"].tolist(), columns["split"].tolist(), strict=True):
        row = counts.setdefault(label, dict.fromkeys(splits, 0))
        row[split] += 1
    return [
        {"label": label, "clips": sum(row.values()), "splits": row} for label, row in sorted(counts.items())
    ]


def _distribution(values: npt.NDArray[Any]) -> dict[str, float] | None:
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    found = np.quantile(known, list(_QUANTILES.values()))
    return {name: round(float(value), 4) for name, value in zip(_QUANTILES, found, strict=True)}
