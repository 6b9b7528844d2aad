"""Where two experts disagree who goes on as whom: one of them has swapped identities."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from skelkit.structures import Float64, Int64
from skelkit.tracking.agreement import MIN_SHARE, Pairs, View

SWAP_S = 0.3
"""A change of partner counts as a swap when either partner holds for at least this long ..."""
SWAP_STEPS = 3
"""... and for at least this many time steps."""


def find_swaps(
    rows: list[View], pairs: dict[tuple[int, int], Pairs], pts_s: Float64
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
            for track in range(rows[e].num_tracks):
                runs = _runs(rows[e].steps_of(track), partner[rows[e].rows_of(track)], lasting)
                runs = _stable(runs, rows[e].steps_of(track), rows[f])
                for old, new, step in _changes(runs, rows[f], lasting):
                    found |= {(e, track, step), (f, old, step), (f, new, step)}
    steps = np.unique([step for _, _, step in found]).astype(np.int64)
    group = np.cumsum(np.diff(steps, prepend=steps[:1]) >= lasting)
    first = dict(zip(steps.tolist(), steps[np.searchsorted(group, group)].tolist(), strict=True))
    return {(e, track, first[step]) for e, track, step in found}


def _changes(runs: list[tuple[int, int, int]], others: View, lasting: int) -> Iterator[tuple[int, int, int]]:
    """(old partner, new partner, time step) of changes that are no mere fragmentation."""
    for (old, s0, e0), (new, s1, e1) in pairwise(runs):
        old_goes_on = _count(others.steps_of(old), s1, e1 + 1) >= lasting
        new_was_there = _count(others.steps_of(new), s0, e0 + 1) >= lasting
        if old_goes_on or new_was_there:
            yield old, new, s1


def _count(steps: Int64, start: int, stop: int) -> int:
    """How many of these ascending steps lie from ``start`` until before ``stop``."""
    begin, end = np.searchsorted(steps, (start, stop))
    return int(end - begin)


def _partners(mine: Int64, other: Int64, similarity: Float64, view: View, others: View) -> Int64:
    """(R,) the track of the other expert most like each pose of `view`; -1 = none alike."""
    order = np.argsort(similarity, kind="stable")  # the best is written last
    partner = np.full(len(view.track), -1, np.int64)
    partner[mine[order]] = others.track[other[order]]
    return partner


def _runs(steps: Int64, partner: Int64, lasting: int) -> list[tuple[int, int, int]]:
    """Lasting runs of one partner as (partner, first step, last step), short episodes left out.

    Args:
        steps: (n,) time steps of a track.
        partner: (n,) `_partners`.
        lasting: How many poses a run has at least.
    """
    steps, partner = steps[partner >= 0], partner[partner >= 0]
    ends = np.flatnonzero(np.diff(partner)) + 1
    runs: list[tuple[int, int, int]] = []
    for begin, end in pairwise([0, *ends.tolist(), len(steps)]):
        if end - begin < lasting:
            continue
        who, first, last = int(partner[begin]), int(steps[begin]), int(steps[end - 1])
        if runs and runs[-1][0] == who:
            first = runs.pop()[1]
        runs.append((who, first, last))
    return runs


def _stable(runs: list[tuple[int, int, int]], steps: Int64, others: View) -> list[tuple[int, int, int]]:
    """Runs that fill at least `MIN_SHARE` of the time between their neighbours in which both are there.

    Someone whom the other expert never found has a partner only while passing somebody it did find.
    ``steps``: (n,) time steps of the track whose runs these are.
    """
    begins = [0, *(last + 1 for _, _, last in runs)]
    ends = [*(first for _, first, _ in runs[1:]), others.num_steps]
    together = {who: np.intersect1d(steps, others.steps_of(who), assume_unique=True) for who, _, _ in runs}
    return [
        run
        for run, begin, end in zip(runs, begins, ends, strict=False)
        if run[2] + 1 - run[1] >= MIN_SHARE * _count(together[run[0]], begin, end)
    ]


def smoothness(view: View, before: Int64, after: Int64, pts_s: Float64) -> float:
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
