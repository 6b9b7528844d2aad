"""skelkit cluster."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ._cluster import Scheduler, chosen
from ._errors import one_line
from ._options import AsJson, Weights
from ._output import stdout

app = typer.Typer(help="Work on a cluster: profiles of sites, checks, progress.", no_args_is_help=True)

_SHOWN = 20
"""Problems that are shown; --json has all."""


@app.command()
def init(
    kind: Annotated[
        str, typer.Argument(help="slurm, pbs, lsf, sge or htcondor.", show_default=False, metavar="KIND")
    ],
    file: Annotated[
        Path | None,
        typer.Argument(help="Where to write it (.toml); by default where --cluster KIND finds it."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a profile that is there.")] = False,
) -> None:
    """Write a site profile to fill in: every key with what it means."""
    from skelkit.pipelines.cluster import init_profile

    path = init_profile(kind, file, overwrite=overwrite)
    name = kind if file is None else str(file)
    typer.echo(f"fill in {path}, then try: skelkit cluster check {name}")


@app.command()
def check(
    profile: Annotated[
        str, typer.Argument(help="Site profile: slurm, pbs, ... or FILE.toml.", show_default=False)
    ] = "local",
    scheduler: Scheduler = None,
    folder: Annotated[
        Path, typer.Option(help="On the file system that all machines share; where outputs will be.")
    ] = Path(),
    weights: Weights = None,
    as_json: AsJson = False,
) -> None:
    """Have a worker say what it sees: version, weights, GPUs, scratch space, decoder.

    Submits one job. Exit code: 0 all well, 1 it would fail at something.
    """
    from skelkit.errors import ConfigError
    from skelkit.pipelines.probing import probe_cluster

    console = Console(stderr=True, highlight=False)
    cluster = chosen(profile, scheduler, lambda text: console.print(text, soft_wrap=True))
    if cluster is None:
        raise ConfigError("expected a site profile or --scheduler ADDRESS, got neither; name one")
    seen = probe_cluster(cluster, folder, str(weights) if weights else None)
    if as_json:
        typer.echo(json.dumps(seen))
    else:
        table = Table(show_header=False)
        for name, value in seen.items():
            if name != "problems":
                table.add_row(name.replace("_", " "), escape(one_line(_shown(value))))
        stdout().print(table)
        for problem in seen["problems"]:
            stdout().print(f"[red]problem[/] {escape(one_line(problem))}", soft_wrap=True)
    raise typer.Exit(int(bool(seen["problems"])))


@app.command()
def status(
    output: Annotated[
        Path, typer.Argument(help="Output of a run on a cluster, or its .events.jsonl.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Say how far a run on a cluster is and what failed, from any machine that sees its output's folder."""
    from skelkit.pipelines.event_log import read_state

    state, now = read_state(output), time.time()
    if as_json:
        typer.echo(json.dumps(state.to_json(now)))
        return
    console = stdout()
    condition = state.condition(now)
    text = {
        "running": f"running on {state.host} (process {state.pid})",
        "silent": f"silent for {now - state.last:.0f} s: its process {state.pid} on {state.host} was "
        "killed, most likely; the same command goes on from here",
    }.get(condition, condition)
    console.print(f"{state.job} -> {escape(one_line(state.output))}: {text}", soft_wrap=True)
    if state.why:
        console.print(escape(one_line(state.why)), soft_wrap=True)
    left = state.remaining_s
    counts = ", ".join(f"{n} {status}" for status, n in sorted(state.statuses.items()))
    console.print(
        f"{state.stage}: {state.kept + state.done} of {state.total} done"
        + (f" ({state.kept} by earlier runs)" if state.kept else "")
        + (f"; {counts}" if counts else "")
        + (f"; about {left / 60:.0f} min to go" if left is not None else "")
    )
    if condition == "running":
        ready = sum(how == "ready" for how in state.workers.values())
        console.print(
            f"{ready} workers, {len(state.running)} at work; dashboard: {state.dashboard}", soft_wrap=True
        )
    if state.lost_workers or state.retried:
        console.print(f"{state.lost_workers} workers lost, {state.retried} tasks tried once more")
    for worker, how in state.workers.items():
        if how not in {"joined", "ready"}:
            console.print(f"worker {worker} gets no more work: {escape(one_line(how))}", soft_wrap=True)
    for task in sorted(state.stragglers):
        console.print(f"takes long: {escape(one_line(task))}", soft_wrap=True)
    _print_problems(state.problems)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(v)}" for name, v in value.items()) or "none"
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def _print_problems(problems: dict[str, str]) -> None:
    if not problems:
        return
    table = Table("not simply ok", "why")
    for task, why in list(problems.items())[:_SHOWN]:
        table.add_row(escape(one_line(task)), escape(one_line(why)))
    stdout().print(table)
    if len(problems) > _SHOWN:
        stdout().print(f"and {len(problems) - _SHOWN} more (--json has all)")
