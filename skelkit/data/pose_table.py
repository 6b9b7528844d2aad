"""Clips at random for training: their poses straight from the shards' files, without HDF5 in between.

What lies uncompressed is read where it lies; who is seen when, which is compressed, is read once for the
whole shard and kept as runs of rows that follow each other, a few numbers per person.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from skelkit.data.fixed_point import UInt8
from skelkit.data.layout import damaged
from skelkit.errors import ConfigError
from skelkit.structures import Bool, Float32, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DensePoses:
    """The people of clips as arrays without NaN."""

    keypoints: Float32
    """(B, M, T, K, C) in the unit of the shard; 0 where not visible."""
    visible: Bool
    """(B, M, T, K)."""
    scores: Float32
    """(B, M, T, K); 0 where not visible."""


@dataclass(slots=True, kw_only=True, eq=False)
class StoredClips:
    """The poses of B clips as they lie in their shards."""

    block: UInt8
    """Bytes of the files, clip by clip."""
    clips: Int64
    """(B, 8), see `skelkit.data.kernels.CLIP`."""
    runs: Int64
    """(R, 5) of all clips, see `skelkit.data.kernels.RUN`."""
    grid: Float32
    """(B, C + 1) origin and step of the coordinates."""
    num_joints: int
    """K."""

    def __len__(self) -> int:
        """B."""
        return len(self.clips)

    @property
    def num_people(self) -> list[int]:
        """Of each clip."""
        return self.clips[:, 4].tolist()  # type: ignore[no-any-return]

    @property
    def num_frames(self) -> list[int]:
        """T of each clip."""
        return self.clips[:, 5].tolist()  # type: ignore[no-any-return]

    @property
    def image_sizes(self) -> list[tuple[int, int]]:
        """(H, W) of the upright frames of each clip; 0 where unknown."""
        return [(height, width) for height, width in self.clips[:, 6:].tolist()]

    @property
    def columns(self) -> tuple[UInt8, Int64, Int64, Float32]:
        """As the functions of `skelkit.data.kernels` take them."""
        return self.block, self.clips, self.runs, self.grid

    def dense(self, people: int | Int64 | None = None, frames: int | None = None) -> DensePoses:
        """All time steps of some people.

        Args:
            people: M, the first so many of every clip; or (B, M) which ones, -1 = nobody; None = as many as
                the clip with most has. Beyond those of a clip nobody is seen.
            frames: T; shorter clips are filled up with frames without people, longer ones are cut; None =
                as many as the longest has.

        Raises:
            ConfigError: numbers of people or frames that are none.
        """
        from skelkit.data import kernels

        people = max(self.num_people) if people is None else people
        frames = max(self.num_frames) if frames is None else frames
        if isinstance(people, int):
            chosen = np.empty((len(self), _count("people", people)), np.int64)
            chosen[:] = np.arange(people)
        else:
            chosen = self._chosen(people)
        shape = *chosen.shape, _count("frames", frames), self.num_joints
        keypoints = np.empty((*shape, self.grid.shape[1] - 1), np.float32)
        visible, scores = np.empty(shape, np.bool_), np.empty(shape, np.float32)
        kernels.decode(*self.columns, chosen, keypoints, visible, scores)
        return DensePoses(keypoints=keypoints, visible=visible, scores=scores)

    def _chosen(self, people: Int64) -> Int64:
        if people.ndim != 2 or len(people) != len(self) or people.dtype.kind not in "iu":
            raise ConfigError(
                f"expected ({len(self)}, M) numbers of people, got {people.dtype} {people.shape}"
            )
        chosen: Int64 = np.ascontiguousarray(people, np.int64)
        return chosen


def _count(what: str, count: int) -> int:
    if count < 0:
        raise ConfigError(f"expected a number of {what}, got {count}")
    return count


class StoredRows:
    """An uncompressed column with a row per pose: where its rows lie in the file.

    Args:
        data: The HDF5 dataset.

    Raises:
        ValueError: it is compressed, or chunks of it are not there.
    """

    def __init__(self, data: Any) -> None:
        if data.compression is not None or data.shuffle or data.scaleoffset is not None:
            raise ValueError(f"expected {data.name} uncompressed")
        self.chunk: int = data.chunks[0]
        self.row_bytes = int(np.prod(data.shape[1:])) * data.dtype.itemsize
        found: dict[int, int] = {}
        data.id.chunk_iter(lambda c: found.update({c.chunk_offset[0] // self.chunk: c.byte_offset}))
        if len(found) != -(-len(data) // self.chunk):
            raise ValueError(f"{data.name} has holes")
        offsets = [found[chunk] for chunk in range(len(found))]
        if max(offsets, default=0) >= 2**62:
            raise ValueError(f"{data.name} lies nowhere")
        self._offsets = np.asarray(offsets, np.int64)

    def places(self, rows: Int64) -> Int64:
        """(n,) the byte of the file where each of these rows begins."""
        found: Int64 = self._offsets[rows // self.chunk] + rows % self.chunk * self.row_bytes
        return found


def runs_of(
    *,
    frame: Int64,
    track: Int64,
    keypoints: StoredRows,
    scores: StoredRows,
    num_rows: Int64,
    num_frames: Int64,
    num_people: Int64,
) -> tuple[Int64, Int64]:
    """Who is seen when, in all clips of a shard.

    Args:
        frame: (rows,).
        track: (rows,).
        keypoints: The column.
        scores: The column.
        num_rows: (clips,).
        num_frames: (clips,).
        num_people: (clips,).

    Returns:
        (R, 5) runs as `skelkit.data.kernels.RUN`; (clips + 1,) the first run of each clip, and R.

    Raises:
        ValueError: rows outside their clips, out of order, or of more or fewer people than said.
    """
    clip = np.repeat(np.arange(len(num_rows)), num_rows)
    begins = np.ones(len(clip), bool)  # of a person
    begins[1:] = (clip[1:] != clip[:-1]) | (track[1:] != track[:-1])
    people = np.bincount(clip[begins], minlength=len(num_rows))
    backwards = ~begins[1:] & (frame[1:] <= frame[:-1])
    outside = (frame < 0) | (frame >= num_frames[clip])
    if outside.any() or backwards.any() or not np.array_equal(people, num_people):
        raise ValueError("/poses does not hold people in the order of clip, person and time step")
    breaks = begins.copy()
    breaks[1:] |= frame[1:] != frame[:-1] + 1
    breaks[:: keypoints.chunk] = breaks[:: scores.chunk] = True
    row = np.flatnonzero(breaks)
    person = np.cumsum(begins)[row] - 1 - (np.cumsum(people) - people)[clip[row]]
    rows = np.diff(row, append=len(clip))
    places = keypoints.places(row), scores.places(row)
    first = np.searchsorted(row, np.concatenate([[0], np.cumsum(num_rows)]))
    return np.stack([rows, person, frame[row], *places], axis=1), first


_GAP = 2**16
"""Bytes that are rather read in vain than by another read."""


def spans(runs: Int64, first: Int64, row_bytes: tuple[int, int]) -> tuple[Int64, Int64]:
    """What of the file a clip's rows lie in.

    Args:
        runs: (R, 5).
        first: (clips + 1,).
        row_bytes: Of a row of keypoints, of one of scores.

    Returns:
        (clips,) the first byte, and the number of bytes. The first is -1 where the rows lie
        so far apart that they are read one run after the other; then it is the number of
        bytes of the rows alone.
    """
    begin, size = runs[:, 3:], runs[:, :1] * np.asarray(row_bytes)
    low, high = np.zeros(len(first) - 1, np.int64), np.zeros(len(first) - 1, np.int64)
    wanted = low.copy()
    some = first[:-1] < first[1:]
    at = first[:-1][some]
    if len(at):
        low[some] = np.minimum.reduceat(begin.min(axis=1), at)
        high[some] = np.maximum.reduceat((begin + size).max(axis=1), at)
        wanted[some] = np.add.reduceat(size.sum(axis=1), at)
    # Columns are written side by side, so that one read is enough, which is what counts on a cold disk.
    apart = high - low > 2 * wanted + _GAP
    return np.where(apart, -1, low), np.where(apart, wanted, high - low)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoseTable:
    """Where the poses of every clip of a shard lie."""

    path: Path
    file: Any
    """Open as long as this table is."""
    fd: int
    """Of the file."""
    runs: Int64
    """(R, 5), see `skelkit.data.kernels.RUN`."""
    clips: Int64
    """(clips, 8): first run, the one behind the last, `spans`; people, time steps, H, W."""
    grid: Float32
    """(clips, C + 1) origin and step."""
    num_joints: int

    @classmethod
    def of(
        cls,
        *,
        path: Path,
        file: Any,
        keypoints: Any,
        scores: Any,
        frame: npt.NDArray[Any],
        track: npt.NDArray[Any],
        origin: npt.NDArray[Any],
        step: npt.NDArray[Any],
        clips: dict[str, npt.NDArray[Any]],
    ) -> Self:
        """From the columns of ``/poses`` and of ``/clips``.

        Raises:
            ValueError: they contradict each other, or lie outside the file.
        """
        columns = StoredRows(keypoints), StoredRows(scores)
        clips = {name: column.astype(np.int64) for name, column in clips.items()}
        runs, first = runs_of(
            frame=frame.astype(np.int64),
            track=track,
            keypoints=columns[0],
            scores=columns[1],
            **{name: clips[name] for name in ("num_rows", "num_frames", "num_people")},
        )
        low, size = spans(runs, first, (columns[0].row_bytes, columns[1].row_bytes))
        fd = file.id.get_vfd_handle()
        if (low + size).max(initial=0) > os.fstat(fd).st_size:
            raise ValueError("/poses lies outside the file")
        with np.errstate(over="ignore"):
            grid = np.column_stack([origin, step]).astype(np.float32)
        if not (np.isfinite(grid).all() and (grid[:, -1] > 0).all()):
            raise ValueError("expected grids with a positive step")
        facts = [clips[name] for name in ("num_people", "num_frames", "height", "width")]
        return cls(
            path=path,
            file=file,
            fd=fd,
            runs=runs,
            clips=np.stack([first[:-1], first[1:], low, size, *facts], axis=1),
            grid=grid,
            num_joints=keypoints.shape[1],
        )


def read_clips(places: Sequence[tuple[PoseTable, int]]) -> StoredClips:
    """The poses of some clips, of whichever shards.

    Args:
        places: At least one: the shard and the clip's number in it.

    Raises:
        ConfigError: no clip.
        ShardError: they cannot be read.
    """
    if not places:
        raise ConfigError("expected at least one clip to read, got none")
    records = [table.clips[clip].tolist() for table, clip in places]
    runs = [table.runs[record[0] : record[1]] for (table, _), record in zip(places, records, strict=True)]
    block = np.empty(sum([record[3] for record in records]), np.uint8)
    view, at, count = block.data, 0, 0
    for i, ((table, _), record) in enumerate(zip(places, records, strict=True)):
        begin, end, low, size, *_ = record
        try:
            if low < 0:
                runs[i], low = _read_runs(table, runs[i], view[at : at + size]), 0
            elif os.preadv(table.fd, [view[at : at + size]], low) != size:
                raise OSError(f"the file ends before byte {low + size}")
        except OSError as error:
            raise damaged(table.path, str(error)) from error
        record[:3] = count, count + end - begin, at - low
        count += end - begin
        at += size
    return StoredClips(
        block=block,
        clips=np.array(records),
        runs=np.concatenate(runs) if len(runs) > 1 else runs[0],
        grid=np.concatenate([table.grid[clip : clip + 1] for table, clip in places]),
        num_joints=places[0][0].num_joints,
    )


def _read_runs(table: PoseTable, runs: Int64, into: memoryview) -> Int64:
    """Read run by run, keypoints before scores; returns the runs as they lie in `into`."""
    moved, at = runs.copy(), 0
    for column, row_bytes in ((3, 2 * table.num_joints * (table.grid.shape[1] - 1)), (4, table.num_joints)):
        for run in moved:
            size = int(run[0]) * row_bytes
            if os.preadv(table.fd, [into[at : at + size]], int(run[column])) != size:
                raise OSError(f"the file ends before byte {int(run[column]) + size}")
            run[column] = at
            at += size
    return moved
