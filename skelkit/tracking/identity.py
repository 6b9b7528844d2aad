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
from scipy.sparse import csr_array

from skelkit.errors import ConfigError
from skelkit.structures import Bool, Float64, Int64, Tracks
from skelkit.tracking.agreement import MIN_SHARE, Pairs, View, compare, view_of
from skelkit.tracking.people import choose_people, rank_people
from skelkit.tracking.swaps import find_swaps, smoothness


def unify_identities(views: Mapping[str, Tracks], *, max_people: int = 32) -> dict[str, Tracks]:
    """Give each person one id in all experts' tracks of a clip.

    Tracks of one expert that turn out to be one person become one. People keep their place whether or not
    an expert saw them: all come back with the same M and `track_ids`, and people an expert never saw have
    no rows. At most `max_people` are kept, by the mean over experts of
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
    people, number = _people([views[name] for name in names], max_people)
    return {name: _renumber(views[name], p, number) for name, p in zip(names, people, strict=True)}


def _people(views: list[Tracks], max_people: int) -> tuple[list[Int64], int]:
    """The person of each row, (R,) per expert, -1 = not kept; and how many people are kept."""
    clip, rows = views[0], [view_of(v) for v in views]
    pairs = {(i, j): compare(rows[i], rows[j]) for i in range(len(rows)) for j in range(i + 1, len(rows))}
    cuts = find_swaps(rows, pairs, clip.pts_s)
    pieces, counts = _cut(rows, cuts)
    clusters = _Clusters(rows, pieces, counts)
    clusters.join(_agreements(rows, pieces, counts, pairs, clusters.offsets))
    clusters.join(_continuations(rows, pieces, clusters, clip.pts_s))
    people = [clusters.root[clusters.offsets[e] + pieces[e]] for e in range(len(rows))]
    kept = _choose(rows, people, clip, max_people)
    return [kept[p] for p in people], int(kept.max(initial=-1)) + 1


def _check(views: Mapping[str, Tracks], max_people: int) -> None:
    if not views:
        raise ConfigError("expected at least one expert's tracks to unify, got none")
    if max_people < 1:
        raise ConfigError(f"max_people: expected 1 or more, got {max_people}")
    first_name, first = next(iter(views.items()))
    for name, view in views.items():
        if view.video_id != first.video_id or not np.array_equal(view.frame_indices, first.frame_indices):
            raise ConfigError(
                f"expected tracks of one clip with the same frames, got {first_name!r} of "
                f"{first.video_id!r} ({first.num_frames} frames) and {name!r} of {view.video_id!r} "
                f"({view.num_frames} frames)"
            )
        if len(views) > 1 and view.keypoints.shape[2] != 2:
            raise ConfigError(
                f"expected 2-D poses in pixels, got {name!r} with {view.keypoints.shape[2]} coordinates; "
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
        t = view.num_steps
        earlier = np.searchsorted(
            mine[:, 0] * (t + 1) + mine[:, 1], view.track * (t + 1) + view.step, "right"
        )
        pieces.append(view.track + earlier)
        counts.append(view.num_tracks + len(mine))
    return pieces, counts


class _Clusters:
    """Union-find over the pieces of all experts; no cluster has two of one expert in the same frame.

    Pieces are numbered through all experts: expert e's piece p is ``offsets[e] + p``.
    """

    def __init__(self, rows: list[View], pieces: list[Int64], counts: list[int]) -> None:
        self.offsets = np.cumsum([0, *counts[:-1]])
        self.root = np.arange(sum(counts))
        # Per cluster the frames taken, as expert x T + time step, ascending.
        self._taken: dict[int, Int64] = {}
        for e, (view, piece) in enumerate(zip(rows, pieces, strict=True)):
            order = np.argsort(piece, kind="stable")
            ends = np.cumsum(np.bincount(piece, minlength=counts[e]))
            for p, mine in zip(range(counts[e]), np.split(order, ends), strict=False):
                self._taken[int(self.offsets[e]) + p] = e * view.num_steps + view.step[mine]

    def join(self, edges: Iterable[tuple[int, int]]) -> None:
        """Join the clusters of each two pieces in turn, unless that puts one expert twice in a frame."""
        for p, q in edges:
            a, b = sorted((int(self.root[p]), int(self.root[q])))
            if a != b and not _overlap(self._taken[a], self._taken[b]):
                self._taken[a] = np.sort(np.concatenate([self._taken[a], self._taken.pop(b)]), kind="stable")
                self.root[self.root == b] = a


def _overlap(a: Int64, b: Int64) -> bool:
    """Whether two ascending lists have a number in common."""
    few, many = sorted((a, b), key=len)
    return bool(len(few)) and bool(np.any(many[np.searchsorted(many[:-1], few)] == few))


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
        good = np.flatnonzero((number > 0) & (number >= MIN_SHARE * shared.toarray().ravel()))
        for at in good.tolist():
            edges.append(
                (float(strength[at]), int(offsets[i]) + at // counts[j], int(offsets[j]) + at % counts[j])
            )
    return [(a, b) for _, a, b in sorted(edges, key=lambda e: (-e[0], e[1], e[2]))]


def _presence(view: View, piece: Int64, count: int) -> csr_array:
    """(pieces, T) 1 where the piece has a pose."""
    ones = np.ones(len(piece), np.int32)
    return csr_array((ones, (piece, view.step)), shape=(count, view.num_steps))


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


def _choose(rows: list[View], people: list[Int64], clip: Tracks, max_people: int) -> Int64:
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


def _renumber(tracks: Tracks, person: Int64, number: int) -> Tracks:
    """The tracks with each row given to its person, ``person`` (R,), -1 = not kept."""
    # As a rule everybody is kept; then nothing needs to be copied.
    kept: Bool | slice = slice(None) if np.all(person >= 0) else person >= 0
    return replace(
        tracks,
        person=person[kept],
        step=tracks.step[kept],
        keypoints=tracks.keypoints[kept],
        scores=tracks.scores[kept],
        confidence=tracks.confidence[kept],
        track_ids=np.arange(number, dtype=np.int64),
    )
