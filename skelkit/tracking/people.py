"""Which people of a clip matter: the rank by which `max_people` are kept, and their order."""

from __future__ import annotations

import numpy as np

from skelkit.geometry import Floats
from skelkit.structures import Float64, Int64
from skelkit.tracking.similarity import body_area


def rank_people(
    person: Int64, boxes: Floats, *, num_people: int, num_steps: int, image_size: tuple[int, int]
) -> Float64:
    """Presence x size x motion of each person.

    - presence: the share of the clip's time steps in which the person is seen;
    - size: sqrt(mean area / image area);
    - motion: 1 + the spread (standard deviation) of the box centre in units of the person's longer side,
      at most 2. Posters and seated onlookers give way to people who act, and jitter counts for nothing.

    Args:
        person: (R,) the person of each row (one row per person and time step).
        boxes: (R, 4) `geometry.extents` of the joints.
        num_people: M.
        num_steps: T.
        image_size: (H, W).

    Returns:
        (M,) not negative.
    """
    boxes = boxes.astype(np.float64)
    longer, centres = (boxes[:, 2:] - boxes[:, :2]).max(axis=1), (boxes[:, 2:] + boxes[:, :2]) / 2
    count = np.maximum(np.bincount(person, minlength=num_people), 1)

    def mean(values: Float64) -> Float64:
        return np.asarray(np.bincount(person, values, minlength=num_people) / count)

    variance = sum(mean((c - mean(c)[person]) ** 2) for c in centres.T)
    length = np.maximum(mean(longer), 1e-9)
    motion = 1 + np.minimum(np.sqrt(variance) / length, 1)
    size = np.sqrt(mean(body_area(boxes)) / max(image_size[0] * image_size[1], 1))
    presence = np.bincount(person, minlength=num_people) / max(num_steps, 1)
    return np.asarray(presence * size * motion)


def choose_people(rank: Float64, first_step: Int64, max_people: int) -> Int64:
    """The people kept, in the order of their new ids: the highest ranks, by first appearance, then rank.

    Args:
        rank: (M,) `rank_people`; people of negative rank are not kept.
        first_step: (M,) time step of first appearance.
        max_people: How many to keep at most.

    Returns:
        (M',) indices into the M people. Equal ranks keep the order given.
    """
    best = np.argsort(-rank, kind="stable")[:max_people]
    best = np.sort(best[rank[best] >= 0])
    return np.asarray(best[np.lexsort((-rank[best], first_step[best]))])
