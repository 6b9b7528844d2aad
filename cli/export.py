"""skelkit export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress


def export(
    source: Annotated[Path, typer.Argument(help="A shard, or a dataset's folder.", show_default=False)],
    format_name: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="One of coco, kinetics-skeleton, openpose, posetics-json, pyskl, ssta-npz, unik.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Argument(help="The folder to make; for pyskl a file (.pkl).", show_default=False)
    ],
    split: Annotated[list[str] | None, typer.Option(help="Only this split (repeatable).")] = None,
    joints: Annotated[
        str | None, typer.Option(help="Joint set of the result; the source's own where the format takes it.")
    ] = None,
    frames: Annotated[int, typer.Option(help="unik: T, shorter clips are filled, longer ones cut.")] = 300,
    people: Annotated[int, typer.Option(help="unik: M, the people seen most are kept.")] = 2,
    half: Annotated[
        bool, typer.Option("--float16", help="pyskl: half the size; coordinates above 1024 lose half pixels.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Write a shard or a dataset as other tools read it."""
    from skelkit.pipelines.export import export as run

    with Progress(transient=True) as progress:
        bar = progress.add_task("clips", total=None)
        done = run(
            source,
            format_name,
            output,
            splits=split or (),
            joints=joints,
            frames=frames,
            people=people,
            half=half,
            overwrite=overwrite,
            show=lambda have, total: progress.update(bar, completed=have, total=total),
        )
    for reason, count in done.left_out.items():
        typer.echo(f"left out: {count} clips ({reason})", err=True)
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{done.clips} clips with the joints of {done.joints} -> {done.output}")
