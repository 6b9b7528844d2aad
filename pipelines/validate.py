"""A shard or a dataset -> everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.data import ShardReader
from skelkit.data.dataset import INDEX_COLUMNS, INDEX_FILE, INFO_FILE, DatasetReader, ShardFile
from skelkit.data.facts import INDEXED, Facts
from skelkit.data.folder import DROPPED_FILE, plain_text, sha256_of
from skelkit.data.merging import first_difference
from skelkit.data.splits import group_of, leaks
from skelkit.data.tables import listed, read_csv, read_text
from skelkit.data.validation import Problem, ShardCheck, check_shard
from skelkit.errors import ConfigError, InputError, ShardError
from skelkit.pipelines import workers

_OF_MANY_CLIPS = (".npz", ".npy", ".pkl", ".pickle", ".json", ".h5")
"""Sources that are no videos: importers read many clips from one."""
_CLIP_COLUMNS = [name for name in INDEX_COLUMNS if name not in {"shard", "row", *INDEXED}]


def validate(
    path: Path, *, worker_count: int = 1, show: Callable[[int, int], None] = lambda done, total: None
) -> list[Problem]:
    """Everything that is wrong with a shard or a dataset; an empty list where nothing is.

    Of a shard: that every column can be read, and that the rows keep what the format promises. Of a dataset
    besides: checksums, the index against the shards, labels and splits, and leakage: clips of one source
    file, of one group, or with the same poses in two splits.

    Args:
        path: A shard or a dataset's folder.
        worker_count: Number of processes.
        show: Called with shards done and all shards.

    Raises:
        InputError: there is nothing.
    """
    if not path.exists():
        raise InputError(f"expected a shard or a dataset, found nothing at {path}", path=path)
    if not path.is_dir():
        return check_shard(path).problems
    try:
        dataset = DatasetReader(path)
    except ShardError as error:
        return [Problem(file=INFO_FILE, what=error.message)]
    problems = [*_check_files(dataset), *_check_index(dataset)]
    readable = not any(problem.file == INDEX_FILE for problem in problems)
    checks: dict[str, ShardCheck] = {}
    shards = [shard for shard in dataset.info.shards if (path / shard.name).is_file()]
    with closing(workers.run(make_checking, (path, readable), shards, worker_count)) as events:
        for event in events:
            if event.kind == "lost":
                what = f"cannot be read: {event.data}"
                event_check = ShardCheck(problems=[Problem(file=event.task.name, what=what)])
            else:
                event_check = event.data
            checks[event.task.name] = event_check
            show(len(checks), len(shards))
    for shard in shards:
        problems += checks[shard.name].problems
    if readable:
        problems += _check_splits(dataset, checks)
    return problems


def make_checking(folder: Path, index: bool) -> workers.Job:
    """What a worker process does: one shard -> what is wrong with it."""
    dataset = DatasetReader(folder)

    def job(shard: ShardFile, send: Callable[[Any], None]) -> ShardCheck:
        path = folder / shard.name
        size, digest = path.stat().st_size, sha256_of(path)
        if size != shard.bytes or digest != shard.sha256:
            what = (
                f"is damaged or replaced: {INFO_FILE} says {shard.bytes} bytes with sha256 "
                f"{shard.sha256[:12]}..., it has {size} with {digest[:12]}..."
            )
            return ShardCheck(problems=[Problem(file=shard.name, what=what)])
        check = check_shard(path)
        try:
            check.problems += _against_info(dataset, shard)
            if index:
                check.problems += _against_index(dataset, shard, check.facts)
        except ShardError as error:
            check.problems.append(Problem(file=shard.name, what=error.message))
        check.facts = None  # it has served
        return check

    return job


def _check_files(dataset: DatasetReader) -> Iterator[Problem]:
    info, folder = dataset.info, dataset.folder
    names = {shard.name for shard in info.shards}
    for shard in info.shards:
        if not (folder / shard.name).is_file():
            yield Problem(file=shard.name, what=f"is missing: {INFO_FILE} names it")
    for stray in sorted(path.name for path in folder.glob("*.h5") if path.name not in names):
        yield Problem(file=stray, what=f"is no part of the dataset: {INFO_FILE} does not name it")
    try:
        dropped = len(read_csv(read_text(folder / DROPPED_FILE), DROPPED_FILE, "video_id", "rule"))
    except ConfigError as error:
        yield Problem(file=DROPPED_FILE, what=error.message)
        return
    told = sum(int(rule.get("clips_dropped", 0)) for rule in info.filters)
    if info.filters and told != dropped:
        yield Problem(file=DROPPED_FILE, what=f"has {dropped} clips, by {INFO_FILE} {told} were dropped")


def _check_index(dataset: DatasetReader) -> Iterator[Problem]:
    path = dataset.folder / INDEX_FILE
    if not path.is_file():
        yield Problem(file=INDEX_FILE, what="is missing")
    elif sha256_of(path) != dataset.info.index_sha256:
        yield Problem(file=INDEX_FILE, what=f"is damaged or replaced: its sha256 is not that of {INFO_FILE}")
    else:
        try:
            shards = dataset.column("shard")
            expected = np.repeat(
                [s.name for s in dataset.info.shards], [s.clips for s in dataset.info.shards]
            )
            if not np.array_equal(shards, expected):
                yield Problem(
                    file=INDEX_FILE, what=f"does not hold the shards' clips in the order of {INFO_FILE}"
                )
        except ShardError as error:
            yield Problem(file=INDEX_FILE, what=error.message)


def _against_info(dataset: DatasetReader, shard: ShardFile) -> Iterator[Problem]:
    """A shard against what the dataset says of all shards."""
    info = dataset.info
    with ShardReader(dataset.folder / shard.name) as reader:
        if len(reader) != shard.clips:
            yield Problem(file=shard.name, what=f"has {len(reader)} clips, {INFO_FILE} says {shard.clips}")
        header = reader.header
        mine = {
            "skeleton": header.skeleton.to_dict(),
            "dimensions": header.dimensions,
            "coordinate_unit": header.coordinate_unit,
        }
        told = {
            "skeleton": info.skeleton.to_dict(),
            "dimensions": info.dimensions,
            "coordinate_unit": info.coordinate_unit,
        }
        if difference := first_difference(mine, told):
            what = f"{difference[0]} is {difference[1]}, {INFO_FILE} says {difference[2]}"
            yield Problem(file=shard.name, what=what)
        split, label, index = (reader.column(name) for name in ("split", "label", "label_index"))
        if (others := np.flatnonzero(split != shard.split)).size:
            what = (
                f"{others.size} clips are not of split {shard.split}, such as {reader.video_ids[others[0]]!r}"
            )
            yield Problem(file=shard.name, what=what)
        names = np.asarray([*info.label_names, ""], object)
        outside = index >= len(info.label_names)
        wrong = outside | (names[np.where(outside, -1, index)] != label)
        if (others := np.flatnonzero(wrong)).size:
            i = int(others[0])
            what = (
                f"{others.size} clips have a label that is not the one of its number in {INFO_FILE}, such as "
                f"{reader.video_ids[i]!r} with {label[i]!r} and {index[i]}"
            )
            yield Problem(file=shard.name, what=what)


def _against_index(dataset: DatasetReader, shard: ShardFile, facts: Facts | None) -> Iterator[Problem]:
    """A shard against its rows of the index."""
    mine = np.flatnonzero(dataset.column("shard") == shard.name)
    with ShardReader(dataset.folder / shard.name) as reader:
        if len(reader) != len(mine):
            return  # told already
        for name in _CLIP_COLUMNS:
            values = reader.column(name)
            if values.dtype == object:
                values = np.asarray([plain_text(text) for text in values], object)
            if not np.array_equal(values, dataset.column(name)[mine]):
                yield Problem(file=shard.name, what=f"{name} is not what {INDEX_FILE} says")
        if not np.array_equal(dataset.column("row")[mine], np.arange(len(mine))):
            yield Problem(file=shard.name, what=f"row is not what {INDEX_FILE} says")
    for name in INDEXED if facts is not None else ():
        if not np.allclose(getattr(facts, name), dataset.column(name)[mine], atol=1e-4, equal_nan=True):
            yield Problem(file=shard.name, what=f"{name} is not what {INDEX_FILE} says")


def _check_splits(dataset: DatasetReader, checks: dict[str, ShardCheck]) -> Iterator[Problem]:
    """What no two clips or no two splits may share."""
    names, split = dataset.column("video_id").tolist(), dataset.column("split").tolist()
    if len(set(names)) != len(names):
        seen: set[str] = set()
        doubles = sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
        yield Problem(file=INDEX_FILE, what=f"clips come twice: {listed(doubles)}")
    for column, what in (("sha256", "source files (by sha256)"), ("source", "sources")):
        own = [
            "" if source.lower().endswith(_OF_MANY_CLIPS) else value
            for source, value in zip(dataset.column("source"), dataset.column(column), strict=True)
        ]
        yield from _leakage(split, own, what)
    if group := _group(dataset):
        columns = {name: dataset.column(name) for name in ("video_id", "label", "split", "source", "sha256")}
        try:
            yield from _leakage(split, group_of(group, columns), f"groups ({group})")
        except ConfigError as error:
            yield Problem(file=INFO_FILE, what=error.message)
    digests = [
        d.hex() for shard in dataset.info.shards if shard.name in checks for d in checks[shard.name].digests
    ]
    if len(digests) == len(names):
        yield from _leakage(split, digests, "clips with the same poses")
        within = [f"{s} {d}" for s, d in zip(split, digests, strict=True) if d]
        if len(set(within)) != len(within):
            what = f"{len(within) - len(set(within))} clips have the poses of another one of their split"
            yield Problem(file=INDEX_FILE, what=what, grave=False)


def _leakage(split: Sequence[str], groups: Sequence[str], what: str) -> Iterator[Problem]:
    if found := leaks(split, groups):
        pairs = [
            f"{group[:80]} ({', '.join(f'{n} {s}' for s, n in counts.items())})"
            for group, counts in found.items()
        ]
        yield Problem(
            file=INDEX_FILE, what=f"leakage: {len(found)} {what} are in two splits: {listed(pairs[:3])}"
        )


def _group(dataset: DatasetReader) -> str:
    """What no two splits were to share, where it can be told from the clips."""
    settings = dataset.info.recipe.get("settings", {})
    group = settings.get("group", "") if isinstance(settings, dict) else ""
    return group if isinstance(group, str) and not re.search(r"\.csv:", group) else ""
