"""Selective Spatio-Temporal Aggregation, the thesis' own rule (section 3.3.2, equations 3.1 to 3.4).

Per joint and person: in the first frame one of the two proposals closest to each other, afterwards the
proposal closest to the aggregate of the frame before. What the equations leave open is decided so:

- A missing joint (NaN) takes no part; a joint that no expert sees stays missing.
- "Any one of the two" is the one with the higher score, then the one nearer to all other experts, then the
  one given first. A single proposal is taken as it is.
- The chain starts afresh, by the rule of the first frame, where
  a joint was unseen for longer than ``max_gap_s``;
  even the nearest proposal is farther from the last aggregate than ``runaway`` person sizes; or
  the expert it follows has been outvoted without a break for ``patience_s``: two others lay within
  ``tolerance`` person sizes of each other and both farther than twice that from it. Otherwise one wrong
  first frame, confirmed by the same expert ever after, would poison the whole clip.
- A person's size is the longer side of the box around the joints, the median over the experts.
- One expert's left/right swaps are undone first (`skelkit.aggregation.swaps`).
- Experts with different joint sets meet in the joints of `skelkit.aggregation.joints.shared_joints`.
- Equation 3.3 discards nothing here: poses with C < gamma are found with
  `skelkit.aggregation.confidence.discarded`, and bridged, if wanted, by a refiner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from skelkit.aggregation.chain import Index, follow
from skelkit.aggregation.confidence import body_confidence, extent, head_length
from skelkit.aggregation.joints import shared_joints, to_skeleton
from skelkit.aggregation.swaps import Pairs, distance, pair_distances, undo_swaps
from skelkit.aggregation.views import (
    Proposals,
    check_continues,
    check_views,
    cut,
    join,
    lower_median,
    pick,
    stack,
    unstack,
)
from skelkit.errors import ConfigError
from skelkit.skeletons import LCR13
from skelkit.structures import Bool, Float32, Float64, Skeleton, SkeletonSequence

CHUNK = 2048
"""Frames worked on at a time: few enough to stay in the processor's cache, enough to outweigh the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssta:
    """Aggregator: SST-A.

    The output's joints are proposals of the experts, never means of them, except where ``joints`` asks for
    derived ones. Its scores are those of the chosen proposals, its confidence is C of equation 3.4, its
    ``sources`` are those of all views.

    Raises:
        ConfigError: a parameter out of range.
    """

    joints: Skeleton | None = LCR13
    """The joint set of the result; None keeps every joint that some expert has (`shared_joints`)."""
    max_gap_s: float = 0.5
    """Seconds without any proposal after which a joint's chain starts afresh."""
    runaway: float = 0.5
    """Jump, in person sizes, after which it starts afresh."""
    tolerance: float = 0.1
    """Distance, in person sizes, within which two experts agree on a joint."""
    patience_s: float = 0.5
    """Seconds that the chain follows an outvoted expert before it starts afresh."""
    fix_swaps: bool = True
    """Undo left/right swaps of one expert where the others outvote it."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("max_gap_s", "runaway", "tolerance", "patience_s"):
            value = getattr(self, name)
            if not value >= 0:
                raise ConfigError(f"Ssta.{name}: expected a number of at least 0, got {value}")

    def aggregate(self, views: Sequence[SkeletonSequence]) -> SkeletonSequence:
        """One sequence from several of the same people in the same frames.

        Raises:
            ConfigError: the views differ in people, frames or number of coordinates.
        """
        check_views(views)
        frames = views[0].num_frames
        parts = ([cut(v, start, start + CHUNK) for v in views] for start in range(0, max(frames, 1), CHUNK))
        return join(list(self.stream(parts)))

    def stream(self, chunks: Iterable[Sequence[SkeletonSequence]]) -> Iterator[SkeletonSequence]:
        """The same for views that come piece by piece, with memory for one piece only.

        Args:
            chunks: The views of successive stretches of time; people and joint sets stay the same.

        Yields:
            One sequence per chunk. Put together they are `aggregate` of the whole, wherever it was cut.

        Raises:
            ConfigError: the views of a chunk, or two chunks, differ in people or joint sets.
        """
        state: _State | None = None
        for views in chunks:
            check_views(views)
            skeleton = shared_joints([v.skeleton for v in views], self.joints)
            proposals = stack(views, skeleton)
            if state is None:
                state = _State.before(proposals)
            check_continues(state.row, proposals)
            points, scores, confidence = self._chunk(proposals, skeleton, state)
            sequence = unstack(views, skeleton, points, scores, confidence)
            yield sequence if self.joints is None else to_skeleton(sequence, self.joints)

    def _chunk(
        self, proposals: Proposals, skeleton: Skeleton, state: _State
    ) -> tuple[Float32, Float32, Float32]:
        """Points (C, K, T, M), scores (K, T, M) and C (T, M) of one chunk; ``state`` moves on."""
        distances = pair_distances(proposals.points)
        if self.fix_swaps:
            undo_swaps(proposals, skeleton, distances)
        size = lower_median(extent(proposals.points))
        outvoted = self._outvoted(distances, size, proposals.pts_s, state)
        chosen = self._choose(proposals, size, outvoted, state)
        points, scores = pick(proposals.points, chosen), pick(proposals.scores, chosen)
        apart = distance(points[:, None], proposals.points)
        return points, scores, body_confidence(apart, head_length(points, skeleton))

    def _choose(self, proposals: Proposals, size: Float32, outvoted: list[Bool], state: _State) -> Index:
        """(K, T, M) the expert whose proposal is taken (any, where nobody has one): equation 3.1."""
        points = proposals.points
        num_experts, num_joints, frames, people = points.shape[1:]
        before, someone, gap = state.advance(proposals, self.max_gap_s)

        # From every expert that may have been chosen before: which proposal is nearest now?
        nearest = np.empty((num_experts, num_joints, frames, people), np.int8)
        nearest[:] = np.arange(num_experts)[:, None, None, None]  # where nobody sees it, all stays as it is
        jump = np.full(nearest.shape, np.inf, np.float32)
        for e in range(num_experts):
            apart = distance(points[:, e, None], before)
            closer = apart < jump
            np.copyto(nearest, e, where=closer)
            np.copyto(jump, apart, where=closer)

        afresh = jump > self.runaway * size
        for e, out in enumerate(outvoted):
            afresh |= out & (nearest == e)
        afresh &= ~np.isnan(before[0])  # an expert that had no proposal cannot have been chosen
        afresh |= gap
        afresh &= someone
        k, t, m = np.nonzero(afresh.any(axis=0))
        start = np.zeros(nearest.shape[1:], np.int8)
        start[k, t, m] = closest_pair(points[:, :, k, t, m], proposals.scores[:, k, t, m])
        np.copyto(nearest, start, where=afresh)

        step = nearest.transpose(2, 0, 1, 3).reshape(frames, num_experts, num_joints * people)
        chosen = follow(step, state.choice.reshape(-1)).reshape(frames, num_joints, people)
        if frames:
            state.choice = chosen[-1]
        return np.ascontiguousarray(chosen.swapaxes(0, 1))

    def _outvoted(self, distances: Pairs, size: Float32, pts_s: Float64, state: _State) -> list[Bool]:
        """Per expert (K, T, M): for `patience_s` or longer two others have agreed against it."""
        num_experts = len(state.calm_s)
        if num_experts < 3:
            return []
        near = {pair: d <= self.tolerance * size for pair, d in distances.items()}
        far = {pair: d > 2 * self.tolerance * size for pair, d in distances.items()}
        result = []
        for e in range(num_experts):
            out = np.zeros(distances[0, 1].shape, bool)
            for (a, b), agree in near.items():
                if e not in (a, b):
                    out |= agree & far[min(a, e), max(a, e)] & far[min(b, e), max(b, e)]
            result.append(state.lasting(e, out, pts_s, self.patience_s))
        return result


@dataclass(slots=True, kw_only=True)
class _State:
    """What the chain remembers from chunk to chunk."""

    row: Float32
    """(C, E, K, M) the proposals of the last frame in which anyone saw the joint."""
    choice: Index
    """(K, M) the expert chosen then."""
    seen_s: Float64
    """(K, M) when that was; -inf = never."""
    calm_s: Float64
    """(E, K, M) when the expert was last not outvoted."""

    @classmethod
    def before(cls, proposals: Proposals) -> _State:
        """Nothing seen yet."""
        c, e, k, t, m = proposals.points.shape
        return cls(
            row=np.full((c, e, k, m), np.nan, np.float32),
            choice=np.zeros((k, m), np.intp),
            seen_s=np.full((k, m), -np.inf),
            calm_s=np.full((e, k, m), proposals.pts_s[0] if t else -np.inf),
        )

    def advance(self, proposals: Proposals, max_gap_s: float) -> tuple[Float32, Bool, Bool]:
        """What came before each frame.

        Returns:
            The proposals of the last earlier frame in which anyone saw the joint (C, E, K, T, M); whether
            anyone sees it now (K, T, M); whether the last time is longer ago than ``max_gap_s`` (K, T, M).
        """
        points, pts_s = proposals.points, proposals.pts_s
        someone = ~np.isnan(points[0]).all(axis=0)
        rows = np.concatenate([self.row[..., None, :], points], axis=3)
        seen = np.concatenate([self.seen_s[:, None], np.where(someone, pts_s[:, None], -np.inf)], axis=1)
        if not someone.all():
            seen = np.maximum.accumulate(seen, axis=1)
            frame = np.where(someone, np.arange(1, len(pts_s) + 1)[:, None], 0)
            last = np.maximum.accumulate(frame, axis=1)
            k, t, m = np.nonzero(~someone)
            rows[:, :, k, t + 1, m] = rows[:, :, k, last[k, t, m], m]
        self.row, self.seen_s = rows[..., -1, :].copy(), seen[:, -1].copy()
        return rows[..., :-1, :], someone, pts_s[:, None] - seen[:, :-1] > max_gap_s

    def lasting(self, expert: int, out: Bool, pts_s: Float64, patience_s: float) -> Bool:
        """(K, T, M) where ``expert`` has been outvoted (``out``) without a break for so long."""
        result = np.zeros_like(out)
        if not len(pts_s):
            return result
        k, m = np.nonzero(out.any(axis=1))
        some = out[k, :, m]  # (n, T): few joints are ever in dispute
        calm = np.concatenate([self.calm_s[expert, k, m][:, None], np.where(some, -np.inf, pts_s)], axis=1)
        calm = np.maximum.accumulate(calm, axis=1)
        self.calm_s[expert] = pts_s[-1]
        self.calm_s[expert, k, m] = calm[:, -1]
        result[k, :, m] = some & (pts_s - calm[:, 1:] >= patience_s)
        return result


def closest_pair(points: Float32, scores: Float32) -> Index:
    """The first frame's rule: one of the two proposals closest to each other.

    Of the two: the one with the higher score, then the one nearer to all other experts, then the first.

    Args:
        points: (C, E, n), NaN = no proposal; at least one expert has one.
        scores: (E, n).

    Returns:
        (n,) the chosen expert; where only one has a proposal, that one.
    """
    num_experts = points.shape[1]
    seen = np.isfinite(points[0])
    lone = np.argmax(seen, axis=0)
    pairs = pair_distances(points)
    if not pairs:
        return np.asarray(lone)
    members = np.asarray(list(pairs))
    apart = np.stack([np.where(np.isnan(d), np.inf, d) for d in pairs.values()])
    best = np.argmin(apart, axis=0)
    to_others = np.zeros((num_experts, points.shape[2]), np.float32)
    for (a, b), d in zip(pairs, np.where(np.isinf(apart), 0, apart), strict=True):
        to_others[a] += d
        to_others[b] += d
    lane = np.arange(points.shape[2])
    first, second = members[best].T
    better = scores[second, lane] > scores[first, lane]
    equal = scores[second, lane] == scores[first, lane]
    better |= equal & (to_others[second, lane] < to_others[first, lane])
    pair = np.where(better, second, first)
    return np.asarray(np.where(np.isfinite(apart.min(axis=0)), pair, lone))
