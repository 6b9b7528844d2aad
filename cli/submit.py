"""skelkit submit."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from skelkit.errors import ConfigError, ExpertError
from skelkit.registry import unknown

from . import build_posetics, extract, refine, train
from ._errors import one_line

_COMMANDS: dict[str, Callable[..., None]] = {
    "extract": extract.extract,
    "refine": refine.refine,
    "build-posetics": build_posetics.build_posetics,
    "train": train.train,
}
_AGAIN = {"extract": "the shares", "build-posetics": "the dataset", "train": "the run"}
"""Commands that go on where they stopped, and what `--overwrite` would begin anew."""


def submit(
    context: typer.Context,
    command: Annotated[
        str,
        typer.Argument(
            metavar="COMMAND [ARGUMENTS]...",
            help=f"What to do: {', '.join(_COMMANDS)}, with the arguments it takes.",
            show_default=False,
        ),
    ],
    cluster: Annotated[
        str,
        typer.Option(
            metavar="PROFILE",
            help="Site profile: a TOML file, or the name of one (`skelkit cluster init` writes it).",
        ),
    ] = "slurm",
    shares: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of an extraction: tasks to share it among; the profile's number of workers by default.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the scripts; write and submit nothing.")
    ] = False,
) -> None:
    """Do a command as jobs of a Slurm cluster, with nothing left running here.

    Writes scripts for sbatch into OUTPUT.slurm, to read, edit and submit again, and submits them. An
    extraction is an array of tasks, each with its share of the videos, and a job that joins and validates
    the shares at the end. Jobs that come to the end of their walltime or are preempted go on in new ones.
    """
    from skelkit.pipelines.site_profile import read_profile
    from skelkit.pipelines.submit import check_kind, extraction, single, training, write
    from skelkit.pipelines.submit import submit as send

    if command not in _COMMANDS:
        raise ConfigError(unknown("command to submit", command, _COMMANDS))
    profile = read_profile(cluster)
    check_kind(profile)
    given = _parsed(command, context.args)
    words = [command, *context.args]
    output = Path(given["out" if command == "train" else "output"])
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"expected an existing folder for {output}; create {output.absolute().parent}")
    if command == "extract":
        _refuse(given["shard"] is not None, "--shard", "each task of the array gets its own")
        count = min(shares or profile.workers.max, _inputs(context.args))
        scripts = extraction(profile, words, inputs=given["inputs"], output=output, shares=count)
    elif command == "train":
        _check_recipe(given)
        scripts = training(profile, words, output=output, nodes=given["nodes"], devices=given["devices"])
    else:
        scripts = single(profile, words, output=output)
    if dry_run:
        for script in scripts:
            typer.echo(f"# ----- {one_line(str(script.path))}\n{script.text}")
        return
    write(scripts)
    for done in send(scripts):
        typer.echo(f"job {done.job}: {done.script.what} ({one_line(str(done.script.path))})")
    typer.echo(f"squeue --me shows them; their words are in {one_line(str(scripts[0].path.parent))}")


def _parsed(command: str, arguments: list[str]) -> dict[str, Any]:
    """What the command itself would take these arguments for; wrong ones end here, as they would there."""
    given: dict[str, Any] = _command(command).make_context(f"skelkit {command}", list(arguments)).params
    begins_anew = given.get("overwrite") or given.get("resume") is False
    if command in _AGAIN:
        _refuse(
            bool(begins_anew),
            "--overwrite",
            f"jobs that go on later would begin {_AGAIN[command]} anew; choose another output, or remove it",
        )
    return given


def _command(command: str) -> Any:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command(command)(_COMMANDS[command])
    return typer.main.get_command(app)


def _refuse(wrong: bool, option: str, why: str) -> None:
    if wrong:
        raise ConfigError(f"skelkit submit takes no {option}: {why}")


def _inputs(arguments: list[str]) -> int:
    """How many inputs an extraction has, after all that can be checked here."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            _command("extract").main([*arguments, "--dry-run", "--json"], standalone_mode=False)
    except ExpertError as error:  # nodes may have what this machine has not
        from skelkit.pipelines.submit import count_inputs

        typer.echo(f"skelkit: not to be checked here: {one_line(error.message)}", err=True)
        return count_inputs(_parsed("extract", arguments)["inputs"])
    return len(json.loads(said.getvalue())["inputs"])


def _check_recipe(given: dict[str, Any]) -> None:
    """Tell what is wrong with a recipe now, not when its job has waited for days."""
    from skelkit.pipelines.recipes import prepare

    prepare(given["recipe"], Path(given["data"]), given["settings"] or ())
