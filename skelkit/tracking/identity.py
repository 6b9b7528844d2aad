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
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from skelkit.errors import ConfigError
from skelkit.geometry import extents, joint_sigmas
from skelkit.skeletons import LIMB_JOINTS
from skelkit.structures import Bool, Float32, Float64, Int64, SkeletonSequence
from skelkit.tracking.people import choose_people, rank_people
from skelkit.tracking.similarity import paired_similarity

SLACK = 1.5
"""Experts differ by more than COCO's annotators do: OKS sigmas are widened by this."""
MIN_SIMILARITY = 0.25
"""Two poses of different experts may be one person if they are at least this similar."""
MIN_SHARE = 0.5
"""Two tracks are one person only if they may be in this share of the frames both are in: passing somebody
is not being them."""
SWAP_S = 0.3
"""A change of partner counts as a swap when either partner holds for at least this long ..."""
SWAP_STEPS = 3
"""... and for at least this many time steps."""
_PAIRS_AT_ONCE = 100_000  # pairs of poses compared in one go: about 30 MB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _View:
    """One expert's tracks, one row per person and frame, in the order of time. R rows."""

    track: Int64  # (R,) index into the sequence's people
    step: Int64  # (R,) ascending
    limbs: Float32  # (R, 12, 2)
    boxes: Float32  # (R, 4) around the limb joints; around all joints where no limb was found
    extents: Float32  # (R, 4) around all joints
    present: Bool  # (M, T)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pairs:
    """Poses of two experts in the same frame that are alike (`MIN_SIMILARITY`), by row of their views."""

    a: Int64
    b: Int64
    similarity: Float64


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
    rows = [_view(s) for s in sequences]
    pairs = {(i, j): _compare(rows[i], rows[j]) for i in range(len(rows)) for j in range(i + 1, len(rows))}
    cuts = _swaps(rows, pairs, sequences[0].pts_s)
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


def _view(sequence: SkeletonSequence) -> _View:
    present = sequence.present()
    step, track = np.nonzero(present.T)
    keypoints = sequence.keypoints[track, step]
    have = {joint: k for k, joint in enumerate(sequence.skeleton.joints)}
    limbs = np.full((len(step), len(LIMB_JOINTS), 2), np.nan, np.float32)
    for k, joint in enumerate(LIMB_JOINTS):
        if joint in have:
            limbs[:, k] = keypoints[:, have[joint], :2]
    whole, boxes = extents(keypoints), extents(limbs)
    return _View(
        track=track,
        step=step,
        limbs=limbs,
        boxes=np.where(np.isfinite(boxes), boxes, whole),
        extents=whole,
        present=present,
    )


def _compare(a: _View, b: _View) -> _Pairs:
    """All pairs of poses of two experts that share a frame and are alike."""
    start, stop = (np.searchsorted(b.step, a.step, side) for side in ("left", "right"))
    ends = np.cumsum(stop - start)  # pairs up to and with each row of a
    sigmas = joint_sigmas(LIMB_JOINTS)
    parts: list[_Pairs] = []
    begin = 0
    while begin < len(ends):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right")))
        number = (stop - start)[begin:end]
        of_a = np.repeat(np.arange(begin, end), number)
        of_b = np.arange(len(of_a)) - np.repeat(np.cumsum(number) - number - start[begin:end], number)
        box_a, box_b = a.boxes[of_a], b.boxes[of_b]
        near = np.logical_and.reduce(
            [(box_a[:, c] <= box_b[:, c + 2]) & (box_b[:, c] <= box_a[:, c + 2]) for c in (0, 1)]
        )
        of_a, of_b = of_a[near], of_b[near]
        similarity = paired_similarity(
            a.limbs[of_a], b.limbs[of_b], a.boxes[of_a], b.boxes[of_b], sigmas=sigmas, slack=SLACK
        )
        alike = similarity >= MIN_SIMILARITY
        parts.append(_Pairs(a=of_a[alike], b=of_b[alike], similarity=similarity[alike]))
        begin = end
    none = np.zeros(0, np.int64)
    return _Pairs(
        a=np.concatenate([none, *(p.a for p in parts)]),
        b=np.concatenate([none, *(p.b for p in parts)]),
        similarity=np.concatenate([np.zeros(0), *(p.similarity for p in parts)]),
    )


def _swaps(
    rows: list[_View], pairs: dict[tuple[int, int], _Pairs], pts_s: Float64
) -> set[tuple[int, int, int]]:
    """(expert, track, time step) where tracks are to be cut, because two experts disagree who goes on.

    A change of partner is no swap where the old partner's track ends and the new one's begins: that is a
    fragmented track. Cuts that lie closer together than a swap must last are made at the same time step,
    so that the pieces of all experts fit together.
    """
    between = float(np.median(np.diff(pts_s))) if len(pts_s) > 1 else 1.0
    lasting = max(SWAP_STEPS, int(np.ceil(SWAP_S / max(between, 1e-3))))
    found: set[tuple[int, int, int]] = set()
    for (i, j), p in pairs.items():
        for e, f, mine, other in ((i, j, p.a, p.b), (j, i, p.b, p.a)):
            partner = _partners(mine, other, p.similarity, rows[e], rows[f])
            for track in range(len(rows[e].present)):
                together = rows[e].present[track] & rows[f].present  # (M, T)
                runs = _stable(_runs(partner[track], lasting), together)
                for (old, s0, e0), (new, s1, e1) in pairwise(runs):
                    old_goes_on = rows[f].present[old, s1 : e1 + 1].sum() >= lasting
                    new_was_there = rows[f].present[new, s0 : e0 + 1].sum() >= lasting
                    if old_goes_on or new_was_there:
                        found |= {(e, track, s1), (f, old, s1), (f, new, s1)}
    steps = np.unique([step for _, _, step in found]).astype(np.int64)
    group = np.cumsum(np.diff(steps, prepend=steps[:1]) >= lasting)
    together = dict(zip(steps.tolist(), steps[np.searchsorted(group, group)].tolist(), strict=True))
    return {(e, track, together[step]) for e, track, step in found}


def _partners(mine: Int64, other: Int64, similarity: Float64, view: _View, others: _View) -> Int64:
    """(M, T) the track of the other expert most like each pose of `view`; -1 = none alike."""
    order = np.argsort(similarity, kind="stable")  # the best is written last
    partner = np.full(view.present.shape, -1, np.int64)
    partner[view.track[mine[order]], view.step[mine[order]]] = others.track[other[order]]
    return partner


def _runs(partner: Int64, lasting: int) -> list[tuple[int, int, int]]:
    """Lasting runs of one partner as (partner, first step, last step), short episodes left out."""
    steps = np.flatnonzero(partner >= 0)
    runs: list[tuple[int, int, int]] = []
    for part in np.split(steps, np.flatnonzero(np.diff(partner[steps])) + 1):
        if len(part) < lasting:
            continue
        who, first, last = int(partner[part[0]]), int(part[0]), int(part[-1])
        if runs and runs[-1][0] == who:
            first = runs.pop()[1]
        runs.append((who, first, last))
    return runs


def _stable(runs: list[tuple[int, int, int]], together: Bool) -> list[tuple[int, int, int]]:
    """Runs that fill at least `MIN_SHARE` of the time between their neighbours in which both are there.

    Someone whom the other expert never found has a partner only while passing somebody it did find.
    """
    begins = [0, *(last + 1 for _, _, last in runs)]
    ends = [*(first for _, first, _ in runs[1:]), together.shape[1]]
    return [
        run
        for run, begin, end in zip(runs, begins, ends, strict=False)
        if run[2] + 1 - run[1] >= MIN_SHARE * together[run[0], begin:end].sum()
    ]


def _cut(rows: list[_View], cuts: Iterable[tuple[int, int, int]]) -> tuple[list[Int64], list[int]]:
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

    def __init__(self, rows: list[_View], pieces: list[Int64], counts: list[int]) -> None:
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
    rows: list[_View],
    pieces: list[Int64],
    counts: list[int],
    pairs: dict[tuple[int, int], _Pairs],
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


def _presence(view: _View, piece: Int64, count: int) -> Float32:
    """(pieces, T) 1 where the piece has a pose; float, so that products run in BLAS."""
    present = np.zeros((count, view.present.shape[1]), np.float32)
    present[piece, view.step] = 1
    return present


def _continuations(
    rows: list[_View], pieces: list[Int64], clusters: _Clusters, pts_s: Float64
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
                smooth = _smoothness(view, np.flatnonzero(piece == p), np.flatnonzero(piece == q), pts_s)
                votes[key] = votes.get(key, 0.0) + 1 + smooth / 2
    return sorted(votes, key=lambda key: (-votes[key], key))


def _smoothness(view: _View, before: Int64, after: Int64, pts_s: Float64) -> float:
    """(0, 1] how well the motion before a cut leads into the motion after it, in units of body size."""
    cut = (pts_s[view.step[before[-1]]] + pts_s[view.step[after[0]]]) / 2
    ends = []
    for rows in (before, after):
        near = rows[np.abs(pts_s[view.step[rows]] - cut) <= 2 * SWAP_S]
        near = near if len(near) else rows[-1:] if rows is before else rows[:1]
        time = pts_s[view.step[near]] - cut
        centres = (view.boxes[near, :2] + view.boxes[near, 2:]) / 2
        spread = time - time.mean()
        velocity = spread @ centres / max(float(spread @ spread), 1e-6)
        ends.append((centres.mean(axis=0) - velocity * time.mean(), velocity))
    size = float(np.mean(view.boxes[[before[-1], after[0]], 2:] - view.boxes[[before[-1], after[0]], :2]))
    jolt = np.linalg.norm(ends[0][0] - ends[1][0]) + SWAP_S * np.linalg.norm(ends[0][1] - ends[1][1])
    return float(np.exp(-jolt / max(size, 1e-6)))


def _choose(rows: list[_View], people: list[Int64], clip: SkeletonSequence, max_people: int) -> Int64:
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


def _renumber(sequence: SkeletonSequence, view: _View, person: Int64, number: int) -> SkeletonSequence:
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
