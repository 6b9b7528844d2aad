"""skelkit experts."""

from __future__ import annotations

import json
from pathlib import Path
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
    from skelkit.pipelines.experts import list_experts, list_families

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
    kinds, missing = list_families()
    stdout().print(families_table(kinds) if kinds else escape(f"mmpose:NAME, mmdet:NAME: {missing}"))


def families_table(kinds: list[dict[str, Any]]) -> Table:
    """What `list_families` found."""
    table = Table(title="mmpose:NAME and mmdet:NAME, or a config", width=80)
    table.add_column("kind", min_width=29)
    for column in ("models", "short names", "works"):
        table.add_column(column)
    for kind in kinds:
        aliases = escape(", ".join(kind["aliases"]))
        table.add_row(escape(kind["name"]), str(kind["models"]), aliases, escape(kind["works"]))
    return table


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


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Such as InTheWild-ResNet50.pkl.", show_default=False)],
    output: Annotated[Path, typer.Argument(help="The student (.safetensors).", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Make a student of a public LCR-Net++ checkpoint; nothing in it is executed.

    The student is an expert, lcrnet:FILE, and `skelkit self-train` refines it.
    Known are networks on ResNet-50 without a feature pyramid; their poses in 3-D
    are left out.
    """
    from skelkit.pipelines.student import import_student

    done = import_student(file, output, overwrite=overwrite)
    typer.echo(f"{done['anchor_poses']} anchor poses of {done['joints']} joints -> {output}")


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


@app.command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Default: all whose weights are here.", show_default=False),
    ] = None,
    weights: Weights = None,
    device: Device = "auto",
    batch_sizes: Annotated[
        str | None,
        typer.Option(
            metavar="1,4,...", help="Frames at a time; by default what suits the device.", show_default=False
        ),
    ] = None,
    people: Annotated[int, typer.Option(min=1, help="People in a frame, for top-down experts.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Measure experts at several batch sizes, and say which size to use.

    Frames are noise of 640 x 360 pixels. MB: memory of the GPU, or of the
    process on a CPU. net: the share of the time that the bare network takes;
    the rest is preprocessing, copying and decoding.
    """
    from skelkit.errors import ConfigError
    from skelkit.pipelines.bench import BenchSettings
    from skelkit.pipelines.bench import bench as measure

    try:
        sizes = tuple(int(part) for part in batch_sizes.split(",")) if batch_sizes else ()
    except ValueError:
        raise ConfigError(f"expected --batch-sizes such as 1,4,16; got {batch_sizes!r}") from None
    settings = BenchSettings(weights=_text(weights), device=device, batch_sizes=sizes, people=people)
    rows = []
    for row in measure(names or (), settings):
        rows.append(row)
        if not as_json:
            typer.echo(f"{row['name']} at {row['batch_size']}: {row['ms_per_frame'] or row['why']}", err=True)
    if as_json:
        typer.echo(json.dumps(rows))
    elif rows:
        stdout().print(bench_table(rows))
    else:
        stdout().print("no weights found; name their folder with --weights")
    raise typer.Exit(int(not any(row["fits"] for row in rows)))


def bench_table(rows: list[dict[str, Any]]) -> Table:
    """Rows of `skelkit.pipelines.bench.bench`; the chosen batch size of each expert has a mark."""
    table = Table(width=80)
    table.add_column("expert", overflow="fold")
    for heading in ("frames at\na time", "ms per\nframe", "ms per\nperson", "MB", "net"):
        table.add_column(heading, justify="right")
    table.add_column("best")
    last = None
    for row in rows:
        if last not in {None, row["name"]}:
            table.add_section()
        name = "" if row["name"] == last else escape(row["name"].replace(":", ": "))
        last = row["name"]
        if row["fits"]:
            numbers = [f"{row['ms_per_frame']:.1f}", _number(row["ms_per_person"]), str(row["memory_mb"])]
            mark = "[green]best[/]" if row["best"] else ""
            table.add_row(name, str(row["batch_size"]), *numbers, f"{row['efficiency']:.0%}", mark)
        else:
            table.add_row(name, str(row["batch_size"] or ""), "", "", "", "", escape(one_line(row["why"])))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _text(weights: object) -> str | None:
    return str(weights) if weights else None
