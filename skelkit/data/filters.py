"""Which clips stay in a dataset: named rules with limits, applied in order, each with its own count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.data.facts import Facts
from skelkit.errors import ConfigError
from skelkit.structures import Bool, Int64

AT_LEAST: Mapping[str, Callable[[Facts, Int64], npt.NDArray[Any]]] = MappingProxyType(
    {
        "presence": lambda facts, frames: facts.presence,
        "min_frames": lambda facts, frames: frames,
        "min_confidence": lambda facts, frames: facts.mean_confidence,
        "min_joints": lambda facts, frames: facts.mean_joints,
        "min_size": lambda facts, frames: facts.body_height,
    }
)
"""Rules that ask for a value of at least the limit: facts and number of frames -> the values. A clip whose
value is not known (NaN) does not pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSettings:
    """Limits of the rules; 0 = a rule that does not apply.

    Raises:
        ConfigError: a value outside its range, with every such value listed.
    """

    presence: float = 0.5
    """Share of frames with at least one pose (UNIK, section 4: 50 %)."""
    min_frames: int = 0
    """Time steps."""
    min_confidence: float = 0.0
    """Mean of the body-level confidence C."""
    min_joints: float = 0.0
    """Joints seen in a pose, on average."""
    min_size: float = 0.0
    """Median height of the bodies, in the shard's unit (pixels)."""
    near_duplicates: float = 0.0
    """Difference to another clip's movement up to which they count as one, in body heights; see
    `skelkit.data.near_duplicates`."""
    labelled: bool = False
    """Only clips with a label."""
    failed: bool = True
    """Leave out clips that could not be decoded whole."""

    def __post_init__(self) -> None:
        """Check ranges."""
        highest = {"presence": 1.0, "min_confidence": 1.0, "near_duplicates": 1.0}
        problems = [
            f"{f.name}: expected 0 to {highest.get(f.name, 'any number')}, got {getattr(self, f.name)}"
            for f in fields(self)
            if not 0 <= getattr(self, f.name) <= highest.get(f.name, np.inf)
        ]
        if problems:
            raise ConfigError("; ".join(problems))


@dataclass(slots=True, eq=False)
class Sieve:
    """Clips that pass rule after rule, and what each rule dropped.

    Args:
        count: Number of clips.
    """

    count: int
    rule: npt.NDArray[np.object_] = field(init=False)
    """(n,) the rule that dropped the clip, ``""`` where none did."""
    value: npt.NDArray[np.object_] = field(init=False)
    """(n,) as text, what the rule found."""
    detail: npt.NDArray[np.object_] = field(init=False)
    """(n,) more about it."""
    applied: list[dict[str, Any]] = field(init=False, default_factory=list)
    """As `DatasetInfo.filters`."""

    def __post_init__(self) -> None:
        """Nothing is dropped yet."""
        self.rule, self.value, self.detail = (np.full(self.count, "", object) for _ in range(3))

    @property
    def kept(self) -> Bool:
        """(n,) clips not dropped so far."""
        return np.asarray(self.rule == "", bool)

    def apply(
        self, rule: str, limit: Any, passes: Bool, values: npt.ArrayLike, details: npt.ArrayLike = ""
    ) -> None:
        """Drop the clips that do not pass.

        Args:
            rule: Its name.
            limit: What it asks for, as JSON can hold it.
            passes: (n,).
            values: (n,) what it found.
            details: (n,) more about it.
        """
        before = self.kept
        drop = before & ~passes
        self.rule[drop] = rule
        self.value[drop] = [_text(v) for v in np.broadcast_to(values, self.count)[drop].tolist()]
        self.detail[drop] = np.broadcast_to(np.asarray(details, object), self.count)[drop]
        entry = {
            "rule": rule,
            "limit": limit,
            "clips_in": int(before.sum()),
            "clips_dropped": int(drop.sum()),
        }
        self.applied.append(entry)

    def apply_at_least(self, settings: FilterSettings, facts: Facts, num_frames: Int64) -> None:
        """Apply the rules of `AT_LEAST` that have a limit."""
        for name, measure in AT_LEAST.items():
            if limit := getattr(settings, name):
                values = measure(facts, num_frames)
                self.apply(name, limit, np.asarray(values >= limit), values)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
