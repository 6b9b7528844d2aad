"""skelkit validate."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ._building import Workers
from ._errors import one_line
from ._options import AsJson
from ._output import stdout


def validate(
    path: Annotated[Path, typer.Argument(help="A shard (.h5) or a dataset's folder.", show_default=False)],
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Prove a shard or a dataset: structure, checksums, values, index, labels, leakage between splits.

    Everything that is wrong is told. Exit code: 0 nothing, 1 something is wrong.
    """
    from skelkit.pipelines.validate import validate as run

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("shards", total=None)
        problems = run(
            path,
            worker_count=workers,
            show=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    grave = [problem for problem in problems if problem.grave]
    if as_json:
        found = [dataclasses.asdict(problem) for problem in problems]
        typer.echo(json.dumps({"path": str(path), "valid": not grave, "problems": found}))
    else:
        console = stdout()
        for problem in problems:
            kind = "[red]wrong[/]" if problem.grave else "[yellow]odd[/]"
            console.print(f"{kind} {escape(one_line(f'{problem.file}: {problem.what}'))}", soft_wrap=True)
        console.print(
            f"{escape(one_line(str(path)))}: "
            + (f"{len(grave)} problems" if grave else "valid" + (", with oddities" if problems else "")),
            soft_wrap=True,
        )
    raise typer.Exit(int(bool(grave)))
