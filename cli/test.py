"""skelkit test."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ._errors import one_line
from ._options import AsJson, Run
from ._output import stdout
from ._progress import bars

if TYPE_CHECKING:
    from skelkit.pipelines.results import Result


def test(
    run: Run,
    data: Annotated[Path, typer.Option("--data", help="The dataset's folder.", show_default=False)],
    split: Annotated[
        str | None, typer.Option(help="Of the dataset. Default: the recipe's.", show_default=False)
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(min=1, help="Clips per sample, averaged. Default: the recipe's.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the results. Default: in the run.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a trained network: top-1, top-5, mean per-class accuracy, confusion matrix."""
    from skelkit.pipelines.test import test as measure

    with bars() as show:
        result = measure(
            run,
            data,
            split=split,
            choices=clips,
            device=device,
            output=out,
            show=partial(show, "clips"),
        )
    if as_json:
        typer.echo(json.dumps(result.figures()))
        return
    stdout().print(table_of({str(run): result}))


def table_of(results: dict[str, Result]) -> Table:
    """A row per result."""
    table = Table("", "clips", "top-1", "top-5", "mean per-class")
    for name, result in results.items():
        shares = (result.top1, result.top5, result.mean_class)
        table.add_row(escape(one_line(name)), str(result.clips), *(f"{100 * share:.1f}" for share in shares))
    return table
