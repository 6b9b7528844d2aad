"""skelkit doctor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from ._errors import one_line
from ._options import AsJson, Weights
from ._output import stdout
from .experts import families_table

if TYPE_CHECKING:
    from rich.table import Table


def doctor(weights: Weights = None, as_json: AsJson = False) -> None:
    """Say what is installed, which experts work here, and what to type for the rest."""
    from skelkit.pipelines.doctor import examine

    found = examine(str(weights) if weights else None)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for table in tables(found):
        stdout().print(table)


def tables(found: dict[str, Any]) -> Iterator[Table]:
    """What `examine` found, in tables that fit 80 columns."""
    from rich.table import Table

    machine = found["machine"]
    here = Table("what", "here", title=f"skelkit {found['skelkit']}, Python {found['python']}", width=80)
    for name, number in found["packages"].items():
        here.add_row(name, number or "not installed")
    here.add_section()
    here.add_row("CPU cores", str(machine["cores"]))
    here.add_row("GPUs", escape("\n".join(machine["gpus"])) or "none")
    here.add_row("ONNX Runtime runs on", "\n".join(machine["onnx_providers"]))
    here.add_row("videos are decoded by", escape(machine["decoder"]))
    here.add_row("decoding on the GPU", escape(one_line(machine["nvdec"])))
    yield here
    experts = Table(title="experts and detectors", width=80)
    experts.add_column("expert", overflow="fold", min_width=39)
    experts.add_column("kind")
    experts.add_column("works")
    for row in found["experts"]:
        says = {
            "yes": "[green]yes[/]",
            "fetch": "once weights are fetched",
            "no weights": "no weights here",
        }
        works = says.get(row["works"]) or escape(one_line(row["works"]))
        experts.add_row(escape(row["name"].replace(":", ": ")), row["kind"], works)
    yield experts
    if found["openmmlab"]:
        yield families_table(found["openmmlab"])
    if found["advice"]:
        advice = Table("for", "type", title="what is missing", width=80)
        for line in found["advice"]:
            advice.add_row(line["for"], escape(line["type"]))
        yield advice
