"""What a run looks like on a terminal, and in a log file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from ._errors import one_line
from ._output import stdout

if TYPE_CHECKING:
    from skelkit.pipelines.extract import Plan, Report, Step

_COLOURS = {"ok": "green", "no_person": "yellow", "damaged": "yellow", "failed": "red"}


class Display:
    """Progress of a run: bars on a terminal, one plain line per video elsewhere; on stderr.

    Args:
        total: Number of videos.
    """

    def __init__(self, total: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._total = total
        self._done = 0
        self._kept = 0
        self._frames = 0
        self._begin = time.monotonic()
        self._current: dict[str, tuple[TaskID, int]] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._overall = self._progress.add_task("videos", total=total, note="")

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, step: Step) -> None:
        """Take a piece of news."""
        if step.kind == "progress":
            self._advance(step)
            return
        self._done += 1
        self._forget(step)
        if step.kind == "kept":
            self._kept += 1
            if self._kept == 1:
                self._console.print("keeping what an earlier run has finished")
        else:
            self._line(step)
        self._progress.update(self._overall, completed=self._done, note=self._rate())

    def say(self, text: str) -> None:
        """A line of news of another kind."""
        self._console.print(text, soft_wrap=True)

    def _advance(self, step: Step) -> None:
        name = one_line(step.source.video_id)
        if name not in self._current:
            self._current[name] = (self._progress.add_task(f"  {escape(name[-40:])}", total=None, note=""), 0)
        task, before = self._current[name]
        self._current[name] = (task, step.frames)
        self._frames += step.frames - before
        self._progress.update(task, completed=step.frames, note=f"frames, {step.people} poses")
        self._progress.update(self._overall, note=self._rate())

    def _forget(self, step: Step) -> None:
        task, _ = self._current.pop(one_line(step.source.video_id), (None, 0))
        if task is not None:
            self._progress.remove_task(task)

    def _line(self, step: Step) -> None:
        row = step.row or {}
        status = str(row.get("status"))
        rate = row["frames"] / row["seconds"] if row.get("seconds") else 0.0
        name = escape(one_line(row["video_id"]))
        text = (
            f"[{self._done}/{self._total}] [{_COLOURS[status]}]{status:9}[/] "
            f"{name}  {row['frames']} frames, {row['people']} people, {rate:.1f} frames/s"
        )
        if row["detail"]:
            text += f"\n    {escape(one_line(row['detail']))}"
        self._console.print(text, soft_wrap=True)

    def _rate(self) -> str:
        return f"{self._frames / max(time.monotonic() - self._begin, 1e-3):.1f} frames/s"


@contextmanager
def bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on a terminal for each thing counted, nothing elsewhere; called with thing, done and total."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=None)
            progress.update(tasks[what], completed=done, total=total)

        yield show


def print_plan(task: Plan, *, as_json: bool) -> None:
    """What a run would do."""
    experts = list(task.recipe["experts"])
    detector = (task.recipe["detector"] or {}).get("name")
    output = one_line(str(task.output))
    if as_json:
        names = [{"video_id": s.video_id, "source": one_line(s.path), "label": s.label} for s in task.sources]
        typer.echo(json.dumps({"output": output, "recipe": task.recipe, "inputs": names}))
        return
    table = Table("video", "kind", "label", "source", title=f"{len(task.sources)} inputs -> {escape(output)}")
    for source in task.sources:
        table.add_row(
            *(escape(one_line(t)) for t in (source.video_id, source.kind, source.label or "", source.path))
        )
    stdout().print(table)
    stdout().print(f"experts: {', '.join(experts)}" + (f"; detector: {detector}" if detector else ""))


def print_report(report: Report) -> None:
    """What became of every input: counts, and each one that is not simply ok."""
    console = stdout()
    odd = [r for r in report.rows if r["status"] != "ok"]
    if odd:
        table = Table("status", "video", "frames", "why", title="not simply ok")
        for row in odd:
            status = row["status"]
            table.add_row(
                f"[{_COLOURS[status]}]{status}[/]",
                escape(one_line(row["video_id"])),
                str(row["frames"]),
                escape(one_line(row["detail"])) or "nobody in any frame",
            )
        console.print(table)
    frames = sum(r["frames"] for r in report.rows)
    counts = ", ".join(f"{n} {status}" for status, n in report.counts.items() if n)
    console.print(
        f"{len(report.rows)} inputs ({counts}), {frames} frames in {report.seconds:.1f} s "
        f"-> {escape(one_line(report.output))}",
        soft_wrap=True,
    )
