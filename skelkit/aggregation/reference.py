"""SST-A as the authors' public script computes it, for comparison only (YangDi666/SSTA-PRS, tools/ssta.py).

It differs from the thesis, and from `skelkit.aggregation.ssta.Ssta`, in that

- there are exactly three experts, of 17 joints, and one person;
- (0, 0) is a place like any other, not a missing joint;
- shorter inputs are filled up with frames of zeros to the longest;
- the last frame is never computed and stays zero, with C = 0;
- of equal distances the later candidate wins, in the order experts 2, 3, 1 (in the first frame the pairs
  2-3 and 2-1, which give expert 2, and 1-3, which gives expert 3);
- C is taken over joints 5 to 16 and scaled by the distance of the shoulders instead of head to neck, with an
  offset of 1e-8, and becomes 0 below the threshold, which is 0.06.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skelkit.aggregation.chain import follow
from skelkit.errors import ConfigError
from skelkit.structures import Float32, Float64

GAMMA = 0.06
"""The script's threshold on C."""

_ORDER = (1, 2, 0)  # of equal distances the last one in this order wins
_LEFT_SHOULDER, _RIGHT_SHOULDER = 5, 6


def like_reference(poses: Sequence[Float32], gamma: float = GAMMA) -> tuple[Float32, Float64]:
    """The public script's aggregate and confidence.

    Args:
        poses: Three experts' keypoints (T_i, 17, 2) in pixels, (0, 0) included as it stands in the files.
        gamma: C below this becomes 0; the poses stay.

    Returns:
        The aggregate (T, 17, 2) and C (T,), T the longest of the three.

    Raises:
        ConfigError: not three experts of 17 joints in two dimensions.
    """
    shapes = [np.shape(p) for p in poses]
    if len(shapes) != 3 or any(len(s) != 3 or s[1:] != (17, 2) for s in shapes):
        raise ConfigError(
            f"like_reference: expected three arrays (frames, 17, 2), got {shapes}; the public script takes "
            "exactly three experts; try Ssta for any other number",
            expected="3 x (frames, 17, 2)",
            got=shapes,
        )
    frames = max(s[0] for s in shapes)
    experts = np.zeros((3, frames, 17, 2))
    for e, pose in enumerate(poses):
        experts[e, : len(pose)] = pose
    out = np.zeros((frames, 17, 2), np.float32)
    confidence = np.zeros(frames)
    if frames < 2:
        return out, confidence
    experts = experts[:, :-1]
    chosen = _choose(experts)
    aggregate = np.take_along_axis(experts, chosen[None, ..., None], axis=0)[0]
    out[:-1] = aggregate
    apart = _distance(experts, aggregate)[..., 5:].sum(axis=-1) / 12
    scale = _distance(aggregate[:, _LEFT_SHOULDER], aggregate[:, _RIGHT_SHOULDER]) + 1e-8
    c = np.exp(-(apart / scale).mean(axis=0))
    confidence[:-1] = np.where(c < gamma, 0, c)
    return out, confidence


def _choose(experts: Float64) -> np.ndarray:
    """(T, 17) the expert whose joint is taken, of (3, T, 17, 2)."""
    first = [_distance(experts[a, 0], experts[b, 0]) for a, b in ((1, 2), (1, 0), (0, 2))]
    start = np.asarray([1, 1, 2])[_last_argmin(np.stack(first))]
    # (previous choice, candidate, T - 1, 17)
    moves = _distance(experts[None, _ORDER, 1:], experts[:, None, :-1])
    nearest = np.asarray(_ORDER)[_last_argmin(moves.swapaxes(0, 1))]
    later = follow(nearest.swapaxes(0, 1), start)
    return np.concatenate([start[None], later])


def _last_argmin(values: Float64) -> np.ndarray:
    """Over the first axis; of equal values the last."""
    return np.asarray(len(values) - 1 - np.argmin(values[::-1], axis=0))


def _distance(a: Float64, b: Float64) -> Float64:
    return np.asarray(np.sqrt(((a - b) ** 2).sum(axis=-1)))
