"""skelkit merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    output: Annotated[Path, typer.Argument(help="The shard to make (.h5).", show_default=False)],
    parts: Annotated[
        list[Path], typer.Argument(help="Shards of the same recipe, in the order wanted.", show_default=False)
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing shard.")] = False,
) -> None:
    """Join the shards of a job array into one."""
    from skelkit.pipelines.merge import merge as run

    done = run(output, parts, overwrite=overwrite)
    typer.echo(f"{done.num_clips} clips, {done.num_frames} frames, {done.num_rows} poses -> {done.path}")
