"""What builds of datasets share: options, progress, the summary at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from ._errors import INTERRUPTED, one_line
from ._output import stdout

if TYPE_CHECKING:
    from skelkit.pipelines.build_posetics import BuildReport, Step

Group = Annotated[
    str | None,
    typer.Option(
        help="With ratios, what no two splits share: source, sha256, a regular expression on the clip's name "
        "(its first group counts), or FILE.csv:COLUMN.",
        rich_help_panel="Labels and splits",
    ),
]
Seed = Annotated[
    int | None, typer.Option(help="Of splits by ratio; 0 by default.", rich_help_panel="Labels and splits")
]
TargetMb = Annotated[
    float | None, typer.Option(help="Size of a shard; 64 by default.", rich_help_panel="Output")
]
Workers = Annotated[int, typer.Option(min=1, help="Number of processes.", rich_help_panel="Run")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Start afresh, and replace an existing dataset.", rich_help_panel="Run"),
]


@contextmanager
def building() -> Iterator[Display]:
    """What shows a build's progress; an interrupted build says so."""
    try:
        with Display() as display:
            yield display
    except KeyboardInterrupt:
        typer.echo(
            "skelkit: interrupted; what is finished is kept, the same command goes on from here", err=True
        )
        raise typer.Exit(INTERRUPTED) from None


class Display:
    """Progress of a build on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}

    def show(self, step: Step) -> None:
        """Take a piece of news."""
        if step.stage not in self._tasks:
            self._tasks[step.stage] = self._progress.add_task(step.stage, total=step.total)
        self._progress.update(self._tasks[step.stage], completed=step.done)

    def say(self, text: str) -> None:
        """A line of news of another kind."""
        self._console.print(text, soft_wrap=True)

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def print_build(report: BuildReport) -> None:
    """What each rule dropped, and what there is now."""
    console = stdout()
    if report.info.filters:
        table = Table("rule", "limit", "clips in", "dropped")
        for rule in report.info.filters:
            cells = (rule["rule"], _limit(rule["limit"]), rule["clips_in"], rule["clips_dropped"])
            table.add_row(*(escape(one_line(str(cell))) for cell in cells))
        console.print(table)
    for rule in report.info.filters:
        if trimmed := rule.get("clips_trimmed"):
            console.print(
                f"{rule['rule']}: {trimmed} clips without {rule['people_dropped']} of their people, "
                f"{rule['poses_dropped']} poses (trimmed.csv)",
                soft_wrap=True,
            )
    splits = ", ".join(f"{count} {split}" for split, count in report.info.splits.items())
    size = sum(shard.bytes for shard in report.info.shards) / 1e6
    done = f"in {report.seconds:.1f} s" if report.built else "there already, made of the same in the same way"
    console.print(
        f"{report.clips_in} clips -> {sum(report.info.splits.values())} ({splits}), "
        f"{len(report.info.label_names)} labels, {len(report.info.shards)} shards, {size:.1f} MB, {done} "
        f"-> {escape(one_line(str(report.output)))}",
        soft_wrap=True,
    )


def _limit(limit: object) -> str:
    return str(limit["file"]) if isinstance(limit, dict) else "" if limit is True else str(limit)
