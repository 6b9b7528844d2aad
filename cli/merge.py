"""skelkit merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._building import Workers, building, print_build
from ._progress import print_report


def merge(
    output: Annotated[
        Path, typer.Argument(help="The shard (.h5) or the dataset's folder to make.", show_default=False)
    ],
    parts: Annotated[
        list[Path],
        typer.Argument(help="Shards, folders of shards, datasets, in the order wanted.", show_default=False),
    ],
    of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT",
            help="For the shares of an extraction, its inputs; repeatable: all must be there, clips come in "
            "their order, and the report is written, as by one run.",
            show_default=False,
        ),
    ] = None,
    workers: Workers = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Join shards of one recipe (of a job array) into one, or shards and datasets into one dataset."""
    from skelkit.pipelines.merge import merge as join
    from skelkit.pipelines.merge import merge_datasets

    if of:
        from skelkit.pipelines.join import join as join_shares

        print_report(join_shares(output, parts, of, overwrite=overwrite))
        return
    if output.suffix == ".h5":
        done = join(output, parts, overwrite=overwrite)
        typer.echo(f"{done.num_clips} clips, {done.num_frames} frames, {done.num_rows} poses -> {done.path}")
        return
    with building() as display:
        report = merge_datasets(output, parts, worker_count=workers, overwrite=overwrite, show=display.show)
    print_build(report)
