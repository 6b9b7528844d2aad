"""What is in a shard, as plain values for a table or JSON."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from skelkit.data import PoseSummary, ShardReader, describe


def info(shard: Path) -> dict[str, Any]:
    """A summary of a shard.

    Raises:
        ShardError: not a whole shard of a known version.
    """
    summary = describe(shard)
    plain = {f.name: getattr(summary, f.name) for f in dataclasses.fields(summary)}
    return plain | {
        "path": str(summary.path),
        "status": dict(summary.status),
        "poses": _poses(summary.poses),
        "experts": {name: _poses(p) for name, p in summary.experts.items()},
        "bytes_per_pose": _number(summary.bytes_per_pose),
        "image_sizes": [{"width": w, "height": h, "clips": n} for (w, h), n in summary.image_sizes.items()],
    }


def clips(shard: Path) -> list[dict[str, Any]]:
    """The row of every clip.

    Raises:
        ShardError: not a whole shard of a known version.
    """
    with ShardReader(shard) as reader:
        people = reader.column("num_people")
        return [
            dataclasses.asdict(reader.clip(i)) | {"num_people": int(people[i])} for i in range(len(reader))
        ]


def _poses(summary: PoseSummary) -> dict[str, Any]:
    return {
        "skeleton": summary.skeleton.name,
        "num_rows": summary.num_rows,
        "num_people": summary.num_people,
        "joints_found": summary.joints_found,
        "mean_score": _number(summary.mean_score),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
