"""What the report of a dataset is made from: columns with one entry per clip, and what holds for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.errors import ConfigError
from skelkit.structures import Bool, Skeleton

Column = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatasetFacts:
    """A dataset of N clips in numbers; no pose is held.

    Raises:
        ConfigError: columns of different lengths.
    """

    name: str
    skeleton: Skeleton
    """Joint set, K joints."""
    dimensions: int
    coordinate_unit: str
    created_with: str
    recipe: Mapping[str, Any]
    filters: Sequence[Mapping[str, Any]]
    """In order, for each rule: ``rule``, ``limit``, ``clips_in``, ``clips_dropped``."""
    label_names: Sequence[str]
    """All classes, those without a clip included."""
    num_shards: int
    size_bytes: int
    gamma: float
    """C below which a pose counts as discarded."""
    video_id: Column
    """(N,) str, like `label`, `split` and `status`; an empty label is none."""
    label: Column
    split: Column
    status: Column
    num_frames: Column
    """(N,) int, like `num_people` and `num_rows` (poses)."""
    num_people: Column
    num_rows: Column
    fps: Column
    """(N,); 0 where unknown."""
    presence: Column
    """(N,) share of the frames with somebody."""
    mean_confidence: Column
    """(N,) mean of C; NaN where there is none."""
    mean_score: Column
    """(N,) mean score of the joints seen; NaN where there is none."""
    joint_visibility: Column
    """(N, K) share of a clip's poses that have the joint."""

    def __post_init__(self) -> None:
        """Check lengths."""
        shapes = {name: getattr(self, name).shape for name in self.columns()}
        wanted: dict[str, tuple[int, ...]] = dict.fromkeys(shapes, (len(self),))
        wanted["joint_visibility"] = (len(self), self.skeleton.num_joints)
        if shapes != wanted:
            raise ConfigError(f"expected columns of the shapes {wanted}, got {shapes}")

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Names of the fields with an entry per clip."""
        return tuple(field.name for field in fields(cls) if field.type in {"Column", Column})

    def __len__(self) -> int:
        """N."""
        return len(self.video_id)

    @property
    def splits(self) -> list[str]:
        """Names of the splits, the largest first."""
        names, counts = np.unique(self.split.astype(str), return_counts=True)
        return [str(name) for _, name in sorted(zip(-counts, names, strict=True))]

    @property
    def drawable(self) -> Bool:
        """(N,) which clips have a pose."""
        return np.asarray(self.num_rows > 0)

    @property
    def quality(self) -> tuple[str, Column]:
        """What tells a clip's quality, and its name: C, or the joints' scores where no clip has a C."""
        if np.isfinite(self.mean_confidence).any():
            return "confidence C", self.mean_confidence
        return "joint score", self.mean_score
