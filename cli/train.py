"""skelkit train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ._errors import INTERRUPTED, one_line
from ._options import AsJson
from ._output import stdout

if TYPE_CHECKING:
    from skelkit.pipelines.train import TrainSummary


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe by name (`skelkit recipes` lists them), or a TOML file.", show_default=False
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="The dataset's folder.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder of the run; the same call goes on in it.", show_default=False),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PART.KEY=VALUE", help="On top of the recipe; repeatable.", show_default=False
        ),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or gpu.", rich_help_panel="On what")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Per machine.", rich_help_panel="On what")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.", rich_help_panel="On what")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where there is another run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a network on a dataset by a recipe, and measure it.

    Ctrl-C, SIGTERM and Slurm's SIGUSR1 end it after the step at hand, with exit code 130; the same call goes
    on as if nothing had been.
    """
    from skelkit.pipelines.train import Hardware
    from skelkit.pipelines.train import train as run

    console = Console(stderr=True, highlight=False)

    def tell(epoch: int, figures: dict[str, float]) -> None:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        console.print(f"epoch {epoch + 1}  {shown}", soft_wrap=True)

    done = run(
        recipe,
        data,
        out,
        settings=settings or (),
        hardware=Hardware(accelerator=accelerator, devices=devices, nodes=nodes),
        overwrite=overwrite,
        tell=tell,
    )
    if done is None:  # the first process tells
        return
    if as_json:
        typer.echo(json.dumps(_values(done)))
    else:
        _print(done)
    if not done.finished:
        raise typer.Exit(INTERRUPTED)


def recipes(as_json: AsJson = False) -> None:
    """List the recipes that come with skelkit."""
    from rich.table import Table

    from skelkit.pipelines.recipes import preset_names, read_values

    found = {name: read_values(name).get("description", "") for name in preset_names()}
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table("recipe", "what it is")
    for name, description in found.items():
        table.add_row(name, escape(description))
    stdout().print(table)


def _values(done: TrainSummary) -> dict[str, object]:
    return {
        "folder": str(done.folder),
        "finished": done.finished,
        "clips": done.clips,
        "validation_clips": done.validation_clips,
        "last_epoch": done.last,
        "test": done.result.figures() if done.result else None,
    }


def _print(done: TrainSummary) -> None:
    console = stdout()
    watched = f", watched on {done.validation_clips}" if done.validation_clips else ""
    state = "trained" if done.finished else "stopped, the same call goes on"
    console.print(
        f"{state}: {done.clips} clips learnt from{watched} -> {escape(one_line(str(done.folder)))}",
        soft_wrap=True,
    )
    if done.result:
        figures = done.result
        console.print(
            f"test: {figures.clips} clips, top-1 {figures.top1:.1%}, top-5 {figures.top5:.1%}, "
            f"mean per-class {figures.mean_class:.1%}"
        )
