"""Several experts' tracks of the same people -> one, in memory that does not grow with the clip's length."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skelkit.aggregation import REFINERS
from skelkit.aggregation.confidence import GAMMA
from skelkit.aggregation.consensus import Consensus
from skelkit.aggregation.joints import shared_joints
from skelkit.aggregation.refiners import bridge_gaps, chain
from skelkit.aggregation.reliability import Reliability, learn
from skelkit.aggregation.ssta import Ssta
from skelkit.errors import ConfigError
from skelkit.protocols import Refiner
from skelkit.skeletons import get_skeleton
from skelkit.structures import Skeleton, SkeletonSequence, Tracks

METHODS = ("ssta", "consensus", "none")
ALL_JOINTS = "all"
WINDOW = 1024
"""Time steps that are dense in memory at a time."""
_ROWS = ("person", "step", "keypoints", "scores", "confidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationSettings:
    """How one skeleton is made of several.

    Raises:
        ConfigError: an unknown method, joint set or refiner, or a value out of range.
    """

    method: str = "consensus"
    """``ssta`` (the thesis' rule), ``consensus``, or ``none`` (the primary expert alone)."""
    joints: str = "lcr13"
    """Joint set of the result, or ``all`` for every joint that some expert has."""
    gamma: float = GAMMA
    """Poses with C below this count as discarded (equation 3.3); they stay, and are told by their C."""
    bridge_s: float = 0.0
    """Fill gaps (and discarded poses) of at most so many seconds; 0 = don't."""
    smooth: tuple[str, ...] = ()
    """Refiners afterwards, in order, as ``name`` or ``name:setting=value:...``."""

    def __post_init__(self) -> None:
        """Check everything that can be known in advance."""
        if self.method not in METHODS:
            raise ConfigError(f"method: expected one of {', '.join(METHODS)}, got {self.method!r}")
        if not 0 <= self.gamma < 1:
            raise ConfigError(f"gamma: expected 0 to below 1, got {self.gamma}")
        if not self.bridge_s >= 0:
            raise ConfigError(f"bridge: expected seconds, got {self.bridge_s}")
        self.target()
        self.refiner()

    def target(self) -> Skeleton | None:
        """The joint set wanted; None = all."""
        return None if self.joints == ALL_JOINTS else get_skeleton(self.joints)

    def refiner(self) -> Refiner | None:
        """What is done after aggregation, None where it is nothing."""
        refiners = [_refiner(text) for text in self.smooth]
        if self.bridge_s:
            refiners.insert(0, bridge_gaps(max_gap_s=self.bridge_s, gamma=self.gamma))
        return chain(*refiners) if refiners else None


def learn_reliability(clips: Iterable[Sequence[Tracks]], settings: AggregationSettings) -> Reliability | None:
    """What the consensus can know of the experts from all clips together; None where nothing is to be known.

    Args:
        clips: The views of each clip, as for `aggregate`; gone through once.
        settings: How they will be aggregated.
    """
    if settings.method != "consensus":
        return None
    windows = (window for views in clips for window in _windows(views))
    first = next(windows, None)
    return None if first is None else learn(itertools.chain([first], windows), settings.target())


def aggregate(
    views: Sequence[Tracks], settings: AggregationSettings, known: Reliability | None = None
) -> Tracks:
    """One skeleton for each person, from what several experts said.

    Args:
        views: Tracks of the same people over the same time steps, the primary expert's first.
        settings: How.
        known: What is known of the experts (`learn_reliability`); None learns it from these views alone.
    """
    if settings.method == "none":
        result = views[0]
    else:
        joints = settings.target()
        if settings.method == "ssta":
            chunks = Ssta(joints=joints).stream(_windows(views))
        else:
            known = known or learn(_windows(views), joints)
            chunks = Consensus(joints=joints, reliability=known).stream(_windows(views))
        parts = [Tracks.of(chunk) for chunk in chunks]
        result = _joined(parts, views[0], steps=[WINDOW * i for i in range(len(parts))])
    refiner = settings.refiner()
    return result if refiner is None else refine_people(result, refiner)


def result_skeleton(experts: Sequence[Skeleton], settings: AggregationSettings) -> Skeleton:
    """Joint set of what `aggregate` makes of experts with these joint sets, the primary one's first."""
    if settings.method == "none":
        return experts[0]
    return settings.target() or shared_joints(experts, None)


def refine_people(tracks: Tracks, refiner: Refiner) -> Tracks:
    """A refiner applied to each person alone: people are independent, and one is dense at a time."""
    refined = []
    for number in range(tracks.num_people):
        mine = tracks.person == number
        rows = {name: getattr(tracks, name)[mine] for name in _ROWS}
        rows["person"] = np.zeros_like(rows["person"])
        alone = replace(tracks, **rows, track_ids=tracks.track_ids[number : number + 1])
        done = Tracks.of(refiner(alone.to_sequence()))
        refined.append(replace(done, person=done.person + number, track_ids=tracks.track_ids))
    return _joined(refined, tracks) if refined else tracks


def _windows(views: Sequence[Tracks]) -> Iterator[list[SkeletonSequence]]:
    for start in range(0, max(views[0].num_frames, 1), WINDOW):
        yield [view.window(start, start + WINDOW) for view in views]


def _joined(parts: Sequence[Tracks], whole: Tracks, steps: Sequence[int] | None = None) -> Tracks:
    """Rows of several parts of one clip, in the order of time.

    Args:
        parts: Stretches of time or people of the clip.
        whole: The clip.
        steps: The time step each part begins with; None = all begin with the first.
    """
    rows = {n: np.concatenate([getattr(p, n) for p in parts]) for n in _ROWS}
    if steps is not None:
        rows["step"] += np.repeat(steps, [len(p) for p in parts])
    order = np.lexsort((rows["person"], rows["step"]))
    return replace(
        parts[0],
        **{name: values[order] for name, values in rows.items()},
        track_ids=whole.track_ids,
        frame_indices=whole.frame_indices,
        pts_s=whole.pts_s,
    )


def _refiner(text: str) -> Refiner:
    name, *pairs = text.split(":")
    make: Callable[..., Refiner] = REFINERS.load(name)
    try:
        settings = {key: float(value) for key, _, value in (p.partition("=") for p in pairs)}
        return make(**{k: int(v) if k in {"degree", "order"} else v for k, v in settings.items()})
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"expected a refiner as {name}:setting=number:..., got {text!r} ({error})"
        ) from error
