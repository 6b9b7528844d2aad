"""Clips at random for training: the poses of a clip straight from the shard's file, without HDF5 in between.

What lies uncompressed is read where it lies; who is seen when, which is compressed, is read once for the
whole shard and kept as runs of consecutive frames, a few numbers per person.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from skelkit.data.fixed_point import MISSING, Int16, UInt8, decode_scores
from skelkit.structures import Bool, Float32, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DensePoses:
    """The people of a clip as arrays without NaN."""

    keypoints: Float32
    """(M, T, K, C) in the unit of the shard; 0 where not visible."""
    visible: Bool
    """(M, T, K)."""
    scores: Float32
    """(M, T, K); 0 where not visible."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipRows:
    """The poses of one clip as stored: n rows, ordered by person, then time step."""

    keypoints: Int16
    """(n, K x C), see `Grid`."""
    scores: UInt8
    """(n, K)."""
    place: Int64
    """(n,) person x T + time step; ascending."""
    num_people: int
    """M."""
    num_frames: int
    """T."""
    image_size: tuple[int, int]
    """(H, W) of the upright frame; 0 where unknown."""
    origin: Float32
    """(K x C,)."""
    step: float

    @property
    def bounds(self) -> Int64:
        """(M + 1,) where the rows of every person begin, and the last one's end."""
        return np.searchsorted(self.place, np.arange(self.num_people + 1) * self.num_frames)

    def select(self, people: Int64) -> ClipRows:
        """Only these people, in this order."""
        if len(people) == self.num_people and bool((people[1:] > people[:-1]).all()):
            return self
        bounds = self.bounds
        rows = np.concatenate(
            [np.arange(bounds[m], bounds[m + 1]) for m in people.tolist()] or [np.arange(0)]
        )
        moved = np.repeat((np.arange(len(people)) - people) * self.num_frames, np.diff(bounds)[people])
        return replace(
            self,
            keypoints=self.keypoints[rows],
            scores=self.scores[rows],
            place=self.place[rows] + moved,
            num_people=len(people),
        )

    def dense(self, people: int | None = None) -> DensePoses:
        """All time steps.

        Args:
            people: M of the result: the first so many, beyond `num_people` nobody; None = `num_people`.
        """
        people = self.num_people if people is None else people
        if people < self.num_people:
            return self.select(np.arange(people)).dense()
        cells, joints = people * self.num_frames, self.scores.shape[1]
        shape = people, self.num_frames, joints
        dimensions = self.keypoints.shape[1] // joints
        seen = self.keypoints != MISSING
        points = self.keypoints.astype(np.float32)  # first: numpy is slow where it converts on the way
        points *= self.step
        points += self.origin
        points *= seen
        at: Any = self.place
        if len(at) and at[-1] - at[0] == len(at) - 1:
            at = slice(int(at[0]), int(at[-1]) + 1)
        keypoints = np.zeros((cells, points.shape[1]), np.float32)
        keypoints[at] = points
        scores = np.zeros((cells, joints), np.float32)
        scores[at] = decode_scores(self.scores)
        visible = np.zeros((cells, joints), bool)
        visible[at] = seen[:, ::dimensions]
        return DensePoses(
            keypoints=keypoints.reshape(*shape, dimensions),
            visible=visible.reshape(shape),
            scores=scores.reshape(shape),
        )


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
        self.dtype = data.dtype
        self.width = int(np.prod(data.shape[1:]))
        self._chunk = data.chunks[0]
        self._row_bytes = self.width * data.dtype.itemsize
        found: dict[int, int] = {}
        data.id.chunk_iter(lambda c: found.update({c.chunk_offset[0] // self._chunk: c.byte_offset}))
        if len(found) != -(-len(data) // self._chunk):
            raise ValueError(f"{data.name} has holes")
        self._offsets = [found[chunk] for chunk in range(len(found))]

    def pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Offset and size in bytes of the rows from `start` until before `stop`, chunk by chunk."""
        size, row_bytes, found = self._chunk, self._row_bytes, []
        for chunk in range(start // size, -(-stop // size)):
            first, last = max(start - chunk * size, 0), min(stop - chunk * size, size)
            found.append((self._offsets[chunk] + first * row_bytes, (last - first) * row_bytes))
        return found


def read_rows(fd: int, columns: tuple[StoredRows, ...], start: int, stop: int) -> list[npt.NDArray[Any]]:
    """The rows from `start` until before `stop` of some columns, (rows, width) each.

    Raises:
        OSError: they cannot be read.
    """
    wanted = [column.pieces(start, stop) if start < stop else [] for column in columns]
    pieces = [piece for found in wanted for piece in found]
    low = min((offset for offset, _ in pieces), default=0)
    high = max((offset + size for offset, size in pieces), default=0)
    # Columns are written side by side, so that one read is enough, which is what counts on a cold disk.
    together = high - low <= 2 * sum(size for _, size in pieces) + _GAP
    block = _read(fd, low, high - low) if together else b""
    arrays = []
    for column, found in zip(columns, wanted, strict=True):
        parts = [
            np.frombuffer(block, np.uint8, size, offset - low)
            if together
            else np.frombuffer(_read(fd, offset, size), np.uint8)
            for offset, size in found
        ]
        joined = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.uint8), *parts])
        arrays.append(joined.view(column.dtype).reshape(-1, column.width))
    return arrays


_GAP = 2**16
"""Bytes that are rather read in vain than by another read."""


def _read(fd: int, offset: int, size: int) -> bytes:
    data = os.pread(fd, size, offset)
    if len(data) != size:
        raise OSError(f"the file ends before byte {offset + size}")
    return data


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runs:
    """Who is seen when, in all clips of a shard: runs of rows that follow each other in place."""

    row: Int64
    """(runs + 1,) the first row of each, and the number of rows."""
    shift: Int64
    """(runs,) place of a row in its clip = row + shift."""
    first: list[int]
    """(clips + 1,) the first run of each clip, and the number of runs."""

    @classmethod
    def of(cls, *, frame: Int64, track: Int64, num_rows: Int64, num_frames: Int64, num_people: Int64) -> Self:
        """From the columns of rows and of clips.

        Raises:
            ValueError: rows outside their clips, out of order, or of more or fewer people than said.
        """
        clip = np.repeat(np.arange(len(num_rows)), num_rows)
        begins = np.ones(len(clip), bool)  # of a clip
        begins[1:] = clip[1:] != clip[:-1]
        person_begins = begins.copy()
        person_begins[1:] |= track[1:] != track[:-1]
        people = np.bincount(clip[person_begins], minlength=len(num_rows))
        person = np.cumsum(person_begins) - 1 - (np.cumsum(people) - people)[clip]
        steps = num_frames[clip]
        place = person * steps + frame
        breaks = np.ones(len(clip), bool)
        breaks[1:] = begins[1:] | (place[1:] != place[:-1] + 1)
        backwards = ~begins[1:] & (place[1:] <= place[:-1])
        if (
            ((frame < 0) | (frame >= steps)).any()
            or backwards.any()
            or not np.array_equal(people, num_people)
        ):
            raise ValueError("/poses does not hold people in the order of clip, person and time step")
        row = np.flatnonzero(breaks)
        first = np.searchsorted(row, np.concatenate([[0], np.cumsum(num_rows)]))
        shift = (place - np.arange(len(place)))[row]
        return cls(row=np.append(row, len(place)), shift=shift, first=first.tolist())

    def place(self, clip: int, start: int, stop: int) -> Int64:
        """(stop - start,) places of the rows of a clip, which are those from `start` to `stop`."""
        a, b = self.first[clip], self.first[clip + 1]
        places = np.arange(start, stop)
        if b - a == 1:
            places += self.shift[a]
        elif b > a:
            places += np.repeat(self.shift[a:b], self.row[a + 1 : b + 1] - self.row[a:b])
        return places


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoseTable:
    """Where the poses of every clip of a shard lie."""

    fd: int
    keypoints: StoredRows
    scores: StoredRows
    runs: Runs
    row: list[int]
    """(clips + 1,) the first row of each clip, and the number of rows."""
    num_people: list[int]
    num_frames: list[int]
    image_size: list[tuple[int, int]]
    """H, W."""
    origin: Float32
    """(clips, C)."""
    step: list[float]
    coordinate: Int64
    """(K x C,) the coordinate that each number of a row is."""

    def read(self, clip: int) -> ClipRows:
        """The poses of a clip.

        Raises:
            OSError: they cannot be read.
        """
        start, stop = self.row[clip], self.row[clip + 1]
        keypoints, scores = read_rows(self.fd, (self.keypoints, self.scores), start, stop)
        return ClipRows(
            keypoints=keypoints,
            scores=scores,
            place=self.runs.place(clip, start, stop),
            num_people=self.num_people[clip],
            num_frames=self.num_frames[clip],
            image_size=self.image_size[clip],
            origin=self.origin[clip][self.coordinate],
            step=self.step[clip],
        )
