"""skelkit import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from skelkit.errors import ConfigError

from ._errors import one_line

FORMAT_NAMES = (
    "coco (also AlphaPose and MMPose), jhmdb, kinetics-skeleton, ntu, openpose, posetics-json, pyskl, "
    "ssta-npz, unik"
)


def import_(
    format_name: Annotated[
        str, typer.Argument(metavar="FORMAT", help=f"One of {FORMAT_NAMES}.", show_default=False)
    ],
    inputs: Annotated[list[Path], typer.Argument(help="Files and folders.", show_default=False)],
    output: Annotated[
        Path, typer.Argument(help="A shard (.h5), or a folder for a dataset.", show_default=False)
    ],
    joints: Annotated[
        str | None, typer.Option(help="Joint set of the files, where they do not say, such as coco17.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(help="2 or 3, where files hold both (ntu, posetics-json, unik).")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second, where files do not say.")] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Size of the picture, where files do not say.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label names, one in a line, or a JSON table {clip: {label ...}}.")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Read only this split (repeatable); where files tell none, all clips get it."),
    ] = None,
    skip: Annotated[
        Path | None, typer.Option(help="Clips to leave out, a name in every line (NTU's bad samples).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Read what other tools wrote into a shard or a dataset."""
    from skelkit.pipelines.import_ import import_ as run
    from skelkit.pipelines.import_ import settings

    options = settings(
        joints=joints,
        dimensions=dimensions,
        fps=fps,
        image_size=None if image_size is None else _size(image_size),
        labels=labels,
        splits=split or (),
        skip=skip,
    )
    with Progress(transient=True) as progress:
        bar = progress.add_task("clips", total=None)
        done = run(
            format_name,
            inputs,
            output,
            options,
            overwrite=overwrite,
            show=lambda have: progress.update(bar, completed=have),
        )
    for video_id, why in done.failed:
        typer.echo(one_line(f"failed: {video_id}: {why}"), err=True)
    typer.echo(
        f"{done.clips} clips ({len(done.failed)} failed), {done.frames} frames, {done.poses} poses "
        f"-> {done.output}"
    )
    raise typer.Exit(done.exit_code)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise ConfigError(f"--image-size: expected WxH, for example 1920x1080, got {text!r}") from None
