"""The command line: one file per verb, each command short: parse -> one pipeline call -> print its result.

Importing this loads nothing heavy, so that `skelkit --help` answers at once; commands import what they run.
"""

from __future__ import annotations

from typing import Annotated

import typer

from skelkit._version import __version__

from . import (
    build_posetics,
    cluster,
    doctor,
    evaluate,
    experts,
    export,
    extract,
    fuse,
    import_,
    info,
    merge,
    models,
    predict,
    refine,
    render,
    report,
    self_train,
    split,
    stats,
    submit,
    test,
    train,
    train_expert,
    validate,
)
from ._errors import report_errors

app = typer.Typer(
    name="skelkit",
    help="Turn folders of videos into skeleton action datasets, and train on them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(extract.extract)
app.command()(refine.refine)
app.command("evaluate-poses")(evaluate.evaluate_poses)
app.command("build-posetics")(build_posetics.build_posetics)
app.command()(split.split)
app.command()(merge.merge)
app.command()(validate.validate)
app.command()(stats.stats)
app.command()(info.info)
app.command("import")(import_.import_)
app.command()(export.export)
app.command()(render.render)
app.command()(report.report)
app.command()(train.train)
app.command()(train.recipes)
app.command("train-expert")(train_expert.train_expert)
app.command("train-student")(self_train.train_student)
app.command("self-train")(self_train.self_train)
app.command()(test.test)
app.command()(fuse.fuse)
app.command()(predict.predict)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(submit.submit)
app.command()(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(experts.app, name="experts")
app.add_typer(cluster.app, name="cluster")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"skelkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="On an error, show where in the code it arose.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Entry point of the `skelkit` command."""
    report_errors(app)
