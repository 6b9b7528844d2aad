"""An expert whose whole pose leaves the body: it looks at another person for a while, or at nothing."""

from __future__ import annotations

import numpy as np

from skelkit.aggregation.path import Path
from skelkit.aggregation.swaps import distance, pair_distances
from skelkit.aggregation.views import lower_median
from skelkit.structures import Float32, Float64

ELSEWHERE = 0.5
"""Distance in person sizes from which on two poses (median over the joints both have) cannot mean the same
body. Experts that merely fail on limbs stay below."""

BACKING = 2.0
"""Log likelihood that each expert at the same place adds to a body."""


class Strays:
    """Finds whole poses in the wrong place, with what it remembers from chunk to chunk.

    The body follows the likeliest path (`skelkit.aggregation.path`) through the middles of the experts'
    poses: those that other experts back, and that do not jump. Where it goes on from where it was, a pose
    elsewhere that does not is a stray. So two experts at the same wrong place for some frames move nothing;
    without a past, and in still pictures, nobody is one: that is left to the votes of the joints.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._last: Float32 | None = None  # (C, M) where the body was

    def set_aside(self, modes: Float32, likelihood: Float32, size: Float32, pts_s: Float64) -> None:
        """Take what strays see out of the choice, in place.

        Args:
            modes: (C, E, K, T, M), as from `skelkit.aggregation.consensus.find_modes`.
            likelihood: (E, K, T, M) of the modes, -inf where there is none.
            size: (T, M) person sizes in pixels.
            pts_s: (T,) seconds.
        """
        middle = np.stack([lower_median(plane.swapaxes(0, 1)) for plane in modes])  # (C, E, T, M)
        reach = ELSEWHERE * size
        apart = np.zeros((*middle.shape[1:2] * 2, *size.shape), np.float32)
        for (a, b), distances in pair_distances(modes).items():
            apart[a, b] = apart[b, a] = lower_median(distances)
        backing = BACKING * (apart <= reach).sum(axis=1)  # NaN where they share no joint: no backing
        backing = np.where(np.isfinite(middle[0]), backing, -np.inf).astype(np.float32)
        self._path = self._path or Path(middle[:, :, None])
        chosen = self._path.follow(middle[:, :, None], backing[:, None], size, pts_s)

        body = np.take_along_axis(middle, chosen[None], axis=1)[:, 0]
        before = self._before(body)
        goes_on = distance(body, before) <= reach
        jumps = distance(middle, before[:, None]) > reach
        elsewhere = np.take_along_axis(apart, chosen[None], axis=0)[0] > reach
        stray = goes_on & jumps & elsewhere
        np.copyto(modes, np.nan, where=stray[:, None])
        np.copyto(likelihood, -np.inf, where=stray[:, None])

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
