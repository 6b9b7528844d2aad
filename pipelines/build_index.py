"""The small files of a dataset: a row of the index for every clip kept, a line for all that was dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skelkit.data.assembling import Measured, Selection
from skelkit.data.dataset import index_table
from skelkit.data.filters import Sieve
from skelkit.data.folder import plain_text
from skelkit.pipelines.build_inputs import CLIP_COLUMNS, Inputs
from skelkit.pipelines.build_plan import Labelling

TRIMMED_FILE = "trimmed.csv"
TRIMMED_COLUMNS = ("video_id", "people_dropped", "poses_dropped")


def index_of(
    shards: Mapping[str, Selection], inputs: Inputs, measured: Measured, labelling: Labelling
) -> Any:
    """The index as a pyarrow table, shard after shard."""
    import pyarrow as pa

    return pa.concat_tables(
        [_index(name, chosen, inputs, measured, labelling) for name, chosen in shards.items()]
    )


def _index(name: str, chosen: Selection, inputs: Inputs, measured: Measured, labelling: Labelling) -> Any:
    first = np.searchsorted(inputs.part, chosen.part)  # of the part; its clips lie one after the other
    at = (first + chosen.clip).tolist()
    num_rows = measured.num_rows[at]
    first_row = np.cumsum(num_rows) - num_rows
    lot: dict[str, list[Any]] = {column: inputs.columns[column][at].tolist() for column in CLIP_COLUMNS}
    lot |= {"label": labelling.label[at].tolist(), "label_index": chosen.label_index.tolist()}
    lot |= {"num_rows": num_rows.tolist(), "first_row": first_row.tolist()}
    lot |= {"num_people": measured.num_people[at].tolist(), "split": [chosen.split] * len(at)}
    lot |= {"shard": [name] * len(at), "row": list(range(len(at)))}
    lot["status"] = [
        "no_person" if status == "ok" and not count else status
        for status, count in zip(lot["status"], lot["num_rows"], strict=True)
    ]
    for column in ("video_id", "source", "label", "detail"):
        lot[column] = [plain_text(text) for text in lot[column]]
    rows = (dict(zip(lot, row, strict=True)) for row in zip(*lot.values(), strict=True))
    return index_table([row | measured.facts.index_row(i) for i, row in zip(at, rows, strict=True)])


def dropped_lines(inputs: Inputs, labelling: Labelling, sieve: Sieve) -> list[dict[str, Any]]:
    """A line for every clip that was dropped."""
    limits = {rule["rule"]: rule["limit"] for rule in sieve.applied}
    limits |= {rule: limit["file"] for rule, limit in limits.items() if isinstance(limit, dict)}
    return [
        {
            "video_id": inputs.columns["video_id"][i],
            "source": inputs.columns["source"][i],
            "label": labelling.label[i],
            "shard": inputs.paths[inputs.part[i]].name,
            "rule": sieve.rule[i],
            "value": sieve.value[i],
            "limit": limits[sieve.rule[i]],
            "detail": sieve.detail[i],
        }
        for i in np.flatnonzero(~sieve.kept).tolist()
    ]


def trimmed_lines(inputs: Inputs, measured: Measured, sieve: Sieve) -> list[dict[str, Any]]:
    """A line for every clip that was kept without some of its people or poses."""
    trimmed = np.flatnonzero(sieve.kept & (measured.rows_left_out > 0)).tolist()
    values = inputs.columns["video_id"], measured.people_left_out, measured.rows_left_out
    return [dict(zip(TRIMMED_COLUMNS, (column[i] for column in values), strict=True)) for i in trimmed]
