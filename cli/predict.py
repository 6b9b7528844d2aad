"""skelkit predict."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from ._errors import one_line
from ._options import AsJson, Device, Run, Weights
from ._output import stdout


def predict(
    run: Run,
    source: Annotated[
        Path,
        typer.Argument(
            help="A shard, a dataset's folder, or what `skelkit extract` takes.", show_default=False
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes told per clip.")] = 3,
    device: Device = "auto",
    experts: Annotated[
        str, typer.Option(help="For videos: pose experts.", rich_help_panel="Experts")
    ] = "movenet,edvard_cpm,tfpose",
    detector: Annotated[
        str, typer.Option(help="For videos: person detector.", rich_help_panel="Experts")
    ] = "yolox_nano",
    weights: Weights = None,
    as_json: AsJson = False,
) -> None:
    """Tell the actions in clips or videos, with probabilities."""
    from skelkit.pipelines.predict import predict as classify

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("clips", total=None)
        found = classify(
            run,
            source,
            top=top,
            device=device,
            experts=tuple(name.strip() for name in experts.split(",") if name.strip()),
            detector=detector,
            weights=str(weights) if weights else None,
            show=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
        return
    table = Table("clip", "people", "actions")
    for one in found:
        actions = ", ".join(f"{escape(name)} {share:.1%}" for name, share in one.labels)
        table.add_row(escape(one_line(one.video_id)), str(one.people), actions)
    stdout().print(table)
