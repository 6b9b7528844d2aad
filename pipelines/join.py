"""The shares of a job array -> the shard and the report that one run would have made."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from skelkit.data import ShardReader, merge_shards
from skelkit.errors import ConfigError, InputError, ShardError
from skelkit.pipelines.extract import Report, report_path
from skelkit.pipelines.spool import Row, Spool, write_json
from skelkit.video import find_sources


def join(
    output: Path,
    parts: Sequence[Path],
    inputs: Sequence[str | os.PathLike[str]],
    *,
    overwrite: bool = False,
) -> Report:
    """Join shares, once all are finished and account for every input.

    Args:
        output: The shard to make; the report is written beside it.
        parts: What ``skelkit extract --shard`` made, with the reports beside.
        inputs: What was extracted; clips come in its order.
        overwrite: Replace an existing shard of the same recipe.

    Raises:
        ConfigError: the output exists, and may not be replaced or was made with other settings.
        ShardError: shares are not finished (all are named), or do not fit together. Nothing is written.
        InputError: they do not account for the inputs, each once.
    """
    rows: dict[str, Row] = {}
    unfinished = []
    for part in parts:
        found = _rows(part)
        if found is None:
            unfinished.append(part)
        else:
            rows |= {row["video_id"]: row for row in found}
    if unfinished:
        raise ShardError(
            f"{len(unfinished)} of {len(parts)} shares are not finished: "
            f"{', '.join(str(part) for part in unfinished)}; let their jobs go on, and join again",
            unfinished=tuple(unfinished),
        )
    order = [source.video_id for source in find_sources(inputs)]
    if missing := [video_id for video_id in order if video_id not in rows]:
        raise InputError(
            f"expected the shares to account for all {len(order)} inputs, got none that has {missing[0]!r} "
            f"and {len(missing) - 1} more; inputs came since they were made? extract the shares again"
        )
    if extra := sorted(rows.keys() - set(order)):
        raise InputError(
            f"expected the shares to account for the {len(order)} inputs, got {extra[0]!r} and "
            f"{len(extra) - 1} more that are not there now; name the inputs that were extracted"
        )
    with ShardReader(parts[0]) as reader:
        recipe = reader.recipe
    Spool(output, recipe).check_output(overwrite=False)
    if output.exists() and not overwrite:
        raise ConfigError(
            f"{output} exists; choose another name, or replace it with --overwrite", path=output
        )
    merge_shards(output, parts, order=order)
    ordered = [rows[video_id] for video_id in order]
    report = Report(
        output=str(output), rows=ordered, seconds=sum(row["seconds"] for row in ordered), recipe=recipe
    )
    write_json(report_path(output), report.to_json())
    return report


def _rows(part: Path) -> list[Row] | None:
    """What a share says of its inputs; None while it is not finished."""
    if not part.is_file() or Spool(part, {}).folder.exists():
        return None
    try:
        rows: list[Row] = json.loads(report_path(part).read_text("utf-8"))["inputs"]
    except (OSError, ValueError, KeyError):
        return None
    return rows
