"""skelkit report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    dataset: Annotated[Path, typer.Argument(help="A dataset's folder.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="The page; by default report.html in the dataset.", show_default=False),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Folder of its figures (.png); by default beside the page, named after it.",
            show_default=False,
        ),
    ] = None,
    gamma: Annotated[float, typer.Option(help="Confidence C below which a pose counts as discarded.")] = 0.18,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
) -> None:
    """Show what is in a dataset: one HTML page that needs nothing else, and its figures."""
    from skelkit.pipelines.report import report as run

    done = run(dataset, out=out, figures=figures, gamma=gamma, overwrite=overwrite)
    size = f"{done.size_bytes / 1e6:.1f} MB"
    typer.echo(f"{done.num_clips} clips, {done.num_classes} classes -> {done.page} ({size})")
    typer.echo(f"{len(done.figures)} figures -> {done.figures[0].parent}")
