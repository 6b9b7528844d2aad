"""The report of a training run: one HTML page that needs nothing else, and its figures as PNG."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from skelkit.report.charts import Chart
from skelkit.report.choosing import MOST_CLASSES
from skelkit.report.page import MOST_RECIPE
from skelkit.report.rendering import render, write_report
from skelkit.report.run_facts import RunFacts, SplitResult
from skelkit.report.run_figures import (
    Overview,
    class_bars,
    confusion_overview,
    confusion_picture,
    curves,
    graphs_before,
    joint_matrices,
)
from skelkit.report.run_tables import (
    ALL_IN_A_TABLE,
    ClassScore,
    Confusion,
    ConfusionTable,
    Mistake,
    class_scores,
    confusion_table,
    hardest_confusions,
    run_oddities,
    surest_mistakes,
)
from skelkit.report.strips import Strip, draw_strip
from skelkit.report.tables import shortened
from skelkit.structures import SkeletonSequence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Measured:
    """What the page shows of one split."""

    result: SplitResult
    classes: list[ClassScore]
    confusions: list[Confusion]
    table: ConfusionTable
    overview: Overview | None
    mistakes: list[tuple[Mistake, Strip | None]]


class RunReport:
    """The report of a training run.

    Args:
        facts: The run in numbers.
        clip_of: Gives the people of a clip by its name; None where it cannot be found.
    """

    def __init__(
        self, facts: RunFacts, clip_of: Callable[[str], SkeletonSequence | None] = lambda video_id: None
    ) -> None:
        self._facts = facts
        self._curves = curves(facts)
        self._measured = [_measured(facts, result, clip_of) for result in facts.results]
        self._graphs = graphs_before(facts.matrices, facts.skeleton)
        self._matrices = [joint_matrices(unit, facts.skeleton) for unit in facts.matrices]

    def html(self) -> str:
        """The page."""
        recipe = json.dumps(dict(self._facts.recipe), indent=2, ensure_ascii=False, default=str)
        return render(
            "run.html",
            facts=self._facts,
            done=len(self._facts.whole_epochs),
            oddities=run_oddities(self._facts),
            curves=self._curves,
            measured=self._measured,
            most_classes=MOST_CLASSES,
            all_in_a_table=ALL_IN_A_TABLE,
            graphs=self._graphs,
            matrices=self._matrices,
            recipe=shortened(recipe, MOST_RECIPE),
        )

    def figures(self) -> Iterator[Chart]:
        """All figures, also those that the page shows as tables."""
        yield from self._curves
        for measured in self._measured:
            yield confusion_picture(self._facts, measured.result)
            yield class_bars(measured.classes, measured.result.split)
        yield from self._graphs
        yield from self._matrices

    def write(self, page: Path, figures: Path) -> list[Path]:
        """See `write_report`."""
        return write_report(self.html(), self.figures(), page, figures)


def _measured(
    facts: RunFacts, result: SplitResult, clip_of: Callable[[str], SkeletonSequence | None]
) -> _Measured:
    return _Measured(
        result=result,
        classes=class_scores(facts, result),
        confusions=hardest_confusions(facts, result),
        table=confusion_table(facts, result),
        overview=confusion_overview(facts, result) if len(facts.class_names) > ALL_IN_A_TABLE else None,
        mistakes=[(mistake, _strip(clip_of(mistake.video_id))) for mistake in surest_mistakes(facts, result)],
    )


def _strip(sequence: SkeletonSequence | None) -> Strip | None:
    return draw_strip(sequence) if sequence is not None and sequence.present().any() else None
