"""Clips of many shards -> measured, and written to one shard of a dataset. What worker processes do."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np

from skelkit.data.facts import Facts, joined, measure
from skelkit.data.files import AtomicFile
from skelkit.data.layout import Header
from skelkit.data.merging import OpenShards
from skelkit.data.near_duplicates import Float16, describe_clips
from skelkit.data.preparing import Preparation, blocks, prepare
from skelkit.data.reader import ShardReader
from skelkit.data.rows import Record, Rows
from skelkit.data.writer import ShardWriter
from skelkit.structures import Int64

_COUNTS = ("num_rows", "num_people", "people_left_out", "rows_left_out")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """n clips in numbers, as they will be after their preparation."""

    facts: Facts
    num_rows: Int64
    """(n,)."""
    num_people: Int64
    """(n,)."""
    people_left_out: Int64
    """(n,) by the preparation."""
    rows_left_out: Int64
    """(n,) by the preparation."""
    descriptors: Float16
    """(n, D), see `describe_clips`; D = 0 where they were not asked for."""

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Self:
        """Several lots of clips, one after the other."""
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (*_COUNTS, "descriptors")
        }
        return cls(facts=joined([part.facts for part in parts]), **arrays)

    def save(self, path: Path) -> None:
        """Write to a file that is there whole or not at all."""
        data = io.BytesIO()
        np.savez(data, **asdict(self.facts), **{f.name: getattr(self, f.name) for f in fields(self)[1:]})
        with AtomicFile(path) as file:
            file.write_at(0, data.getbuffer())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Inverse of `save`."""
        with np.load(path, allow_pickle=False) as arrays:
            facts = Facts(**{f.name: arrays[f.name] for f in fields(Facts)})
            return cls(facts=facts, **{f.name: arrays[f.name] for f in fields(cls)[1:]})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """n clips that make up one shard, in its order."""

    split: str
    part: Int64
    """(n,) which of the input shards each is in."""
    clip: Int64
    """(n,) its number there."""
    label_index: Int64
    """(n,) -1 = none."""

    def __len__(self) -> int:
        """n."""
        return len(self.part)

    def runs(self, num_rows: Int64) -> Iterator[slice]:
        """Stretches that can be read in one go: clips that follow each other in a shard, few enough.

        Args:
            num_rows: (n,) rows of each clip.
        """
        breaks = (np.diff(self.part) != 0) | (np.diff(self.clip) != 1)
        bounds = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(self)]
        for start, stop in pairwise(bounds):
            for first, last in blocks(num_rows[start:stop]):
                yield slice(start + first, start + last)


def measure_clips(
    reader: ShardReader, start: int, stop: int, wanted: Preparation, *, describe: bool
) -> Measured:
    """Measure the clips from `start` until before `stop`.

    Args:
        reader: The shard.
        start: First clip.
        stop: Clip after the last.
        wanted: How they will be prepared.
        describe: Make descriptors for finding near duplicates.
    """
    num_rows, num_frames = (
        reader.column(name)[start:stop].astype(np.int64) for name in ("num_rows", "num_frames")
    )
    parts = []
    for first, last in [*blocks(num_rows)] or [(0, 0)]:
        here = slice(first, last)
        rows = reader.rows(start + first, start + last)
        done = prepare(rows, num_rows[here], reader.skeleton, wanted)
        parts.append(
            Measured(
                facts=measure(done.rows, done.num_rows, num_frames[here]),
                descriptors=describe_clips(done.rows, done.num_rows, wanted.skeleton)
                if describe
                else np.zeros((last - first, 0), np.float16),
                **{name: getattr(done, name) for name in _COUNTS},
            )
        )
    return Measured.joined(parts)


def write_selection(
    path: Path,
    inputs: OpenShards,
    chosen: Selection,
    *,
    wanted: Preparation,
    header: Header,
    label_names: Sequence[str],
) -> None:
    """Write one shard; it appears when it is whole.

    Args:
        path: The shard.
        inputs: The shards that the clips are in.
        chosen: The clips.
        wanted: How they are prepared.
        header: Of the shard.
        label_names: By number.
    """
    num_rows = np.asarray(
        [
            inputs[part].column("num_rows")[clip]
            for part, clip in zip(chosen.part.tolist(), chosen.clip.tolist(), strict=True)
        ],
        np.int64,
    )
    with ShardWriter(
        path,
        skeleton=header.skeleton,
        recipe=header.recipe,
        dimensions=header.dimensions,
        coordinate_unit=header.coordinate_unit,
    ) as writer:
        for run in chosen.runs(num_rows):
            start, stop = int(chosen.clip[run.start]), int(chosen.clip[run.stop - 1]) + 1
            reader = inputs[int(chosen.part[run.start])]
            indices = chosen.label_index[run].tolist()
            for record, index in zip(_records(reader, start, stop, wanted), indices, strict=True):
                clip = replace(
                    record.clip,
                    split=chosen.split,
                    label=label_names[index] if index >= 0 else "",
                    label_index=index,
                )
                writer.append(replace(record, clip=clip))


def _records(reader: ShardReader, start: int, stop: int, wanted: Preparation) -> Iterator[Record]:
    """Prepared clips, one by one."""
    num_rows, num_frames = (
        reader.column(name)[start:stop].astype(np.int64) for name in ("num_rows", "num_frames")
    )
    done = prepare(reader.rows(start, stop), num_rows, reader.skeleton, wanted)
    frame_index, pts_s = reader.frames(start, stop)
    row = frame = 0
    for i in range(stop - start):
        rows = slice(row, row := row + int(done.num_rows[i]))
        frames = slice(frame, frame := frame + int(num_frames[i]))
        clip = reader.clip(start + i)
        if clip.status == "ok" and rows.start == rows.stop:
            clip = replace(clip, status="no_person")
        yield Record(
            clip=clip,
            sources=reader.sources(start + i),
            frame_index=frame_index[frames],
            pts_s=pts_s[frames],
            groups={"poses": Rows(**{f.name: getattr(done.rows, f.name)[rows] for f in fields(Rows)})},
        )
