"""The likeliest way through places of which one is right in each frame (Viterbi's algorithm)."""

from __future__ import annotations

import numpy as np

from skelkit.aggregation.swaps import distance
from skelkit.structures import Float32, Float64

STEP_S = 0.1
"""Seconds in which a joint travels about one `STEP`."""

STEP = 0.2
"""Person sizes: standard deviation of that travel."""

JUMP = 1e-5
"""Likelihood, relative to standing still, of being anywhere else: the price of a jump.

The two were chosen on 60 clips of JHMDB with simulated experts; a factor of 1.5 or 100 changes little."""


class Path:
    """The likeliest sequence of places, with what it remembers from chunk to chunk."""

    def __init__(self, modes: Float32) -> None:
        """Start with nothing seen; ``modes`` (C, E, K, T, M) says how much there is to remember."""
        c, e, k, _, m = modes.shape
        self.place = np.full((c, e, k, m), np.nan, np.float32)  # the last modes seen of each joint
        self.belief = np.zeros((e, k, m), np.float32)  # log likelihood of the best path to each
        self.when = np.full((k, m), -np.inf)

    def follow(self, modes: Float32, likelihood: Float32, size: Float32, pts_s: Float64) -> np.ndarray:
        """(K, T, M) which mode to take; any, where there is none."""
        _, e, k, t, m = modes.shape
        came_from = np.empty((t, e, k, m), np.int8)
        stay = np.arange(e, dtype=np.int8)[:, None, None]
        for i in range(t):
            now, own = modes[..., i, :], likelihood[..., i, :]
            someone = np.isfinite(own).any(axis=0)
            reach = STEP * np.maximum((pts_s[i] - self.when) / STEP_S, 0.5)
            apart = np.stack([distance(self.place[:, f, None], now) for f in range(e)])
            with np.errstate(divide="ignore", invalid="ignore"):  # a lone joint has no size
                apart = apart / size[i]
                move = np.logaddexp(-0.5 * (apart / reach) ** 2, np.log(JUMP))
            # No past: every mode is reached alike.
            arrive = np.where(np.isnan(move), np.log(JUMP), move) + self.belief[:, None]
            best = arrive.argmax(axis=0)
            belief = own + np.take_along_axis(arrive, best[None], axis=0)[0]
            belief -= np.where(someone, belief.max(axis=0), 0)
            came_from[i] = np.where(someone, best, stay)
            self.belief = np.where(someone, belief, self.belief)
            self.place = np.where(someone, now, self.place)
            self.when = np.where(someone, pts_s[i], self.when)
        chosen = np.empty((t, k, m), np.intp)
        at = self.belief.argmax(axis=0)
        for i in reversed(range(t)):
            chosen[i] = at
            at = np.take_along_axis(came_from[i], at[None], axis=0)[0].astype(np.intp)
        return np.ascontiguousarray(chosen.swapaxes(0, 1))
