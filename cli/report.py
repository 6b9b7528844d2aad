"""skelkit report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[
        Path,
        typer.Argument(help="Of a dataset or of a training run: what is in it decides.", show_default=False),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Of a run: its dataset, for attention and drawings; by default where it was.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page; by default report.html in the folder.", show_default=False),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Folder of its figures (.png); by default beside the page, named after it.",
            show_default=False,
        ),
    ] = None,
    gamma: Annotated[
        float, typer.Option(help="Of a dataset: confidence C below which a pose counts as discarded.")
    ] = 0.18,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
) -> None:
    """Show what is in a dataset, or what came of a training run: one HTML page, and its figures.

    The page needs nothing else to be read, no network and no other file.
    """
    from skelkit.pipelines.report import report as run

    done = run(folder, data=data, out=out, figures=figures, gamma=gamma, overwrite=overwrite)
    size = f"{done.size_bytes / 1e6:.1f} MB"
    typer.echo(f"{done.contents} -> {done.page} ({size})")
    if done.figures:
        typer.echo(f"{len(done.figures)} figures -> {done.figures[0].parent}")
