"""skelkit render."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._options import Shard


def render(
    shard: Shard,
    clip: Annotated[
        str, typer.Argument(help="Its name; `skelkit info --clips` lists them.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Argument(help="Video (.mp4), or a strip of frames (.png).", show_default=False)
    ],
    experts: Annotated[
        str | None,
        typer.Option(
            help="Experts to draw side by side, or `all`; by default the result alone.", show_default=False
        ),
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="The video, if it is not where it was.", show_default=False)
    ] = None,
    blank: Annotated[bool, typer.Option("--blank", help="Draw on a blank canvas.")] = False,
    gamma: Annotated[float, typer.Option(help="Leave out aggregated poses with a confidence C below.")] = 0.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing picture.")] = False,
) -> None:
    """Draw the skeletons of a clip over its video."""
    from skelkit.pipelines.render import render as run

    names = [name.strip() for name in experts.split(",") if name.strip()] if experts else None
    done = run(shard, clip, output, experts=names, video=video, blank=blank, gamma=gamma, overwrite=overwrite)
    typer.echo(f"{done.frames} frames, {done.people} people -> {done.output}")
