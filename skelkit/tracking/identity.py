"""The same person gets the same id in all experts.

1. Every pair of poses that two experts have in one frame is compared (limb joints by name, their box).
2. Where a track's partner in another expert changes although both partners go on, somebody has swapped
   identities: the tracks concerned are cut there (`swaps`). Nobody knows yet who was wrong.
3. Pieces of tracks are joined across experts, the strongest agreement first, never two of one expert in
   the same frame. So one expert's whole track brings another's fragments together.
4. At the cuts, each expert votes for who goes on as whom; the majority wins, smooth motion breaks ties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from skelkit.errors import ConfigError
from skelkit.structures import Float32, Float64, Int64, SkeletonSequence
from skelkit.tracking.agreement import MIN_SHARE, Pairs, View, compare, view_of
from skelkit.tracking.people import choose_people, rank_people
from skelkit.tracking.swaps import find_swaps, smoothness


def unify_identities(
    views: Mapping[str, SkeletonSequence], *, max_people: int = 32
) -> dict[str, SkeletonSequence]:
    """Give each person one id in all experts' sequences of a clip.

    Tracks of one expert that turn out to be one person become one. People keep their place whether or not
    an expert saw them: every sequence comes back with the same M and `track_ids`, and the rows of people
    an expert never saw are NaN. At most `max_people` are kept, by the mean over experts of
    `people.rank_people`; ids count from 0 by first appearance, then rank. The order of `views` makes no
    difference. One view alone is limited and numbered by the same rule.

    Args:
        views: Expert name -> its tracks; all of one clip with the same `frame_indices`, in pixels.
        max_people: How many people to keep at most.

    Raises:
        ConfigError: no view, views of different clips or dimensions, or max_people < 1.
    """
    _check(views, max_people)
    names = sorted(views)
    sequences = [views[name] for name in names]
    rows = [view_of(s) for s in sequences]
    pairs = {(i, j): compare(rows[i], rows[j]) for i in range(len(rows)) for j in range(i + 1, len(rows))}
    cuts = find_swaps(rows, pairs, sequences[0].pts_s)
    pieces, counts = _cut(rows, cuts)
    clusters = _Clusters(rows, pieces, counts)
    clusters.join(_agreements(rows, pieces, counts, pairs, clusters.offsets))
    clusters.join(_continuations(rows, pieces, clusters, sequences[0].pts_s))
    people = [clusters.root[clusters.offsets[e] + pieces[e]] for e in range(len(rows))]
    kept = _choose(rows, people, sequences[0], max_people)
    return {
        name: _renumber(s, r, kept[p], int(kept.max(initial=-1)) + 1)
        for name, s, r, p in zip(names, sequences, rows, people, strict=True)
    }


def _check(views: Mapping[str, SkeletonSequence], max_people: int) -> None:
    if not views:
        raise ConfigError("expected at least one expert's sequence to unify, got none")
    if max_people < 1:
        raise ConfigError(f"max_people: expected 1 or more, got {max_people}")
    first_name, first = next(iter(views.items()))
    for name, view in views.items():
        if view.video_id != first.video_id or not np.array_equal(view.frame_indices, first.frame_indices):
            raise ConfigError(
                f"expected sequences of one clip with the same frames, got {first_name!r} of "
                f"{first.video_id!r} ({first.num_frames} frames) and {name!r} of {view.video_id!r} "
                f"({view.num_frames} frames)"
            )
        if len(views) > 1 and view.keypoints.shape[3] != 2:
            raise ConfigError(
                f"expected 2-D poses in pixels, got {name!r} with {view.keypoints.shape[3]} coordinates; "
                "try unifying the experts' 2-D poses"
            )


def _cut(rows: list[View], cuts: Iterable[tuple[int, int, int]]) -> tuple[list[Int64], list[int]]:
    """The piece each row belongs to, per expert, and how many pieces each expert has.

    Pieces are numbered by track, then time; a track that is not cut is one piece.
    """
    cuts = sorted(cuts)
    pieces, counts = [], []
    for e, view in enumerate(rows):
        mine = np.array([(track, step) for f, track, step in cuts if f == e], np.int64).reshape(-1, 2)
        t = view.present.shape[1]
        earlier = np.searchsorted(
            mine[:, 0] * (t + 1) + mine[:, 1], view.track * (t + 1) + view.step, "right"
        )
        pieces.append(view.track + earlier)
        counts.append(len(view.present) + len(mine))
    return pieces, counts


class _Clusters:
    """Union-find over the pieces of all experts; no cluster has two of one expert in the same frame.

    Pieces are numbered through all experts: expert e's piece p is ``offsets[e] + p``.
    """

    def __init__(self, rows: list[View], pieces: list[Int64], counts: list[int]) -> None:
        self.offsets = np.cumsum([0, *counts[:-1]])
        self.root = np.arange(sum(counts))
        self._taken = np.zeros((sum(counts), len(rows), rows[0].present.shape[1]), bool)
        for e, (view, piece) in enumerate(zip(rows, pieces, strict=True)):
            self._taken[self.offsets[e] + piece, e, view.step] = True

    def join(self, edges: Iterable[tuple[int, int]]) -> None:
        """Join the clusters of each two pieces in turn, unless that puts one expert twice in a frame."""
        for p, q in edges:
            a, b = sorted((int(self.root[p]), int(self.root[q])))
            if a != b and not (self._taken[a] & self._taken[b]).any():
                self._taken[a] |= self._taken[b]
                self.root[self.root == b] = a


def _agreements(
    rows: list[View],
    pieces: list[Int64],
    counts: list[int],
    pairs: dict[tuple[int, int], Pairs],
    offsets: Int64,
) -> list[tuple[int, int]]:
    """Pieces of different experts that are the same person, the strongest agreement first.

    Strength is the similarity summed over the frames in which they are alike.
    """
    edges: list[tuple[float, int, int]] = []
    for (i, j), p in pairs.items():
        pair = pieces[i][p.a] * counts[j] + pieces[j][p.b]
        number = np.bincount(pair, minlength=counts[i] * counts[j])
        strength = np.bincount(pair, p.similarity, minlength=len(number))
        shared = _presence(rows[i], pieces[i], counts[i]) @ _presence(rows[j], pieces[j], counts[j]).T
        good = np.flatnonzero((number > 0) & (number >= MIN_SHARE * shared.ravel()))
        for at in good.tolist():
            edges.append(
                (float(strength[at]), int(offsets[i]) + at // counts[j], int(offsets[j]) + at % counts[j])
            )
    return [(a, b) for _, a, b in sorted(edges, key=lambda e: (-e[0], e[1], e[2]))]


def _presence(view: View, piece: Int64, count: int) -> Float32:
    """(pieces, T) 1 where the piece has a pose; float, so that products run in BLAS."""
    present = np.zeros((count, view.present.shape[1]), np.float32)
    present[piece, view.step] = 1
    return present


def _continuations(
    rows: list[View], pieces: list[Int64], clusters: _Clusters, pts_s: Float64
) -> list[tuple[int, int]]:
    """Clusters that go on as one another over a cut, the most votes first.

    Each expert gives 1 to the continuation its track took, and up to 1/2 more the smoother the track
    moved over the cut: so the majority of experts wins, and of two experts the one without a jolt.
    """
    votes: dict[tuple[int, int], float] = {}
    for e, (view, piece) in enumerate(zip(rows, pieces, strict=True)):
        track_of = np.full(int(piece.max(initial=-1)) + 1, -1, np.int64)
        track_of[piece] = view.track
        filled = np.flatnonzero(track_of >= 0)
        for p, q in pairwise(filled):
            if track_of[p] == track_of[q]:
                key = (
                    int(clusters.root[clusters.offsets[e] + p]),
                    int(clusters.root[clusters.offsets[e] + q]),
                )
                smooth = smoothness(view, np.flatnonzero(piece == p), np.flatnonzero(piece == q), pts_s)
                votes[key] = votes.get(key, 0.0) + 1 + smooth / 2
    return sorted(votes, key=lambda key: (-votes[key], key))


def _choose(rows: list[View], people: list[Int64], clip: SkeletonSequence, max_people: int) -> Int64:
    """Cluster -> id of the person, -1 where the cluster is not kept or empty."""
    total = max((int(p.max(initial=-1)) + 1 for p in people), default=0)
    rank = np.zeros(total)
    first = np.full(total, clip.num_frames)
    for view, person in zip(rows, people, strict=True):
        rank += rank_people(
            person, view.extents, num_people=total, num_steps=clip.num_frames, image_size=clip.image_size
        ) / len(rows)
        np.minimum.at(first, person, view.step)
    rank[first == clip.num_frames] = -1
    chosen = choose_people(rank, first, max_people)
    kept = np.full(total, -1, np.int64)
    kept[chosen] = np.arange(len(chosen))
    return kept


def _renumber(sequence: SkeletonSequence, view: View, person: Int64, number: int) -> SkeletonSequence:
    """The sequence with each row moved to its person, ``person`` (R,), -1 = not kept."""
    t = sequence.num_frames
    keypoints = np.full((number, *sequence.keypoints.shape[1:]), np.nan, np.float32)
    scores = np.zeros((number, t, sequence.skeleton.num_joints), np.float32)
    confidence = np.full((number, t), np.nan, np.float32)
    new = person[person >= 0], view.step[person >= 0]
    old = view.track[person >= 0], view.step[person >= 0]
    keypoints[new], scores[new] = sequence.keypoints[old], sequence.scores[old]
    confidence[new] = sequence.confidence[old]
    return replace(
        sequence,
        keypoints=keypoints,
        scores=scores,
        confidence=confidence,
        track_ids=np.arange(number, dtype=np.int64),
    )
