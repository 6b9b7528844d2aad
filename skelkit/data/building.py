"""Writing a dataset clip by clip; nothing is visible until all of it is there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from skelkit.data.clip import Clip
from skelkit.data.dataset import DatasetInfo, ShardFile, index_table
from skelkit.data.facts import measure
from skelkit.data.files import output_error
from skelkit.data.folder import (
    DROPPED_COLUMNS,
    DROPPED_FILE,
    NO_SPLIT,
    check_plain,
    check_vacant,
    plain_text,
    publish,
    remove,
    sha256_of,
    shard_name,
    write_csv,
    write_index,
    write_info,
)
from skelkit.data.layout import Header
from skelkit.data.rows import Record, Rows, empty_rows
from skelkit.data.writer import ShardWriter, make_record
from skelkit.errors import ConfigError, ShardError, SkelkitError
from skelkit.structures import Skeleton, SkeletonSequence, Tracks


@dataclass(slots=True, kw_only=True)
class _OpenShard:
    path: Path
    split: str
    number: int
    writer: ShardWriter
    rows: list[dict[str, Any]]
    num_rows: int = 0


class DatasetWriter:
    """Writes the clips of a dataset one after the other, in constant memory but for the index.

    Use as a context manager. A clip goes to the shard of its split (``all`` where it has none); a shard is
    closed when it has reached its size. The folder appears when the writer closes cleanly; on an exception
    nothing is left.

    Args:
        folder: The dataset; nothing, or an empty folder, may be there.
        name: Begins the names of the shards.
        skeleton: Joint set of the sequences.
        recipe: Every setting that shaped the data, as JSON can hold it.
        label_names: Label of every ``label_index``. None given: labels are numbered as they come, and
            numbers that clips bring are kept.
        target_mb: Size of a shard in units of 10^6 bytes.
        dimensions: C of all keypoints.
        coordinate_unit: ``px`` or ``m``.
        filters: See `DatasetInfo.filters`; what they dropped is told with `drop`.

    Raises:
        ConfigError: a name that cannot be part of a file name, a header the format cannot hold, or
            something is at `folder`.
        OutputError: the disk is full, or writing is not permitted.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str,
        skeleton: Skeleton,
        recipe: dict[str, Any],
        label_names: Sequence[str] = (),
        target_mb: float = 64.0,
        dimensions: int = 2,
        coordinate_unit: str = "px",
        filters: Sequence[dict[str, Any]] = (),
    ) -> None:
        if not target_mb > 0:
            raise ConfigError(f"target_mb: expected a size above 0, got {target_mb}")
        self.folder = Path(folder)
        self._name = check_plain(name, "a name for the dataset")
        self._header = Header(
            skeleton=skeleton,
            experts={},
            dimensions=dimensions,
            coordinate_unit=coordinate_unit,
            recipe=recipe,
        )
        self._labels = _Labels(label_names)
        self._target = target_mb * 1e6
        self._filters = tuple(filters)
        self._open: dict[str, _OpenShard] = {}
        self._closed: list[tuple[_OpenShard, Any]] = []
        self._dropped: list[dict[str, Any]] = []
        self._video_ids: set[str] = set()
        check_vacant(self.folder)
        self._made = self.folder.with_name(f".skelkit-{os.getpid()}-{secrets.token_hex(4)}.building")
        try:
            self._made.mkdir()
        except OSError as error:
            raise output_error(error, self.folder) from error

    def write(self, sequence: SkeletonSequence | Tracks, clip: Clip | None = None) -> None:
        """Append one clip.

        Args:
            sequence: The people.
            clip: What else is known; None = only what the sequence says (`Clip.of`).

        Raises:
            ShardError: clip and sequence do not fit each other or the dataset, or a video_id comes twice.
            ConfigError: a label that is not among the names, or a split that cannot be part of a file name.
            OutputError: the disk is full.
        """
        record = make_record(self._header, sequence, clip, {})
        if record.clip.video_id in self._video_ids:
            raise ShardError(
                f"expected every video_id once, got {record.clip.video_id!r} twice",
                video_id=record.clip.video_id,
            )
        label, index = self._labels.number(record.clip)
        split = check_plain(record.clip.split or NO_SPLIT, "a split")
        shard = self._open.get(split) or self._begin(split)
        rows = _joined([*record.groups["poses"].pieces()], self._header)
        record = replace(
            record,
            clip=replace(record.clip, split=split, label=label, label_index=index),
            groups={"poses": rows},
        )
        shard.writer.append(record)
        self._video_ids.add(record.clip.video_id)
        shard.rows.append(_index_row(record, rows, shard.num_rows, row=len(shard.rows)))
        shard.num_rows += len(rows)
        if shard.writer.size >= self._target:
            self._finish(shard)

    def drop(
        self, clip: Clip, *, rule: str, value: Any = "", limit: Any = "", shard: str = "", detail: str = ""
    ) -> None:
        """Tell of a clip that is left out; it gets a line in ``dropped.csv``."""
        line = {"video_id": clip.video_id, "source": clip.source, "label": clip.label, "shard": shard}
        self._dropped.append(line | {"rule": rule, "value": value, "limit": limit, "detail": detail})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._complete()
        finally:  # after a completion nothing is left to discard
            for shard in self._open.values():
                shard.writer.__exit__(SkelkitError, None, None)
            remove(self._made)

    def _begin(self, split: str) -> _OpenShard:
        number = sum(shard.split == split for shard, _ in self._closed)
        path = self._made / f"{split}-{number}.h5"
        header = self._header
        writer = ShardWriter(
            path,
            skeleton=header.skeleton,
            recipe=header.recipe,
            dimensions=header.dimensions,
            coordinate_unit=header.coordinate_unit,
        )
        self._open[split] = _OpenShard(path=path, split=split, number=number, writer=writer, rows=[])
        return self._open[split]

    def _finish(self, shard: _OpenShard) -> None:
        shard.writer.__exit__(None, None, None)
        del self._open[shard.split]
        self._closed.append((shard, index_table([row | {"shard": ""} for row in shard.rows])))
        shard.rows.clear()

    def _complete(self) -> None:
        import pyarrow as pa

        for shard in [*self._open.values()]:
            self._finish(shard)
        shards, tables = [], [index_table([])]
        for shard, table in sorted(self._closed, key=lambda closed: (closed[0].split, closed[0].number)):
            count = sum(other.split == shard.split for other, _ in self._closed)
            name = shard_name(self._name, shard.split, shard.number, count)
            path = shard.path.rename(self._made / name)
            shards.append(
                ShardFile(
                    name=name,
                    split=shard.split,
                    clips=len(table),
                    bytes=path.stat().st_size,
                    sha256=sha256_of(path),
                )
            )
            at = table.schema.get_field_index("shard")
            tables.append(table.set_column(at, "shard", pa.array([name] * len(table), pa.string())))
        try:
            index_sha256 = write_index(self._made, pa.concat_tables(tables))
            write_csv(self._made / DROPPED_FILE, DROPPED_COLUMNS, self._dropped)
            write_info(
                self._made,
                DatasetInfo(
                    name=self._name,
                    skeleton=self._header.skeleton,
                    dimensions=self._header.dimensions,
                    coordinate_unit=self._header.coordinate_unit,
                    label_names=self._labels.names,
                    shards=tuple(shards),
                    index_sha256=index_sha256,
                    recipe=self._header.recipe,
                    filters=self._filters,
                ),
            )
        except OSError as error:
            raise output_error(error, self.folder) from error
        publish(self._made, self.folder)


class _Labels:
    """Numbers of labels."""

    def __init__(self, names: Sequence[str]) -> None:
        self._fixed = bool(names)
        self._names = dict(enumerate(names))
        self._numbers = {name: i for i, name in enumerate(names)}
        if len(self._numbers) != len(names):
            raise ConfigError(f"expected unique label names, got {len(names) - len(self._numbers)} twice")

    @property
    def names(self) -> tuple[str, ...]:
        """By number; a number without a name is an empty one."""
        return tuple(self._names.get(i, "") for i in range(max(self._names, default=-1) + 1))

    def number(self, clip: Clip) -> tuple[str, int]:
        """Label and number of a clip, each from the other where one is missing."""
        label, index = clip.label, clip.label_index
        if not label and index < 0:
            return "", -1
        label = label or self._names.get(index, "")
        if index < 0:
            index = self._numbers.get(label, -1 if self._fixed else max(self._names, default=-1) + 1)
        if self._fixed and (index < 0 or self._names.get(index) != label):
            raise ConfigError(
                f"clip {clip.video_id!r}: expected one of the dataset's {len(self._names)} labels with its "
                f"number, got {clip.label!r} with {clip.label_index}"
            )
        known = (
            self._names.setdefault(index, label),
            self._numbers.setdefault(label, index) if label else index,
        )
        if known != (label, index):
            raise ConfigError(
                f"clip {clip.video_id!r}: expected one number for each label, got {index} for {label!r} "
                f"where {known[1]} is {known[0]!r}"
            )
        return label, index


def _joined(pieces: list[Rows], header: Header) -> Rows:
    if len(pieces) == 1:
        return pieces[0]
    pieces = pieces or [empty_rows(header.skeleton.num_joints, header.dimensions)]
    return Rows(**{f.name: np.concatenate([getattr(p, f.name) for p in pieces]) for f in fields(Rows)})


def _index_row(record: Record, rows: Rows, first_row: int, *, row: int) -> dict[str, Any]:
    facts = measure(rows, np.asarray([len(rows)]), np.asarray([record.clip.num_frames]))
    values = {k: plain_text(v) if isinstance(v, str) else v for k, v in asdict(record.clip).items()}
    return (
        values
        | {"first_row": first_row, "num_rows": len(rows), "num_people": rows.num_people, "row": row}
        | facts.index_row(0)
    )
