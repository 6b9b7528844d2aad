"""How far each expert can be trusted, learnt from how the experts agree, without labels.

Two experts that are right put a joint in the same place; two that are wrong rarely do. So the share of
cases in which experts i and j agree is about p_i p_j, the product of the probabilities that each is right,
and with agreement counted for all pairs the p follow by alternating least squares. They are learnt as a
function of the expert's own score (which makes scores of different nets comparable) and of the joint.

Agreement alone can be fooled, so three things keep it honest:

- Scores are calibrated, so a score is what p is expected to be, and evidence moves p only so far from it.
- Experts that share their mistakes (two networks of one maker) agree more often than their scores say, and
  would vouch for each other against a third that is better than both. Such agreement is not counted,
  and together they have fewer votes than two.
- Who is the better expert is judged where they meet: one that finds only the easy people has good scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skelkit.aggregation.confidence import extent
from skelkit.aggregation.joints import shared_joints
from skelkit.aggregation.swaps import pair_distances
from skelkit.aggregation.views import Proposals, check_views, expert_names, lower_median, stack
from skelkit.errors import ConfigError
from skelkit.skeletons import LCR13
from skelkit.structures import Float32, Float64, Skeleton, SkeletonSequence

SCORE_EDGES = np.asarray([0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.7])
"""Between these, an expert's scores count as one."""

AGREEMENT = 0.04
"""Distance, in person sizes (longer side of the box around the joints), up to which two experts agree."""

_BINS = len(SCORE_EDGES) + 1
_PRIOR_CASES = 200.0
"""Joints until whose number what is known before outweighs what the clips show, of every kind of evidence."""

_PRIOR_SHARE = 0.3
"""Weight of a score's own meaning beside the evidence, however much there is of it.

Both were chosen on 1,000 pictures of LSP extended (``benchmarks.ssta_stills``, collection ``choose``), where
0.3 to 1 do alike; more trusts the scores of an expert that was never calibrated too much."""

_PRIOR_SPREAD = 0.03  # person sizes
_SURE = 0.98
_NEAR, _RINGS = 0.15, 60  # distances between experts are counted in rings up to here, in person sizes
_SPREAD_RANGE = (0.005, 0.06)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """Probabilities that the joints of E experts are right."""

    experts: tuple[str, ...]
    """Names of the E experts, in the order of the views."""
    joints: tuple[str, ...]
    """The K joints."""
    by_score: Float64
    """(E, B) by bin of the expert's own score, between `SCORE_EDGES`."""
    by_joint: Float64
    """(E, K)."""
    overall: Float64
    """(E,)."""
    strength: Float64
    """(E,) who is the better expert: mean of `by_score`, compared over the joints that both see."""
    votes: Float64
    """(E,) in (0, 1] how much of a vote each has: 1 unless it shares its mistakes with others."""
    spread: Float64
    """(E,) standard deviation of a right proposal in each direction, in person sizes."""

    def __post_init__(self) -> None:
        """Check shapes."""
        e = len(self.experts)
        wanted = {
            "by_score": (e, _BINS),
            "by_joint": (e, len(self.joints)),
            "overall": (e,),
            "strength": (e,),
            "votes": (e,),
            "spread": (e,),
        }
        for name, shape in wanted.items():
            got = np.shape(getattr(self, name))
            if got != shape:
                raise ConfigError(
                    f"Reliability.{name}: expected shape {shape}, got {got}", expected=shape, got=got
                )

    def probabilities(self, scores: Float32) -> Float32:
        """How likely each proposal is right.

        Args:
            scores: (E, K, T, M) of the experts.

        Returns:
            (E, K, T, M) in (0, 1).
        """
        at = np.searchsorted(SCORE_EDGES, scores)
        of_score = np.stack([table[i] for table, i in zip(logit(self.by_score), at, strict=True)])
        of_joint = logit(self.by_joint) - logit(self.overall)[:, None]
        return np.asarray(sigmoid(of_score + of_joint[:, :, None, None]), np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, for JSON."""
        return {
            "experts": list(self.experts),
            "joints": list(self.joints),
            "by_score": self.by_score.tolist(),
            "by_joint": self.by_joint.tolist(),
            "overall": self.overall.tolist(),
            "strength": self.strength.tolist(),
            "votes": self.votes.tolist(),
            "spread": self.spread.tolist(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Reliability:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: ``data`` is not what `to_dict` writes.
        """
        try:
            return cls(
                experts=tuple(str(n) for n in data["experts"]),
                joints=tuple(str(n) for n in data["joints"]),
                by_score=np.asarray(data["by_score"], np.float64),
                by_joint=np.asarray(data["by_joint"], np.float64),
                overall=np.asarray(data["overall"], np.float64),
                strength=np.asarray(data["strength"], np.float64),
                votes=np.asarray(data["votes"], np.float64),
                spread=np.asarray(data["spread"], np.float64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                "expected reliabilities as written by Reliability.to_dict (experts, joints, by_score, "
                f"by_joint, overall, strength, votes, spread), got {str(data)[:200]}"
            ) from error


def learn(clips: Iterable[Sequence[SkeletonSequence]], joints: Skeleton | None = LCR13) -> Reliability:
    """Reliabilities of the experts from their views of any number of clips, one clip at a time in memory.

    Args:
        clips: Per clip (or piece of one) the views of the same experts in the same order.
        joints: As for `skelkit.aggregation.consensus.Consensus`.

    Raises:
        ConfigError: no clip, views that do not fit together, or clips of different experts.
    """
    tally: _Tally | None = None
    for views in clips:
        check_views(views)
        skeleton = shared_joints([v.skeleton for v in views], joints)
        if tally is None:
            tally = _Tally(expert_names(views), skeleton)
        tally.check(expert_names(views), skeleton)
        tally.add(stack(views, skeleton))
    if tally is None:
        raise ConfigError("expected at least one clip to learn reliabilities from, got none")
    return tally.reliability()


class _Tally:
    """How often experts met and agreed, per joint and per pair of score bins."""

    def __init__(self, experts: tuple[str, ...], skeleton: Skeleton) -> None:
        self.experts, self.skeleton = experts, skeleton
        e, k = len(experts), skeleton.num_joints
        self.met = np.zeros((e, e, k, _BINS, _BINS))
        self.agreed = np.zeros_like(self.met)
        self.seen = np.zeros((e, _BINS))
        self.near = {pair: np.zeros(_RINGS) for pair in itertools.combinations(range(e), 2)}

    def check(self, experts: tuple[str, ...], skeleton: Skeleton) -> None:
        """Raise ConfigError where another clip has other experts."""
        if (experts, skeleton) != (self.experts, self.skeleton):
            raise ConfigError(
                f"expected the same experts and joints in every clip, got {'+'.join(experts)} with "
                f"{skeleton.name} after {'+'.join(self.experts)} with {self.skeleton.name}",
                expected=self.experts,
                got=experts,
            )

    def add(self, proposals: Proposals) -> None:
        """Count one clip."""
        size = lower_median(extent(proposals.points))
        bins = np.searchsorted(SCORE_EDGES, proposals.scores)
        for e, seen in enumerate(proposals.seen()):
            self.seen[e] += np.bincount(bins[e][seen], minlength=_BINS)
        for (a, b), apart in pair_distances(proposals.points).items():
            k, t, m = np.nonzero(np.isfinite(apart))
            with np.errstate(divide="ignore", invalid="ignore"):  # a lone joint has no size
                relative = np.nan_to_num(apart[k, t, m] / size[t, m])
            agree = relative <= AGREEMENT
            self.near[a, b] += np.histogram(relative, _RINGS, (0, _NEAR))[0]
            cell = (k * _BINS + bins[a, k, t, m]) * _BINS + bins[b, k, t, m]
            shape = self.met.shape[2:]
            met = np.bincount(cell, minlength=self.met[a, b].size).reshape(shape)
            agreed = np.bincount(cell, agree, minlength=self.met[a, b].size).reshape(shape)
            self.met[a, b] += met
            self.agreed[a, b] += agreed
            self.met[b, a] += met.swapaxes(1, 2)
            self.agreed[b, a] += agreed.swapaxes(1, 2)

    def reliability(self) -> Reliability:
        """What follows from the counts."""
        # What a score means before anything is known: itself (`Poses.scores` are calibrated).
        middles = np.convolve([0, *SCORE_EDGES, 1], [0.5, 0.5], "valid")
        met, agreed = self.met, self.agreed
        independent = _independent(met.sum(axis=2), agreed.sum(axis=2), middles)
        agreed = agreed * independent[:, :, None, None, None]
        by_score = _factorise(met.sum(axis=2)[None], agreed.sum(axis=2)[None], middles[None, None])[0]
        share = (self.seen + 1e-9) / (self.seen + 1e-9).sum(axis=1, keepdims=True)
        own = (share * by_score).sum(axis=1)

        def pooled(counts: Float64, axes: tuple[int, ...]) -> Float64:
            return np.asarray(counts.sum(axis=axes))

        overall = _factorise(
            pooled(met, (2, 3, 4))[None, :, :, None, None],
            pooled(agreed, (2, 3, 4))[None, :, :, None, None],
            own[None, :, None],
        )[0, :, 0]
        met_k, agreed_k = (np.moveaxis(pooled(x, (3, 4)), 2, 0)[..., None, None] for x in (met, agreed))
        by_joint = _factorise(met_k, agreed_k, overall[None, :, None])[:, :, 0].T
        return Reliability(
            experts=self.experts,
            joints=self.skeleton.joints,
            by_score=by_score,
            by_joint=by_joint,
            overall=overall,
            strength=_strengths(met.sum(axis=2), by_score, own, self.seen.sum(axis=1)),
            votes=1 / (1 + (1 - independent).sum(axis=1)),
            spread=_spreads(self.near),
        )


def _factorise(met: Float64, agreed: Float64, prior: Float64, rounds: int = 100) -> Float64:
    """The p that explain agreements as products of two: least squares, one expert after the other.

    Args:
        met: (G, E, E, B, B) cases of expert i in bin a meeting expert j in bin b, for G independent groups.
        agreed: Of these, how many agreed.
        prior: Broadcasts to (G, E, B): what p is without evidence.
        rounds: Passes over the experts.

    Returns:
        (G, E, B).
    """
    groups, experts, _, bins, _ = met.shape
    prior = np.broadcast_to(prior, (groups, experts, bins))
    p = prior.copy()
    for _, e in itertools.product(range(rounds), range(experts)):
        explained = np.einsum("gjab,gjb->ga", agreed[:, e], p)
        weight = np.einsum("gjab,gjb->ga", met[:, e], p**2)
        trust = _PRIOR_CASES + _PRIOR_SHARE * weight
        p[:, e] = (explained + trust * prior[:, e]) / (weight + trust)
        p[:, e] = np.clip(p[:, e], 1 - _SURE, _SURE)
    return p


def _independent(met: Float64, agreed: Float64, prior: Float64) -> Float64:
    """Which share of two experts' agreements to count.

    How often two agree is compared with what their scores say, were they independent. No pair comes out at
    exactly 1 (all experts fail on hard pictures, and are exact to different degrees), so the median of all
    pairs is the measure, and only what a pair agrees beyond that is taken off.

    Args:
        met: (E, E, B, B) cases of expert i in bin a meeting expert j in bin b.
        agreed: Of these, how many agreed.
        prior: (B,) p by bin.

    Returns:
        (E, E) in (0, 1]; 1 where nobody can tell: for two experts alone, and for an expert whose scores are
        all the same, as in SST-A files.
    """
    expected = np.einsum("ijab,a,b->ij", met, prior, prior)
    found = agreed.sum(axis=(2, 3))
    scored = np.count_nonzero(met.sum(axis=(1, 3)), axis=1) > 1
    known = (expected > 0) & scored & scored[:, None]
    ratio = (expected + _PRIOR_CASES) / (found + _PRIOR_CASES)
    usual = np.median(ratio[known]) if known.any() else 1.0
    return np.where(known, np.minimum(ratio / usual, 1), 1.0)


def _strengths(met: Float64, by_score: Float64, own: Float64, seen: Float64) -> Float64:
    """Who is the better expert, judged where they meet.

    The differences of log odds between experts that meet, each over the joints that both see, are put
    together by least squares, weighted by the number of joints.

    Args:
        met: (E, E, B, B) cases of expert i in bin a meeting expert j in bin b.
        by_score: (E, B).
        own: (E,) mean of `by_score` over all joints that the expert sees.
        seen: (E,) how many these are.

    Returns:
        (E,) in (0, 1); on average over the joints, in log odds, that of `own`.
    """
    experts = len(own)
    number = met.sum(axis=(2, 3))
    here = np.einsum("ijab,ia->ij", met, by_score) / np.maximum(number, 1)  # expert i where it meets j
    i, j = np.nonzero(np.triu(number))
    sides = np.sqrt(number[i, j])[:, None] * (np.eye(experts)[i] - np.eye(experts)[j])
    apart = np.sqrt(number[i, j]) * (logit(here[i, j]) - logit(here[j, i]))
    share = (seen + 1e-9) / (seen + 1e-9).sum()
    level = np.sqrt(seen.sum() + 1)
    equations = np.vstack([sides, level * share])
    return np.asarray(sigmoid(np.linalg.lstsq(equations, np.append(apart, level * share @ logit(own)))[0]))


def _spreads(near: dict[tuple[int, int], Float64], rounds: int = 50) -> Float64:
    """How exact right proposals are, from the distances between experts.

    Of two right experts the squared distance has the sum of their variances (Rayleigh's distribution); in
    all other cases the distance is as good as evenly spread over the area. The mixture is fitted by
    expectation maximisation for each pair, and the sums are solved for the experts' own variances; of two
    experts each gets half.

    Args:
        near: (i, j) -> how many distances fell into each of the rings up to `_NEAR`.
        rounds: Of expectation maximisation.

    Returns:
        (E,) within `_SPREAD_RANGE`.
    """
    if not near:
        return np.full(1, _SPREAD_RANGE[1])
    r = (np.arange(_RINGS) + 0.5) * _NEAR / _RINGS
    before = r * np.exp(-0.25 * (r / _PRIOR_SPREAD) ** 2)
    counts = np.stack(list(near.values())) + _PRIOR_CASES * before / before.sum()
    share, variance = np.full((len(counts), 1), 0.5), np.full((len(counts), 1), AGREEMENT**2)
    for _ in range(rounds):
        right = share * r / variance * np.exp(-0.5 * r**2 / variance)
        case = counts * right / (right + (1 - share) * 2 * r / _NEAR**2)
        share = case.sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
        variance = (case * r**2).sum(axis=1, keepdims=True) / (2 * case.sum(axis=1, keepdims=True))
        variance = np.clip(variance, 2 * _SPREAD_RANGE[0] ** 2, 2 * _SPREAD_RANGE[1] ** 2)
    members = np.asarray([[e in pair for e in range(max(max(p) for p in near) + 1)] for pair in near], float)
    own = np.linalg.lstsq(members, variance[:, 0], rcond=None)[0]
    return np.asarray(np.clip(np.sqrt(np.maximum(own, 0)), *_SPREAD_RANGE))


def logit(p: Any) -> Any:
    """Log of the odds."""
    return np.log(p / (1 - p))


def sigmoid(x: Any) -> Any:
    """Inverse of `logit`."""
    return 1 / (1 + np.exp(-x))
