"""skelkit predict."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from skelkit.errors import ConfigError

from ._errors import one_line
from ._options import (
    DEFAULT_DETECTOR,
    DEFAULT_EXPERTS,
    AsJson,
    Detector,
    Device,
    Experts,
    Fps,
    Run,
    Stride,
    Weights,
    names_in,
)
from ._output import stdout
from ._progress import bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skelkit.pipelines.predict import Prediction


def predict(
    run: Run,
    source: Annotated[
        Path,
        typer.Argument(
            help="A shard, a dataset's folder, or what `skelkit extract` takes.", show_default=False
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes told per clip.")] = 5,
    table: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write them as a table.", show_default=False),
    ] = None,
    experts: Experts = DEFAULT_EXPERTS,
    detector: Detector = DEFAULT_DETECTOR,
    weights: Weights = None,
    device: Device = "auto",
    stride: Stride = 1,
    fps: Fps = None,
    as_json: AsJson = False,
) -> None:
    """Tell the actions in clips or videos, with probabilities.

    Experts and frames are for videos; choose them as for the clips that the network learnt from. Of many
    videos, make a shard with `skelkit extract` first. Exit code: 0 all done, 1 some clips have no people or
    cannot be decoded, 2 the call is wrong, 3 there is nothing to tell of any clip.
    """
    from skelkit.pipelines.predict import predict as classify
    from skelkit.pipelines.predict import write_csv
    from skelkit.pipelines.settings import ExtractSettings

    if table is not None and not table.parent.is_dir():
        raise ConfigError(f"expected an existing folder for {table}, found no {table.parent}; create it")
    settings = ExtractSettings(
        experts=names_in(experts),
        detector=detector,
        weights=str(weights) if weights else None,
        device=device,
        stride=stride,
        target_fps=fps,
    )
    with bars() as show:
        found = classify(run, source, top=top, settings=settings, show=show)
    if table is not None:
        write_csv(found, table)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
    else:
        stdout().print(_table(found))
    told = sum(bool(one.labels) for one in found)
    if not told:
        why = f"{found[0].video_id}: {found[0].detail}" if len(found) == 1 else "nobody in any clip"
        typer.echo(f"skelkit: nothing to tell; {one_line(why)}", err=True)
        raise typer.Exit(3)
    if any(one.detail for one in found):
        raise typer.Exit(1)


def _table(found: Sequence[Prediction]) -> Table:
    table = Table("clip", "people", "action", "probability")
    for one in found:
        name, people = escape(one_line(one.video_id)), str(one.people)
        lines = [(escape(one_line(label)), f"{share:.1%}") for label, share in one.labels]
        if one.detail:
            lines.append((escape(one_line(one.detail)), ""))
        for action, share in lines:
            table.add_row(name, people, action, share)
            name = people = ""
        table.add_section()
    return table
