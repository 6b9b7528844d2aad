"""skelkit refine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from ._aggregation import Bridge, Gamma, Joints, Method, Smooth, settings_of
from ._cluster import LOCAL, Scheduler, Where, chosen


def refine(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="A shard with several experts, or one SST-A file (.npz) per expert.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Argument(help="A shard, or an .npz file.", show_default=False)],
    method: Method = "consensus",
    joints: Joints = "lcr13",
    gamma: Gamma = 0.18,
    bridge: Bridge = 0.0,
    smooth: Smooth = None,
    reference: Annotated[
        bool,
        typer.Option(
            "--like-reference",
            help="Compute what the authors' public script does, quirks included (three .npz files).",
        ),
    ] = False,
    cluster: Where = LOCAL,
    scheduler: Scheduler = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Make one better skeleton of what several experts said; needs no GPU."""
    from skelkit.pipelines.refine import refine as run

    settings = settings_of(method, joints, gamma, bridge, smooth)
    console = Console(stderr=True, highlight=False)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("clips", total=None)
        done = run(
            inputs,
            output,
            settings,
            reference=reference,
            cluster=chosen(cluster, scheduler, lambda text: console.print(text, soft_wrap=True)),
            overwrite=overwrite,
            show=lambda have, total: progress.update(bar, completed=have, total=total),
        )
    typer.echo(
        f"{done.clips} clips, {done.frames} frames, {done.poses} poses "
        f"({done.discarded} below gamma) -> {done.output}"
    )
