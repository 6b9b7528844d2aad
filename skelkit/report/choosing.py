"""Which few clips of a dataset stand for all: the same ones every time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skelkit.report.facts import DatasetFacts
from skelkit.structures import Int64

MOST_CLASSES = 500
"""Classes shown at most, the largest: it keeps the page small whatever the dataset."""


def typical_clips(facts: DatasetFacts) -> dict[str, int]:
    """For every class shown, the clip nearest to the class's medians of length, people, presence and quality.

    Returns:
        Label -> clip, the largest class first; classes without a pose are left out.
    """
    measures = pd.DataFrame(
        {
            "frames": np.log1p(facts.num_frames),
            "people": np.log1p(facts.num_people),
            "presence": facts.presence,
            "quality": facts.quality[1],
        },
        dtype=float,
    ).fillna(0.0)[facts.drawable]
    labels = pd.Series(facts.label)[facts.drawable]
    away = (measures - measures.groupby(labels).transform("median")).abs() / (measures.std(ddof=0) + 1e-6)
    order = pd.DataFrame({"label": labels, "away": away.sum(axis=1), "name": facts.video_id[facts.drawable]})
    nearest = order.sort_values(["away", "name"]).drop_duplicates("label")
    clip_of = dict(zip(nearest["label"], nearest.index, strict=True))
    sizes = labels.value_counts()
    largest = sorted(clip_of, key=lambda label: (-sizes[label], label))[:MOST_CLASSES]
    return {str(label): int(clip_of[label]) for label in largest}


def worst_clips(facts: DatasetFacts, count: int = 12) -> list[int]:
    """The clips of lowest quality among those with poses, the worst first."""
    quality = facts.quality[1]
    known = np.flatnonzero(facts.drawable & np.isfinite(quality))
    order = np.lexsort((facts.video_id[known].astype(str), quality[known]))
    return [int(i) for i in known[order[:count]]]


def spread_clips(facts: DatasetFacts, count: int = 200) -> Int64:
    """Clips with poses, evenly spread over the dataset."""
    known = np.flatnonzero(facts.drawable)
    steps = np.linspace(0, len(known) - 1, min(count, len(known))).round().astype(np.int64)
    return np.asarray(known[steps], np.int64)
