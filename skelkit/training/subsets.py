"""Parts of a split with the same share of every class: few-shot, validation."""

from __future__ import annotations

import numpy as np

from skelkit.structures import Int64


def stratified(labels: Int64, share: float, *, seed: int, leave: int = 0) -> Int64:
    """Positions of a share of every class, at least one of each, in ascending order.

    A larger share of the same seed contains the smaller one.

    Args:
        labels: (N,) classes.
        share: In (0, 1].
        seed: Another seed is another choice.
        leave: How many of a class stay behind at least, even if none is chosen then.
    """
    rng = np.random.default_rng(seed)
    chosen = [np.zeros(0, np.int64)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        wanted = max(1, round(share * len(members)))
        chosen.append(members[: max(0, min(wanted, len(members) - leave))])
    return np.sort(np.concatenate(chosen))
