"""skelkit models."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ._options import AsJson
from ._output import stdout

app = typer.Typer(help="The networks there are, and public checkpoints.", no_args_is_help=True)

Joints = Annotated[str, typer.Option(help="Joint set: posetics17, coco17, ntu25, ...")]
People = Annotated[int, typer.Option(min=1, help="People in a clip.")]


@app.command("list")
def list_(
    joints: Joints = "posetics17",
    frames: Annotated[int, typer.Option(min=1, help="Frames of a clip.")] = 150,
    people: People = 2,
    classes: Annotated[int, typer.Option(min=1, help="Classes.")] = 320,
    measure: Annotated[bool, typer.Option("--speed", help="Measure clips per second, too.")] = False,
    device: Annotated[str, typer.Option(help="Where speed is measured: auto, cpu, cuda.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """List networks with parameters, operations and speed."""
    from skelkit.pipelines.models import BATCH, list_models

    rows = list_models(
        joints=joints, frames=frames, people=people, classes=classes, device=device, measure=measure
    )
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows]))
        return
    table = Table("name", "parameters", "GFLOPs per clip", *(["clips per second"] if measure else []))
    for row in rows:
        speed = [f"{row.clips_per_second:.1f}"] if row.clips_per_second else []
        table.add_row(row.name, f"{row.parameters / 1e6:.2f} M", f"{row.gflops:.2f}", *speed)
    stdout().print(table)
    stdout().print(f"A clip: {frames} frames of {people} people with the joints {joints}; {classes} classes.")
    if measure and rows:
        stdout().print(f"Speed: inference in batches of {BATCH} on {rows[0].measured_on}.")


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="unik, stgcn or agcn.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="A file of torch.save.", show_default=False)],
    output: Annotated[Path, typer.Argument(help="Folder for the model.", show_default=False)],
    joints: Annotated[str, typer.Option(help="Joint set it was trained on.", show_default=False)],
    people: People = 2,
    classes: Annotated[
        Path | None, typer.Option(help="Text file with a class name per line.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
) -> None:
    """Make a skelkit model of a public checkpoint: official UNIK, pyskl or mmaction2 ST-GCN and 2s-AGCN."""
    from skelkit.pipelines.models import import_model

    row = import_model(kind, file, output, joints=joints, people=people, classes=classes, overwrite=overwrite)
    typer.echo(f"{row.name}, {row.parameters / 1e6:.2f} M parameters -> {output}")
