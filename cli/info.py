"""skelkit info."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ._errors import one_line
from ._options import AsJson, Shard
from ._output import stdout


def info(
    shard: Shard,
    clips: Annotated[bool, typer.Option("--clips", help="List every clip.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is in a shard."""
    from skelkit.pipelines.info import clips as rows_of
    from skelkit.pipelines.info import info as summary_of

    summary = summary_of(shard)
    rows = rows_of(shard) if clips else []
    if as_json:
        typer.echo(json.dumps(summary | ({"clips": rows} if clips else {})))
        return
    console = stdout()
    console.print(_facts(summary))
    console.print(_poses(summary))
    if clips:
        console.print(_clips(rows))


def _facts(summary: dict[str, Any]) -> Table:
    table = Table(show_header=False, title=escape(one_line(summary["path"])))
    status = ", ".join(f"{n} {s}" for s, n in summary["status"].items() if n)
    recipe, per_pose = summary["recipe"], summary["bytes_per_pose"] or 0
    sizes = [f"{s['width']}x{s['height']} ({s['clips']})" for s in summary["image_sizes"] if s["width"]]
    for name, value in (
        ("clips", f"{summary['num_clips']} ({status})"),
        ("frames", f"{summary['num_frames']} ({summary['hours']:.2f} h)"),
        ("labels", summary["num_labels"]),
        ("picture sizes", ", ".join(sizes[:6]) + (", ..." if len(sizes) > 6 else "")),
        ("on disk", f"{summary['size_bytes'] / 1e6:.2f} MB, {per_pose:.0f} bytes per pose"),
        ("made by", f"{summary['created_with']}, {recipe.get('job', 'unknown job')}"),
    ):
        table.add_row(name, escape(str(value)))
    return table


def _poses(summary: dict[str, Any]) -> Table:
    table = Table("poses of", "joint set", "people", "poses", "joints found", "mean score")
    for name, group in {"/poses": summary["poses"], **summary["experts"]}.items():
        score = group["mean_score"]
        table.add_row(
            escape(name),
            group["skeleton"],
            str(group["num_people"]),
            str(group["num_rows"]),
            str(group["joints_found"]),
            "" if score is None else f"{score:.3f}",
        )
    return table


def _clips(rows: list[dict[str, Any]]) -> Table:
    table = Table("clip", "status", "frames", "people", "size", "fps", "label", "detail")
    for row in rows:
        table.add_row(
            *(
                escape(one_line(str(text)))
                for text in (
                    row["video_id"],
                    row["status"],
                    row["num_frames"],
                    row["num_people"],
                    f"{row['width']}x{row['height']}",
                    f"{row['fps']:.2f}",
                    row["label"],
                    row["detail"],
                )
            )
        )
    return table
