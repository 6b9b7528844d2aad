"""An expert whose whole pose lies elsewhere than the others': it looks at another person, or at nothing."""

from __future__ import annotations

import numpy as np

from skelkit.aggregation.path import Path
from skelkit.aggregation.swaps import distance, pair_distances
from skelkit.aggregation.views import Proposals, lower_median
from skelkit.structures import Float32

ELSEWHERE = 0.5
"""Distance in person sizes from which on two poses (median over the joints both have) cannot mean the same
body. Experts that merely fail on limbs stay below."""

BACKING = 2.0
"""Log likelihood that each other expert at the same place adds to a body."""


class Strays:
    """Finds whole poses in the wrong place, with what it remembers from chunk to chunk.

    The body follows the likeliest path (`skelkit.aggregation.path`) through the experts' bodies: those that
    other experts back, and that do not jump. A pose elsewhere is a stray where fewer back it than the body
    on the path, or where that one continues the past and it does not. So two experts at the same wrong
    place for some frames move nothing; equal camps without a past are left to the votes of the joints.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._last: Float32 | None = None  # (C, M) where the body was

    def set_aside(self, proposals: Proposals, size: Float32) -> None:
        """Take strays out, in place: all their joints become NaN.

        Args:
            proposals: E experts.
            size: (T, M) person sizes in pixels.
        """
        points = proposals.points
        centre = np.stack([lower_median(plane.swapaxes(0, 1)) for plane in points])  # (C, E, T, M)
        seen = np.isfinite(centre).all(axis=0)
        apart = np.zeros((len(seen), len(seen), *size.shape), np.float32)
        for (a, b), distances in pair_distances(points).items():
            apart[a, b] = apart[b, a] = lower_median(distances)
        backers = (apart <= ELSEWHERE * size).sum(axis=1)  # NaN where they share no joint: no backing
        likelihood = np.where(seen, BACKING * backers, -np.inf).astype(np.float32)
        places = centre[:, :, None]
        self._path = self._path or Path(places)
        chosen = self._path.follow(places, likelihood[:, None], size, proposals.pts_s)

        far = np.take_along_axis(apart, chosen[None], axis=0)[0] > ELSEWHERE * size
        fewer = backers < np.take_along_axis(backers, chosen, axis=0)
        body = np.stack([np.take_along_axis(plane, chosen, axis=0)[0] for plane in centre])  # (C, T, M)
        before = self._before(body)
        jumps = distance(centre, before[:, None]) > ELSEWHERE * size
        goes_on = distance(body, before) <= ELSEWHERE * size
        stray = far & (fewer | (goes_on & jumps))
        np.copyto(points, np.nan, where=stray[:, None])
        np.copyto(proposals.scores, 0, where=stray[:, None])

    def _before(self, body: Float32) -> Float32:
        """(C, T, M) where the body was last seen before each frame; NaN before it is first seen."""
        if self._last is None:
            self._last = np.full((len(body), body.shape[-1]), np.nan, np.float32)
        past = np.concatenate([self._last[:, None], body], axis=1)
        steps = np.arange(past.shape[1])[:, None]
        known = np.maximum.accumulate(np.where(np.isfinite(past[0]), steps, 0), axis=0)
        filled = np.take_along_axis(past, known[None], axis=1)
        self._last = filled[:, -1]
        return np.asarray(filled[:, :-1])
