"""skelkit stats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ._errors import one_line
from ._options import AsJson
from ._output import stdout

_SHOWN = 20


def stats(
    path: Annotated[Path, typer.Argument(help="A shard (.h5) or a dataset's folder.", show_default=False)],
    every_class: Annotated[bool, typer.Option("--classes", help="List every class.")] = False,
    as_json: AsJson = False,
) -> None:
    """Count clips, frames and people by split and class; tell lengths, presence and confidence."""
    from skelkit.pipelines.stats import stats as run

    found = run(path)
    if as_json:
        typer.echo(json.dumps(found))
        return
    console = stdout()
    console.print(_splits(found))
    console.print(_distributions(found))
    console.print(_classes(found, None if every_class else _SHOWN))


def _splits(found: dict[str, Any]) -> Table:
    names = ("clips", "frames", "hours", "people", "poses", "labels")
    table = Table("split", *names, title=escape(one_line(found["path"])))
    for split, row in {**found["splits"], "together": found}.items():
        table.add_row(escape(split) or "-", *(f"{row[name]:,}" for name in names))
    return table


def _distributions(found: dict[str, Any]) -> Table:
    rows = {name: row for name, row in found["distributions"].items() if row}
    table = Table("per clip", *(next(iter(rows.values())) if rows else ()))
    for name, row in rows.items():
        table.add_row(name, *(f"{value:g}" for value in row.values()))
    return table


def _classes(found: dict[str, Any], shown: int | None) -> Table:
    rows = sorted(found["classes"], key=lambda row: (-row["clips"], row["label"]))
    table = Table("class", *(escape(split) or "-" for split in found["splits"]), "clips")
    for row in rows[:shown]:
        counts = [str(count) for count in row["splits"].values()]
        table.add_row(escape(one_line(row["label"])) or "(none)", *counts, str(row["clips"]))
    if shown is not None and len(rows) > shown:
        table.add_row(f"... {len(rows) - shown} more (--classes)", *[""] * (len(found["splits"]) + 1))
    return table
