"""What every clip becomes: its label, its split, whether it stays, and the shard it goes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skelkit.data.assembling import Measured, Selection
from skelkit.data.filters import Sieve
from skelkit.data.folder import NO_SPLIT, shard_name
from skelkit.data.labels import load_label_table
from skelkit.data.near_duplicates import find_duplicates
from skelkit.data.splits import Columns, assign
from skelkit.data.tables import lookup, read_by_clip
from skelkit.pipelines.build_inputs import Inputs
from skelkit.pipelines.build_settings import BuildSettings

Texts = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelling:
    """Labels of n clips."""

    names: tuple[str, ...]
    """By number."""
    label: Texts
    """(n,) after merging, ``""`` for none."""
    index: npt.NDArray[np.int64]
    """(n,) -1 for none."""


def label_clips(inputs: Inputs, settings: BuildSettings) -> Labelling:
    """The label of every clip.

    A label file decides for the clips it names; others keep what their shard says. Labels are numbered by
    name: those of the table, or all that there are; those of datasets that agree keep their numbers. A
    number without a name becomes the label ``class 0017``.

    Raises:
        ConfigError: a file or table with problems, or labels that the table does not have.
    """
    labels = inputs.columns["label"].tolist()
    for i in np.flatnonzero((inputs.columns["label"] == "") & (inputs.columns["label_index"] >= 0)).tolist():
        labels[i] = f"class {inputs.columns['label_index'][i]:04d}"
    names: set[str] = set()
    if settings.labels is not None:
        by_clip = read_by_clip(Path(settings.labels), "label")
        found = lookup(by_clip, inputs.columns["video_id"].tolist())
        labels = [new if new is not None else old for new, old in zip(found, labels, strict=True)]
        names = set(by_clip.values())
    if settings.label_table is not None:
        table = load_label_table(settings.label_table)
        labels = table.merge(labels)
        ordered = table.names
    else:
        ordered = tuple(sorted((names | set(labels)) - {""}))
        kept = {info.label_names for info in inputs.datasets}
        if len(kept) == 1 and set(ordered) <= set(only := next(iter(kept))):
            ordered = only
    numbers = {name: i for i, name in enumerate(ordered)} | {"": -1}
    return Labelling(
        names=ordered,
        label=np.asarray(labels, object),
        index=np.asarray([numbers[label] for label in labels], np.int64),
    )


def split_clips(
    inputs: Inputs, labelling: Labelling, settings: BuildSettings, among: npt.NDArray[np.bool_]
) -> Texts:
    """The split of every clip in `among`; ``""`` for those in none and for all others."""
    known = ("video_id", "split", "source", "sha256")
    columns: Columns = {name: inputs.columns[name][among] for name in known} | {
        "label": labelling.label[among]
    }
    found = assign(settings.split, columns, group=settings.group, seed=settings.seed)
    if settings.split == "keep":
        found = [split or NO_SPLIT for split in found]
    splits = np.full(len(inputs), "", object)
    splits[among] = found
    return splits


def sift(
    inputs: Inputs, measured: Measured, labelling: Labelling, settings: BuildSettings
) -> tuple[Sieve, Texts]:
    """Apply all rules in order; returns what they dropped, and the split of every clip kept.

    Near duplicates come last: a clip that is dropped for another reason keeps no one out.
    """
    rules, columns = settings.filters, inputs.columns
    sieve = Sieve(len(inputs))
    if rules.failed:
        status = columns["status"]
        sieve.apply("failed", True, np.asarray(status != "failed", bool), status, columns["detail"])
    sieve.apply_at_least(rules, measured.facts, columns["num_frames"])
    if settings.max_people or settings.gamma:
        kept = sieve.kept
        sieve.applied.append(
            {
                "rule": "max_people" if settings.max_people else "gamma",
                "limit": settings.max_people or settings.gamma,
                "clips_in": int(kept.sum()),
                "clips_dropped": 0,
                "clips_trimmed": int((measured.rows_left_out[kept] > 0).sum()),
                "people_dropped": int(measured.people_left_out[kept].sum()),
                "poses_dropped": int(measured.rows_left_out[kept].sum()),
            }
        )
    if rules.labelled:
        sieve.apply("labelled", True, labelling.index >= 0, "")
    splits = split_clips(inputs, labelling, settings, sieve.kept)
    sieve.apply("split", settings.recipe()["split"], np.asarray(splits != "", bool), "", "in no split")
    if rules.near_duplicates:
        among = np.flatnonzero(sieve.kept)
        names = columns["video_id"]
        found = find_duplicates(measured.descriptors[among], names[among], rules.near_duplicates)
        first = np.full(len(inputs), -1, np.int64)
        first[among[found >= 0]] = among[found[found >= 0]]
        details = np.where(first >= 0, "moves as " + names[first], "")
        sieve.apply("near_duplicates", rules.near_duplicates, first < 0, "", details)
        splits[~sieve.kept] = ""
    return sieve, splits


def choose_shards(
    inputs: Inputs,
    num_rows: npt.NDArray[np.int64],
    labelling: Labelling,
    splits: Texts,
    *,
    settings: BuildSettings,
    bytes_per_row: float,
) -> dict[str, Selection]:
    """Clips of every shard by its name: split by split, in the order of the inputs, in equal parts.

    Args:
        inputs: All clips.
        num_rows: (n,) rows of each.
        labelling: Of all clips.
        splits: (n,) ``""`` for clips that were dropped.
        settings: Name and size of shards.
        bytes_per_row: What a pose takes.
    """
    chosen: dict[str, Selection] = {}
    for split in sorted(set(splits.tolist()) - {""}):
        mine = np.flatnonzero(splits == split)
        ends = np.cumsum(num_rows[mine] + 1) * bytes_per_row
        count = max(1, round(ends[-1] / (settings.target_mb * 1e6)))
        number = np.minimum((ends - ends[0]) * count // ends[-1], count - 1)
        lots = [lot for lot in (mine[number == i] for i in range(count)) if len(lot)]
        for i, lot in enumerate(lots):
            chosen[shard_name(settings.name, split, i, len(lots))] = Selection(
                split=split, part=inputs.part[lot], clip=inputs.clip[lot], label_index=labelling.index[lot]
            )
    return chosen
