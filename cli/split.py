"""skelkit split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ._building import Group, Overwrite, Seed, TargetMb, Workers, building, print_build
from ._options import AsJson


def split(
    dataset: Annotated[Path, typer.Argument(help="A dataset's folder.", show_default=False)],
    output: Annotated[Path, typer.Argument(help="The dataset to make.", show_default=False)],
    how: Annotated[
        str,
        typer.Option(
            "--split",
            help="Ratios (train=0.9,val=0.1), a file with video_id and split, smarthome-cs, smarthome-cv1, "
            "smarthome-cv2, ntu60-cs, ntu60-cv, ntu120-cs, ntu120-cset, or penn:LABELS_FOLDER.",
            show_default=False,
        ),
    ],
    group: Group = None,
    seed: Seed = None,
    target_mb: TargetMb = None,
    workers: Workers = 1,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Split a dataset anew, into another folder; clips in no split have a line in dropped.csv."""
    with building() as display:
        from skelkit.pipelines.split import split as run

        report = run(
            dataset,
            output,
            how,
            group=group or "",
            seed=seed or 0,
            target_mb=target_mb or 64.0,
            worker_count=workers,
            overwrite=overwrite,
            show=display.show,
        )
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        print_build(report)
