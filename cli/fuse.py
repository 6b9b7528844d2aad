"""skelkit fuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ._options import AsJson
from ._output import stdout
from .test import table_of


def fuse(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Runs tested on the same clips, such as joint and bone.", show_default=False),
    ],
    split: Annotated[str, typer.Option(help="Of which the runs have scores.")] = "test",
    weights: Annotated[
        list[float] | None,
        typer.Option("--weight", help="One for each run. Default: equal ones.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the results.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Average the scores of several runs, and measure the result."""
    from skelkit.pipelines.fuse import fuse as run

    done = run(runs, split=split, weights=weights or (), output=out)
    if as_json:
        alone = [result.figures() for result in done.alone]
        typer.echo(json.dumps({"alone": alone, "fused": done.fused.figures()}))
        return
    rows = {str(path): result for path, result in zip(done.runs, done.alone, strict=True)}
    stdout().print(table_of(rows | {"fused": done.fused}))
