"""A robust consensus of experts: what SST-A's rule becomes once experts are trusted for what they are.

The plain rule takes the closest pair as right, so one good expert loses to two poor ones that share a
mistake, and its output jitters as the chain changes experts. Here every proposal is a vote with a
probability of being right (`skelkit.aggregation.reliability`), and a joint lies at the mode of

    sum over experts of v log((1 - q) / OUTLIER_AREA + q N(x; proposal, spread)),

lengths in person sizes, found by mean shift from every proposal. Over time the mode is chosen by dynamic
programming (Viterbi), which prefers the likely modes that do not jump.

The vote q is not the probability p of a proposal alone: log odds of q = log odds of p + 2 log odds of the
expert's overall strength. Experts do not fail independently (they share pictures that are hard, and left
taken for right), and where two disagree the better one is right far more often than the two p say. v, the
number of votes, is 1, or less for experts that share their mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skelkit.aggregation.confidence import body_confidence, extent, head_length
from skelkit.aggregation.joints import shared_joints, to_skeleton
from skelkit.aggregation.path import Path
from skelkit.aggregation.reliability import Reliability, learn, logit, sigmoid
from skelkit.aggregation.strays import Strays
from skelkit.aggregation.swaps import distance, pair_distances, undo_swaps
from skelkit.aggregation.views import (
    Proposals,
    check_continues,
    check_views,
    cut,
    expert_names,
    join,
    lower_median,
    pick,
    stack,
    unstack,
)
from skelkit.errors import ConfigError
from skelkit.skeletons import LCR13
from skelkit.structures import Float32, Skeleton, SkeletonSequence

CHUNK = 1024
"""Frames worked on at a time."""

OUTLIER_AREA = 0.02
"""A wrong proposal lies anywhere in an area of this size, in squared person sizes; small, because wrong
proposals lie on other parts of the body rather than anywhere."""

TAIL = 1.5
"""Widening of the experts' spreads: their errors have heavier tails than a normal distribution."""

STRENGTH_WEIGHT = 2.0
"""How much an expert's overall strength counts beside its trust in the joint at hand.

These three were chosen on 1,000 pictures of LSP extended and checked on 1,000 others."""

_SHIFTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """Aggregator: robust consensus of calibrated experts.

    Output joints are weighted means of the proposals that agree. The score of a joint is the probability
    that any of the proposals at its place is right, its confidence is C of equation 3.4.
    """

    joints: Skeleton | None = LCR13
    """The joint set of the result; None keeps every joint that some expert has (`shared_joints`)."""
    reliability: Reliability | None = None
    """What is known of the experts; None learns it from the views themselves. Better: from the whole data
    set, with `skelkit.aggregation.reliability.learn`."""
    fix_swaps: bool = False
    """Undo left/right swaps of one expert where the others outvote it. Off, because the majority may be two
    poor experts that share a mistake: on LSP extended it costs up to 0.6 points of PCK@0.2, on
    simulated clips it gains 0.3 at most."""

    def aggregate(self, views: Sequence[SkeletonSequence]) -> SkeletonSequence:
        """One sequence from several of the same people in the same frames.

        Raises:
            ConfigError: the views differ in people, frames or number of coordinates, or their experts are
                not those of ``reliability``.
        """
        check_views(views)
        known = self if self.reliability else replace(self, reliability=learn([views], self.joints))
        starts = range(0, max(views[0].num_frames, 1), CHUNK)
        return join(list(known.stream([cut(v, start, start + CHUNK) for v in views] for start in starts)))

    def stream(self, chunks: Iterable[Sequence[SkeletonSequence]]) -> Iterator[SkeletonSequence]:
        """The same for views that come piece by piece, with memory for one piece only.

        A choice among modes looks ahead to the end of its chunk, not beyond.

        Args:
            chunks: The views of successive stretches of time; people and joint sets stay the same.

        Yields:
            One sequence per chunk.

        Raises:
            ConfigError: as `aggregate`; or ``reliability`` is None, since the whole cannot be seen in
                advance.
        """
        if self.reliability is None:
            raise ConfigError(
                "Consensus.stream: expected reliabilities, got None; try Consensus(reliability=learn(...))"
            )
        path, strays = None, Strays()
        for views in chunks:
            check_views(views)
            skeleton = shared_joints([v.skeleton for v in views], self.joints)
            _check_known(self.reliability, expert_names(views), skeleton)
            proposals = stack(views, skeleton)
            if path is not None:
                check_continues(path.place, proposals)
            if self.fix_swaps:
                undo_swaps(proposals, skeleton, pair_distances(proposals.points))
            size = lower_median(extent(proposals.points))
            modes, likelihood, scores = find_modes(proposals, size, self.reliability)
            strays.set_aside(modes, likelihood, size, proposals.pts_s)
            path = path or Path(modes)
            chosen = path.follow(modes, likelihood, size, proposals.pts_s)
            points = pick(modes, chosen)
            apart = distance(points[:, None], proposals.points)
            confidence = body_confidence(apart, head_length(points, skeleton))
            sequence = unstack(views, skeleton, points, pick(scores, chosen), confidence)
            yield sequence if self.joints is None else to_skeleton(sequence, self.joints)


def _check_known(reliability: Reliability, experts: tuple[str, ...], skeleton: Skeleton) -> None:
    """Raise ConfigError where reliabilities are those of other experts or joints."""
    if (reliability.experts, reliability.joints) != (experts, skeleton.joints):
        raise ConfigError(
            f"expected views of the experts {'+'.join(reliability.experts)} with {len(reliability.joints)} "
            f"joints, as the reliabilities were learnt, got {'+'.join(experts)} with {skeleton.num_joints}; "
            "try learning them from views of these experts",
            expected=reliability.experts,
            got=experts,
        )


def find_modes(
    proposals: Proposals, size: Float32, reliability: Reliability
) -> tuple[Float32, Float32, Float32]:
    """From every proposal, the place where the votes around it agree.

    Args:
        proposals: E experts.
        size: (T, M) person sizes in pixels.
        reliability: Of the E experts.

    Returns:
        Modes (C, E, K, T, M), NaN where the proposal is missing; their log likelihood (E, K, T, M) relative
        to that of all votes being wrong, -inf there; the probability that a proposal at the mode is right
        (E, K, T, M), 0 there.
    """
    points = proposals.points
    seen = ~np.isnan(points[0])
    right = reliability.probabilities(proposals.scores)
    strength = STRENGTH_WEIGHT * logit(reliability.strength)
    vote = np.clip(sigmoid(logit(right) + strength[:, None, None, None]), 1e-4, 0.98)
    unit = np.where(size > 0, size, 1).astype(
        np.float32
    )  # a lone joint has no extent; it has no rival either
    dims = len(points)
    votes = reliability.votes.astype(np.float32)[:, None, None, None]
    spread = (TAIL * reliability.spread).astype(np.float32)[:, None, None, None]
    peak = vote / (2 * np.pi * spread**2) ** (dims / 2)
    floor = np.where(seen, (1 - vote) / OUTLIER_AREA ** (dims / 2), 1)
    here = np.where(seen, points, 0)

    def bells(modes: Float32) -> Float32:
        """Height of expert j's bell at the mode from expert i: (E i, E j, K, T, M)."""
        apart = np.stack([distance(modes[:, e, None], here) for e in range(points.shape[1])]) / unit
        return np.where(seen, np.exp(-0.5 * (apart / spread) ** 2), 0).astype(np.float32)

    modes = points.copy()
    for _ in range(_SHIFTS):
        inlier = peak * bells(modes)
        weight = votes * inlier / (inlier + floor) / spread**2
        total = weight.sum(axis=1)
        modes = np.einsum("ijktm,cjktm->ciktm", weight, here) / np.where(seen, total, np.nan)
    bell = bells(modes)
    likelihood = np.where(seen, (votes * np.log(1 + peak * bell / floor)).sum(axis=1), -np.inf)
    score = np.where(seen, 1 - np.prod((1 - right * bell) ** votes, axis=1), 0)
    return modes.astype(np.float32), likelihood.astype(np.float32), score.astype(np.float32)
