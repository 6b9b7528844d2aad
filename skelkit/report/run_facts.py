"""What the report of a training run is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skelkit.structures import Float32, Float64, Int64, Skeleton


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitResult:
    """What was measured on N clips of a split."""

    split: str
    top1: float
    """Like all that follow in [0, 1]."""
    top5: float
    mean_class: float
    per_class: Float64
    """(classes,) share of a class's clips that are recognised; NaN for a class without clips."""
    confusion: Int64
    """(classes, classes) rows: true, columns: predicted."""
    video_ids: Sequence[str]
    """N names."""
    labels: Int64
    """(N,) the true classes."""
    probabilities: Float32
    """(N, classes)."""

    @property
    def clips(self) -> int:
        """N."""
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointMatrices:
    """Which joints enter which others in one part of the network; [s, v, w]: v enters w."""

    name: str
    """Of the part: its block."""
    matrix: str
    """What one of the S matrices is called: head, subset, scale."""
    before: Float32 | None
    """(S, V, V) the graph before anything was learnt; None = a random beginning."""
    learned: Float32
    """(S, V, V) for V joints, or those of several frames."""
    attention: Float32 | None
    """(S, V, V) what was added for some clips, their mean; None = not known, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunFacts:
    """A training run, finished or not."""

    name: str
    created_with: str
    architecture: str
    recipe: Mapping[str, Any]
    """As it was written down."""
    about: Sequence[tuple[str, str]]
    """What it says, in words: what, how."""
    finished: bool
    epochs: int
    """To do; 0 = not known to have been trained in epochs."""
    curves: Sequence[Mapping[str, float]]
    """Points by ``epoch`` and ``step``: ``lr`` and ``loss`` of a step, or ``train_loss``, ``train_top1``,
    ``val_loss``, ``val_top1`` of a whole epoch."""
    class_names: Sequence[str]
    results: Sequence[SplitResult]
    train_clips: Mapping[str, int]
    """Clips of each class that it could learn from; empty = not known."""
    skeleton: Skeleton | None
    parameters: int
    """0 = not known."""
    gflops: float
    """Of a clip; 0 = not known."""
    matrices: Sequence[JointMatrices]
    matrices_note: str
    """What they are taken from, or why there are none, as a sentence."""

    @property
    def whole_epochs(self) -> list[Mapping[str, float]]:
        """Figures of the epochs that have ended."""
        return [point for point in self.curves if "train_loss" in point]
