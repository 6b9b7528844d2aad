"""Clips at random for training: their poses straight from the shards' files, without HDF5 in between.

What lies uncompressed is read where it lies; who is seen when, which is compressed, is read once for the
whole shard and kept as runs of rows that follow each other, a few numbers per person.
"""

from __future__ import annotations

import mmap
import os
import resource
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from skelkit.data.choosing import PersonSelection
from skelkit.data.layout import damaged
from skelkit.errors import ConfigError
from skelkit.structures import Bool, Float32, Int64, UInt8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DensePoses:
    """People of B clips as arrays without NaN: M of each in T time steps, with nobody where it has fewer."""

    keypoints: Float32
    """(B, M, T, K, C) in the unit of the shard; 0 where not visible."""
    visible: Bool
    """(B, M, T, K)."""
    scores: Float32
    """(B, M, T, K); 0 where not visible."""
    chosen: Int64
    """(B, M) their numbers among the people of the clip; -1 = nobody."""
    num_frames: list[int]
    """Of each clip."""
    image_sizes: list[tuple[int, int]]
    """(H, W) of the upright frames of each clip; 0 where unknown."""


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
        found: list[Any] = []
        data.id.chunk_iter(found.append)
        found.sort(key=lambda chunk: chunk.chunk_offset)
        rows = [chunk.chunk_offset[0] for chunk in found]
        if rows != list(range(0, len(data), self.chunk)):
            raise ValueError(f"{data.name} has holes")
        self._offsets = np.asarray([chunk.byte_offset for chunk in found], np.uint64)
        if (self._offsets >= 2**62).any():
            raise ValueError(f"{data.name} lies nowhere")
        self._offsets = self._offsets.astype(np.int64)

    def places(self, rows: Int64) -> Int64:
        """(n,) the byte of the file where each of these rows begins."""
        found: Int64 = self._offsets[rows // self.chunk] + rows % self.chunk * self.row_bytes
        return found


def runs_of(
    frame: npt.NDArray[np.int32],
    track: npt.NDArray[np.int32],
    *,
    clips: Mapping[str, Int64],
    chunks: Iterable[int],
) -> tuple[Int64, Int64, Int64]:
    """Who is seen when, in all clips of a shard.

    Args:
        frame: (rows,).
        track: (rows,).
        clips: (clips,) columns num_rows, num_frames, num_people.
        chunks: Rows after which a column may go on elsewhere in the file.

    Returns:
        (R, 3) rows, person and step of each run, see `skelkit.data.kernels.RUN`; (R,) its first row; (R,) its
        clip.

    Raises:
        ValueError: rows outside their clips, out of order, or of more or fewer people than said.
    """
    ends = np.cumsum(clips["num_rows"])
    begins = np.ones(len(frame), bool)  # of a person
    begins[1:] = track[1:] != track[:-1]
    begins[ends[ends < len(frame)]] = True
    breaks = begins.copy()
    breaks[1:] |= frame[1:] != frame[:-1] + 1
    for chunk in chunks:
        breaks[::chunk] = True
    row = np.flatnonzero(breaks)
    rows, step, begin = np.diff(row, append=len(frame)), frame[row].astype(np.int64), begins[row]
    clip = np.searchsorted(ends, row, side="right")
    people = np.bincount(clip[begin], minlength=len(ends))
    end = step + rows
    outside = (step < 0) | (end > clips["num_frames"][clip])
    backwards = ~begin[1:] & (step[1:] < end[:-1])
    if outside.any() or backwards.any() or not np.array_equal(people, clips["num_people"]):
        raise ValueError("/poses does not hold people in the order of clip, person and time step")
    person = np.cumsum(begin) - 1 - (np.cumsum(people) - people)[clip]
    return np.stack([rows, person, step], axis=1), row, clip


_LOOK_AGAIN_S = 1.0
"""How often the sizes of files in memory are looked at: reading behind the end of one kills the process."""

_GAP = 2**12
"""Bytes that are rather read in vain than by another read."""


def reads_of(offset: Int64, size: Int64, clip: Int64) -> tuple[Int64, Int64, Int64]:
    """What to read of a file for the pieces of each clip; neighbours are read together.

    Columns are written side by side: two reads are enough for most clips.

    Args:
        offset: (n,) where pieces begin in the file.
        size: (n,) their bytes.
        clip: (n,) whose they are.

    Returns:
        (reads, 2) offset and size, clip by clip; (reads,) their clips; (n,) where each piece lies in what is
        read of its clip.
    """
    order = np.lexsort((offset, clip))
    offset, end, clip = offset[order], (offset + size)[order], clip[order]
    gap = offset[1:] - end[:-1]
    begins = np.ones(len(offset), bool)
    begins[1:] = (clip[1:] != clip[:-1]) | (gap < 0) | (gap > _GAP)
    at = np.flatnonzero(begins)
    reads = np.stack([offset[at], end[np.append(at, len(end))[1:] - 1] - offset[at]], axis=1)
    before = np.cumsum(reads[:, 1]) - reads[:, 1]
    first = np.searchsorted(clip[at], clip)  # read of the piece's clip
    read = np.cumsum(begins) - 1
    place = np.empty_like(offset)
    place[order] = before[read] - before[first] + offset - reads[read, 0]
    return reads, clip[at], place


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoseTable:
    """Where the poses of every clip of a shard lie."""

    path: Path
    file: Any
    """Open as long as this table is."""
    fd: int
    """Of the file."""
    mapped: UInt8
    """The file in memory; empty where that cannot be."""
    runs: Int64
    """(R, 7), see `skelkit.data.kernels.RUN`."""
    reads: Int64
    """(reads, 2) offset and size in the file."""
    clips: Int64
    """(clips, 9), see `skelkit.data.kernels.CLIP`."""
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
        frame: npt.NDArray[np.int32],
        track: npt.NDArray[np.int32],
        origin: npt.NDArray[Any],
        step: npt.NDArray[Any],
        clips: Mapping[str, npt.NDArray[Any]],
    ) -> Self:
        """From the columns of ``/poses`` and of ``/clips``.

        Raises:
            ValueError: they contradict each other, or lie outside the file.
        """
        columns = StoredRows(keypoints), StoredRows(scores)
        clips = {name: column.astype(np.int64) for name, column in clips.items()}
        runs, row, clip = runs_of(frame, track, clips=clips, chunks=[column.chunk for column in columns])
        in_file = np.concatenate([column.places(row) for column in columns])
        reads, read_clip, places = reads_of(
            in_file,
            np.concatenate([runs[:, 0] * column.row_bytes for column in columns]),
            np.concatenate([clip, clip]),
        )
        fd = file.id.get_vfd_handle()
        if reads.sum(axis=1).max(initial=0) > os.fstat(fd).st_size:
            raise ValueError("/poses lies outside the file")
        number = np.arange(len(clips["num_rows"]) + 1)
        first_run, first_read = np.searchsorted(clip, number), np.searchsorted(read_clip, number)
        size = np.diff(np.append(0, np.cumsum(reads[:, 1]))[first_read])
        bounds = [first_run[:-1], first_run[1:], first_read[:-1], first_read[1:], size]
        with np.errstate(over="ignore"):
            grid = np.column_stack([origin, step]).astype(np.float32)
        if not (np.isfinite(grid).all() and (grid[:, -1] > 0).all()):
            raise ValueError("expected grids with a positive step")
        facts = [clips[name] for name in ("num_people", "num_frames", "height", "width")]
        return cls(
            path=path,
            file=file,
            fd=fd,
            mapped=_mapped(fd),
            runs=np.column_stack([runs, places.reshape(2, -1).T, in_file.reshape(2, -1).T]),
            reads=reads,
            clips=np.stack([*bounds, *facts], axis=1),
            grid=grid,
            num_joints=keypoints.shape[1],
        )


def positions_among(positions: Iterable[int], count: int, path: Path) -> Int64:
    """Numbers of some of `count` clips, counted from the end where negative.

    Raises:
        IndexError: a number that is none.
    """
    wanted = np.fromiter(positions, np.int64)
    outside = (wanted < -count) | (wanted >= count)
    if outside.any():
        raise IndexError(f"{path}: expected the number of one of {count} clips, got {wanted[outside][0]}")
    return np.where(wanted < 0, wanted + count, wanted)


def _mapped(fd: int) -> UInt8:
    try:
        whole = mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
    except (OSError, ValueError):  # some file systems cannot
        return np.empty(0, np.uint8)
    return np.frombuffer(whole, np.uint8)


class PoseTables:
    """Where the poses of every clip of several shards lie, one shard after the other.

    A clip is read from its file the first time, and from the system's page cache, where that left it, from
    then on: without a call of the system. Once something read so had to come from the disk after all, all
    are read from their files again: reading page by page is slow.

    Args:
        clips: How many each shard has.
        num_joints: K.
        dimensions: C.
    """

    def __init__(self, clips: Sequence[int], num_joints: int, dimensions: int) -> None:
        self._ends = np.cumsum(clips)
        self._num_joints = num_joints
        self._open: dict[int, PoseTable] = {}
        self._fds = np.full(len(clips), -1)
        self._maps = np.zeros((len(clips), 2), np.int64)
        self._cached = np.zeros(sum(clips), bool)  # read, and since then in memory as far as we know
        self._known = np.zeros(len(clips), bool)
        self._looked = time.monotonic()
        self._clips = np.zeros((sum(clips), 9), np.int64)
        self._grid = np.zeros((sum(clips), dimensions + 1), np.float32)
        self._runs = np.zeros((0, 7), np.int64)
        self._reads = np.zeros((0, 2), np.int64)

    def shards(self, positions: Int64) -> Int64:
        """(n,) the shards that these clips lie in."""
        return np.searchsorted(self._ends, positions, side="right")

    def closed(self, shards: Int64) -> list[int]:
        """Which of these shards are not open."""
        return sorted(set(shards[self._fds[shards] < 0].tolist()))

    def __len__(self) -> int:
        """How many shards are open."""
        return len(self._open)

    def keep(self, shards: Container[int]) -> None:
        """Let go of the files of other shards."""
        for shard in [shard for shard in self._open if shard not in shards]:
            self._fds[shard], self._maps[shard] = -1, 0
            del self._open[shard]

    def put(self, shard: int, table: PoseTable) -> None:
        """A shard that is open from now on.

        Raises:
            ShardError: it has other clips than it should.
        """
        end = int(self._ends[shard])
        here = slice(int(self._ends[shard - 1]) if shard else 0, end)
        self._open[shard], self._fds[shard] = table, table.fd
        self._maps[shard] = table.mapped.ctypes.data if table.mapped.size else 0, table.mapped.size
        self._cached[here] = False
        if self._known[shard]:
            return
        wanted = (here.stop - here.start, self._grid.shape[1], self._num_joints)
        if (len(table.clips), table.grid.shape[1], table.num_joints) != wanted:
            raise damaged(table.path, "it has other clips or joints than the dataset says")
        moved = [len(self._runs)] * 2 + [len(self._reads)] * 2 + [0] * 5
        self._clips[here], self._grid[here] = table.clips + np.asarray(moved), table.grid
        self._runs = np.concatenate([self._runs, table.runs])
        self._reads = np.concatenate([self._reads, table.reads])
        self._known[shard] = True

    def read(
        self, positions: Int64, shards: Int64, people: int | PersonSelection | None, frames: int | None
    ) -> DensePoses:
        """People of some clips, of shards that are open: `skelkit.data.reader.ShardReader.read_dense`.

        Raises:
            ConfigError: no clip; numbers of people or frames that are none.
            ShardError: they cannot be read.
        """
        from skelkit.data import kernels

        if not len(positions):
            raise ConfigError("expected at least one clip to read, got none")
        if time.monotonic() - self._looked >= _LOOK_AGAIN_S:
            self._look()
        clips, grid = self._clips[positions], self._grid[positions]
        most, longest = clips[:, [kernels.PEOPLE, kernels.FRAMES]].max(axis=0).tolist()
        rule, count = -1, most if people is None else people
        if isinstance(count, PersonSelection):
            rule, count = kernels.RULES.index(count.by), count.people
        frames = longest if frames is None else frames
        if count < 0 or frames < 0:
            raise ConfigError(f"expected numbers of people and of frames, got {count} and {frames}")
        shape = len(clips), count, frames, self._num_joints
        keypoints = np.empty((*shape, grid.shape[1] - 1), np.float32)
        visible, scores = np.empty(shape, np.bool_), np.empty(shape, np.float32)
        chosen, failed = np.empty(shape[:2], np.int64), np.full(2, -1)
        maps = self._maps[shards] * self._cached[positions, None]
        places = self._fds[shards], maps, clips, self._reads, self._runs, grid
        before = _faults()
        kernels.read(*places, rule, chosen, keypoints, visible, scores, failed)
        self._cached[positions] = True
        if maps.any() and _faults() > before:
            self._cached[:] = False
        if failed[0] >= 0:
            shard, (offset, size) = int(shards[failed[0]]), self._reads[failed[1]].tolist()
            raise damaged(self._open[shard].path, f"no {size} bytes could be read from byte {offset}")
        return DensePoses(
            keypoints=keypoints,
            visible=visible,
            scores=scores,
            chosen=chosen,
            num_frames=clips[:, kernels.FRAMES].tolist(),
            image_sizes=[(height, width) for height, width in clips[:, -2:].tolist()],
        )

    def _look(self) -> None:
        for table in self._open.values():
            if os.fstat(table.fd).st_size < table.mapped.size:
                raise damaged(table.path, "it has become shorter since it was opened")
        self._looked = time.monotonic()


def _faults() -> int:
    """Times this thread, or where that is not known this process, waited for pages from a disk."""
    return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)).ru_majflt
