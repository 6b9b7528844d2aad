"""skelkit evaluate-poses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ._errors import one_line
from ._options import AsJson
from ._output import stdout

_FILES = "Files"


def evaluate_poses(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help="A shard, or SST-A files (.npz) of one clip, one per expert.", show_default=False
        ),
    ],
    truth: Annotated[
        Path,
        typer.Argument(
            help="COCO keypoints .json, LSP or SST-A .npz, NTU .skeleton, or a folder of the latter two.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--format", help="coco, lsp, ntu or ssta; by default told by the file.", show_default=False
        ),
    ] = None,
    joints: Annotated[
        str, typer.Option(help="common13, limbs12, truth (as labelled), or a joint set such as coco17.")
    ] = "common13",
    threshold: Annotated[float, typer.Option(help="Of PCK, as a share of the torso's diagonal.")] = 0.2,
    min_iou: Annotated[
        float, typer.Option(help="Box overlap above which a found person may stand for a true one.")
    ] = 0.1,
    gamma: Annotated[float, typer.Option(help="Confidence C below which a pose counts as discarded.")] = 0.18,
    per_joint: Annotated[bool, typer.Option("--per-joint", help="A table per measure, by joint.")] = False,
    plot_confidence: Annotated[
        Path | None,
        typer.Option(
            help="Picture of error against confidence (.png, .svg).",
            show_default=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    plot_histogram: Annotated[
        Path | None,
        typer.Option(
            help="Histogram of kept and discarded poses over error (.png, .svg).",
            show_default=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write all figures as JSON.", show_default=False, rich_help_panel=_FILES),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing files.", rich_help_panel=_FILES)
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare poses with ground truth: PCK, PCKh and MPJPE of the result and of every expert."""
    from skelkit.pipelines.evaluate import Outputs
    from skelkit.pipelines.evaluate import evaluate_poses as run

    report = run(
        predictions,
        truth,
        kind=kind,
        joints=joints,
        threshold=threshold,
        min_iou=min_iou,
        gamma=gamma,
        outputs=Outputs(
            json=output, confidence=plot_confidence, histogram=plot_histogram, overwrite=overwrite
        ),
    )
    if as_json:
        typer.echo(json.dumps(report))
        return
    console = stdout()
    console.print(_overview(report))
    for measure in _measures(report) if per_joint else {}:
        console.print(_joints(report, measure))
    left_out = f"{report['clips_without_prediction']} labelled clips and {report['frames_left_out']} frames"
    if text := _by_gamma(report):
        typer.echo(text)
    typer.echo(f"{report['people']} people in {report['clips']} clips; {left_out} have no prediction")


def _measures(report: dict[str, Any]) -> dict[str, str]:
    """Keys of the measures, and how they are called."""
    return {
        f"pck@{report['threshold']:g}": f"PCK@{report['threshold']:g}",
        "pckh@0.5": "PCKh@0.5",
        "pckh@2.0": "PCKh@2.0",
        "mpjpe_heads": "MPJPE / head",
        "mpjpe_px": "MPJPE px",
    }


def _overview(report: dict[str, Any]) -> Table:
    titles = _measures(report)
    table = Table("poses of", "people found", "joints found", *titles.values())
    for name, view in report["views"].items():
        table.add_row(
            escape(one_line(name)),
            _cell(view["people_found"]),
            _cell(view["joints_found"]),
            *(_cell(view[key]["overall"]) for key in titles),
        )
    return table


def _by_gamma(report: dict[str, Any]) -> str:
    """What the confidence tells of the result's errors."""
    parts = [
        f"{name} {p['poses']} poses with MPJPE / head {_cell(p['mpjpe_heads'])}"
        for view in report["views"].values()
        for name in ("kept", "discarded")
        if (p := view.get(name))
    ]
    return f"C against gamma {report['gamma']:g}: {', '.join(parts)}" if parts else ""


def _joints(report: dict[str, Any], measure: str) -> Table:
    table = Table("joint", *(escape(one_line(n)) for n in report["views"]), title=_measures(report)[measure])
    views = [view[measure] for view in report["views"].values()]
    for joint in report["joints"]:
        table.add_row(escape(joint), *(_cell(view["per_joint"][joint]) for view in views))
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
