"""The report of a dataset: one HTML page that needs nothing else, and its figures as PNG."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.report.charts import Chart
from skelkit.report.choosing import MOST_CLASSES, spread_clips, typical_clips, worst_clips
from skelkit.report.facts import DatasetFacts
from skelkit.report.figures import class_sizes, funnel, heatmap, histograms, named_classes
from skelkit.report.rendering import render, write_report
from skelkit.report.strips import Strip, draw_strip
from skelkit.report.tables import (
    class_rows,
    filter_rows,
    oddities,
    shortened,
    split_totals,
    totals,
    visibility,
)
from skelkit.structures import Float32, SkeletonSequence

MOST_RECIPE = 200_000
"""Characters of the recipe that the page shows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """What was taken from the clips that were read."""

    strips: dict[int, Strip]
    confidence: Float32
    """C of the poses of some clips."""
    num_sampled: int
    """How many clips these are."""
    experts: list[str]


class DatasetReport:
    """The report of a dataset; reads a few hundred of its clips at once, in their order.

    Args:
        facts: The dataset in numbers.
        clip_at: Gives the people of a clip.
    """

    def __init__(self, facts: DatasetFacts, clip_at: Callable[[int], SkeletonSequence]) -> None:
        self._facts = facts
        self._typical = typical_clips(facts)
        self._worst = worst_clips(facts)
        self._seen = _look(facts, clip_at, {*self._typical.values(), *self._worst})
        self._classes = class_rows(facts)
        self._filters = filter_rows(facts)
        self._visible = {
            "split": visibility(facts, facts.split),
            "class": visibility(facts, facts.label),
        }
        self._charts = histograms(facts, self._seen.confidence)
        self._sizes = class_sizes(facts, self._classes)

    def html(self) -> str:
        """The page."""
        facts, classes = self._facts, self._classes[:MOST_CLASSES]
        recipe = json.dumps(dict(facts.recipe), indent=2, ensure_ascii=False, default=str)
        return render(
            "dataset.html",
            facts=facts,
            totals=totals(facts),
            splits=split_totals(facts),
            experts=self._seen.experts,
            oddities=oddities(facts, self._classes),
            sizes=self._sizes,
            charts=self._charts,
            num_sampled=self._seen.num_sampled,
            num_poses=len(self._seen.confidence),
            classes=classes,
            num_classes=len(self._classes),
            most=max([row.clips for row in classes], default=0),
            filters=self._filters,
            visible=self._visible,
            sizes_of={row.label: row.clips for row in self._classes},
            typical=[(label, self._card(i)) for label, i in self._typical.items()],
            worst=[self._card(i) for i in self._worst],
            recipe=shortened(recipe, MOST_RECIPE),
        )

    def figures(self) -> Iterator[Chart]:
        """All figures, also those that the page shows as tables."""
        yield self._sizes
        yield named_classes(self._facts, self._classes[:MOST_CLASSES])
        if self._filters:
            yield funnel(self._filters)
        yield from self._charts
        by_class = self._visible["class"]
        names = [row.label for row in self._classes[:MOST_CLASSES] if row.label in by_class]
        joints = self._facts.skeleton.joints
        shares = np.array([by_class[name] for name in names]).reshape(len(names), len(joints))
        yield heatmap(names, shares, joints)

    def write(self, page: Path, figures: Path) -> list[Path]:
        """Write the page, and the figures into a folder that is there.

        Returns:
            The figures.

        Raises:
            OutputError: the operating system refuses (disk full, no permission).
        """
        return write_report(self.html(), self.figures(), page, figures)

    def _card(self, index: int) -> dict[str, Any]:
        """What the page says of one clip."""
        facts = self._facts
        names = ("video_id", "label", "split", "num_frames", "num_people", "presence", "mean_confidence")
        return {
            **{name: getattr(facts, name)[index] for name in names},
            "quality": facts.quality[1][index],
            "strip": self._seen.strips[index],
        }


def _look(facts: DatasetFacts, clip_at: Callable[[int], SkeletonSequence], drawn: set[int]) -> _Seen:
    """Read the clips to be drawn, and a sample for the confidence of poses, each once."""
    sample = set(spread_clips(facts).tolist())
    strips: dict[int, Strip] = {}
    confidence = [np.zeros(0, np.float32)]
    experts: dict[str, None] = {}
    for index in sorted(sample | drawn):
        sequence = clip_at(index)
        experts.update(dict.fromkeys(sequence.sources))
        if index in drawn:
            strips[index] = draw_strip(sequence)
        if index in sample:
            confidence.append(sequence.confidence[np.isfinite(sequence.confidence)])
    return _Seen(
        strips=strips, confidence=np.concatenate(confidence), num_sampled=len(sample), experts=list(experts)
    )
