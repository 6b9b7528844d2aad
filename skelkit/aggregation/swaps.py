"""An expert that takes a person's left for the right, outvoted by the others."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from skelkit.aggregation.views import Proposals
from skelkit.structures import Bool, Float32, Skeleton

Indices = npt.NDArray[np.intp]

_LEG_WORDS = ("hip", "knee", "ankle", "toe", "heel", "foot")

Pairs = dict[tuple[int, int], Float32]
"""(i, j), i < j -> (K, T, M) distance between the proposals of two experts, NaN where one has none."""


def pair_distances(points: Float32) -> Pairs:
    """All distances between experts, joint by joint; ``points`` is (C, E, K, ...)."""
    pairs = itertools.combinations(range(points.shape[1]), 2)
    return {(a, b): distance(points[:, a], points[:, b]) for a, b in pairs}


def distance(a: Float32, b: Float32) -> Float32:
    """Equation 3.2 for coordinates on the first axis."""
    total: Float32 = np.square(a[0] - b[0])
    for x, y in zip(a[1:], b[1:], strict=True):
        difference = x - y
        total += np.square(difference, out=difference)
    return np.sqrt(total, out=total)


def undo_swaps(proposals: Proposals, skeleton: Skeleton, distances: Pairs) -> None:
    """Exchange left and right, in place, where one expert has them the other way round than the rest.

    Upper body and legs are judged apart: seen from behind a net swaps everything, with crossed legs only
    those. Expert e is swapped in a group of joints where at least two others find e's joints at less than
    half the distance once left and right are exchanged, where no other expert that sees the group finds
    less, and where the others agree among themselves. Only pairs of joints that both experts see entirely
    are evidence. Two experts alone cannot say who is right: nothing is exchanged then, and the rule of the
    nearest proposal has to do.

    Args:
        proposals: E experts; points and scores are changed in place.
        skeleton: The joint set, whose ``flip_pairs`` name what can be exchanged.
        distances: From `pair_distances`; brought up to date in place.
    """
    num_experts = proposals.points.shape[1]
    if num_experts < 3:
        return
    touched = np.zeros(proposals.points.shape[-2:], bool)
    for left, right in _groups(skeleton):
        for e, swapped in enumerate(_swapped(proposals.points, distances, left, right)):
            t, m = np.nonzero(swapped)
            for plane in (*proposals.points[:, e], proposals.scores[e]):
                was_left = plane[left][:, t, m]
                plane[left[:, None], t, m] = plane[right][:, t, m]
                plane[right[:, None], t, m] = was_left
            touched |= swapped
    t, m = np.nonzero(touched)
    for pair, fresh in pair_distances(proposals.points[..., t, m]).items():
        distances[pair][:, t, m] = fresh


def _groups(skeleton: Skeleton) -> list[tuple[Indices, Indices]]:
    """Left and right joints of the upper body and of the legs."""
    groups = []
    for legs in (False, True):
        pairs = [p for p in skeleton.flip_pairs if any(w in p[0] for w in _LEG_WORDS) == legs]
        if pairs:
            left, right = ([skeleton.index(j) for j in side] for side in zip(*pairs, strict=True))
            groups.append((np.asarray(left), np.asarray(right)))
    return groups


def _swapped(points: Float32, distances: Pairs, left: Indices, right: Indices) -> Bool:
    """(E, T, M) which expert has this group of joints the other way round than the rest."""
    num_experts = points.shape[1]
    shape = points.shape[-2:]
    opposed = np.zeros((num_experts, *shape), np.int8)  # with how many others e disagrees about the sides
    sided = np.zeros_like(opposed)  # with how many others e agrees
    for (a, b), apart in distances.items():
        straight = apart[left] + apart[right]
        crossed = distance(points[:, a, left], points[:, b, right])
        crossed += distance(points[:, a, right], points[:, b, left])
        evident = np.isfinite(straight + crossed)
        straight_sum = np.where(evident, straight, 0).sum(axis=0)
        crossed_sum = np.where(evident, crossed, 0).sum(axis=0)
        against = crossed_sum < 0.5 * straight_sum
        unclear = evident.any(axis=0) & ~against
        opposed[[a, b]] += against
        sided[[a, b]] += unclear
    alone = (opposed >= 2) & (sided == 0)
    # Exactly one expert stands against the rest; two that do are a camp of their own.
    return np.asarray(alone & (alone.sum(axis=0) == 1))
