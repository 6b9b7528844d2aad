"""skelkit build-posetics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ._building import Group, Overwrite, Seed, TargetMb, Workers, building, print_build
from ._cluster import LOCAL, Scheduler, Where, chosen
from ._options import AsJson

_FILTERS = "Clips kept"
_PEOPLE = "People and poses kept"
_LABELS = "Labels and splits"
_OUTPUT = "Output"


def build_posetics(
    inputs: Annotated[
        list[Path], typer.Argument(help="Shards, folders of shards, or datasets.", show_default=False)
    ],
    output: Annotated[Path, typer.Argument(help="The dataset's folder.", show_default=False)],
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Settings by the names of these options, with _ for -; options given here win.",
            show_default=False,
        ),
    ] = None,
    presence: Annotated[
        float | None,
        typer.Option(help="Least share of frames with a pose; 0.5 by default.", rich_help_panel=_FILTERS),
    ] = None,
    min_frames: Annotated[int | None, typer.Option(help="Least frames.", rich_help_panel=_FILTERS)] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Least mean confidence C.", rich_help_panel=_FILTERS)
    ] = None,
    min_joints: Annotated[
        float | None, typer.Option(help="Least joints seen in a pose, on average.", rich_help_panel=_FILTERS)
    ] = None,
    min_size: Annotated[
        float | None, typer.Option(help="Least median height of bodies, in pixels.", rich_help_panel=_FILTERS)
    ] = None,
    near_duplicates: Annotated[
        float | None,
        typer.Option(
            help="Drop clips whose movement differs from another's by at most this, in body heights "
            "(0.02 is strict).",
            rich_help_panel=_FILTERS,
        ),
    ] = None,
    labelled: Annotated[
        bool | None,
        typer.Option("--labelled", help="Only clips with a label.", rich_help_panel=_FILTERS),
    ] = None,
    failed: Annotated[
        bool | None,
        typer.Option(
            "--drop-failed/--keep-failed",
            help="Clips that could not be decoded whole; dropped by default.",
            rich_help_panel=_FILTERS,
        ),
    ] = None,
    joints: Annotated[
        str | None,
        typer.Option(help="Joint set wanted, or same; posetics17 by default.", rich_help_panel=_PEOPLE),
    ] = None,
    max_people: Annotated[int | None, typer.Option(help="People per clip.", rich_help_panel=_PEOPLE)] = None,
    people_by: Annotated[
        str | None,
        typer.Option(
            help="Which people: presence, motion or size; presence by default.", rich_help_panel=_PEOPLE
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(
            help="Leave out poses with C below this; by default all stay, with their C.",
            rich_help_panel=_PEOPLE,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.csv",
            help="Labels of clips: columns video_id (or path, or Kinetics' youtube_id, time_start, time_end) "
            "and label. By default those that the shards have.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    label_table: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.csv",
            help="Merge labels: kinetics400-posetics320, or a file with the columns source, target, reason.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Ratios (train=0.9,val=0.1), a file with video_id and split, smarthome-cs, smarthome-cv1, "
            "smarthome-cv2, ntu60-cs, ntu60-cv, ntu120-cs, ntu120-cset, penn:LABELS_FOLDER, or keep "
            "(the default).",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    group: Group = None,
    seed: Seed = None,
    name: Annotated[
        str | None, typer.Option(help="Begins the names of the shards.", rich_help_panel=_OUTPUT)
    ] = None,
    target_mb: TargetMb = None,
    workers: Workers = 1,
    cluster: Where = LOCAL,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make a dataset of extracted clips: filtered, labelled, split, in shards, with an index.

    Run the same command again after an interruption and it goes on where it stopped; the same inputs and
    settings give the same bytes. Every clip that is dropped has a line in dropped.csv.
    """
    given = {
        "presence": presence,
        "min_frames": min_frames,
        "min_confidence": min_confidence,
        "min_joints": min_joints,
        "min_size": min_size,
        "near_duplicates": near_duplicates,
        "labelled": labelled,
        "failed": failed,
        "joints": joints,
        "max_people": max_people,
        "people_by": people_by,
        "gamma": gamma,
        "labels": labels,
        "label_table": label_table,
        "split": split,
        "group": group,
        "seed": seed,
        "name": name,
        "target_mb": target_mb,
    }
    with building() as display:
        from skelkit.pipelines.build_posetics import build
        from skelkit.pipelines.build_settings import BuildSettings

        report = build(
            inputs,
            output,
            BuildSettings.of(given, settings),
            worker_count=workers,
            cluster=chosen(cluster, scheduler, display.say),
            overwrite=overwrite,
            show=display.show,
        )
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        print_build(report)
