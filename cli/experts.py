"""skelkit experts."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from ._errors import one_line
from ._options import AsJson, Device, Weights
from ._output import stdout

app = typer.Typer(help="The pose experts and detectors there are, and their weights.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="An expert, or the path of a card (.toml).", show_default=False)]


@app.command("list")
def list_(weights: Weights = None, as_json: AsJson = False) -> None:
    """List experts and detectors, and where their weights are."""
    from skelkit.pipelines.experts import list_experts

    rows = list_experts(_text(weights))
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("name", "kind", "joints", "run by us", "weights", "what it is")
    for row in rows:
        here = "found" if row["weights"] else "to be downloaded" if row["downloadable"] else "not found"
        verified = "yes" if row["verified"] else "not verified"
        table.add_row(row["name"], row["kind"], row["joints"], verified, here, escape(row["summary"]))
    stdout().print(table)


@app.command()
def show(name: Name, weights: Weights = None) -> None:
    """Show an expert's card as JSON."""
    from skelkit.pipelines.experts import show_expert

    typer.echo(json.dumps(show_expert(name, _text(weights)), indent=2))


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Experts to fetch the weights of.", show_default=False)],
) -> None:
    """Download weights into the cache."""
    from skelkit.pipelines.experts import fetch_expert

    for name in names:
        with Progress(transient=True) as progress:
            bar = progress.add_task(name, total=None)

            def show_bytes(
                have: int, total: int | None, progress: Progress = progress, bar: Any = bar
            ) -> None:
                progress.update(bar, completed=have, total=total)

            done = fetch_expert(name, show_bytes)
        checked = "sha256 as in the card" if done["checked"] else "the card knows no sha256"
        typer.echo(f"{name}: {done['path']} ({done['sha256'][:12]}..., {checked})")


@app.command()
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Default: all whose weights are here.", show_default=False),
    ] = None,
    weights: Weights = None,
    device: Device = "auto",
) -> None:
    """Load experts and run them on frames of noise; exit code 1 if one does not run."""
    from skelkit.pipelines.experts import check_expert, list_experts

    names = names or [r["name"] for r in list_experts(_text(weights)) if r["weights"]]
    table = Table("name", "runs", "ms per frame (one person)", "why not")
    failed = False
    for name in names:
        done = check_expert(name, _text(weights), device)
        failed |= not done["ok"]
        table.add_row(
            name,
            "yes" if done["ok"] else "[red]no[/]",
            str(done["ms_per_frame"] or ""),
            escape(one_line(done["why"])),
        )
    stdout().print(table if names else "no weights found; name their folder with --weights")
    raise typer.Exit(int(failed or not names))


def _text(weights: object) -> str | None:
    return str(weights) if weights else None
