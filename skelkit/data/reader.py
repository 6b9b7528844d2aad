"""Reading shards: any clip as a dense sequence, by one contiguous slice per column."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from skelkit.data.choosing import PersonSelection
from skelkit.data.clip import STATUSES, Clip, Status
from skelkit.data.fixed_point import MISSING, Grid, decode_scores
from skelkit.data.layout import (
    CHUNK_CACHE,
    FORMAT,
    FORMAT_VERSION,
    GRID_COLUMNS,
    ROW_COLUMNS,
    Header,
    damaged,
    decode_text,
    expert_group,
    extent_path,
)
from skelkit.data.pose_table import DensePoses, PoseTable, PoseTables, positions_among
from skelkit.data.rows import Int32, Record, Rows, decode
from skelkit.errors import ConfigError, ShardError
from skelkit.registry import unknown
from skelkit.structures import Float64, Skeleton, SkeletonSequence


class ShardReader:
    """Random access to the clips of a shard. Open from construction to `close`, or as a context manager.

    Nothing is read at opening but the header; every column is checked when first used. The columns of
    ``/clips`` are read whole then (0.07 s per text column of 142,000 clips), poses clip by clip. One reader
    belongs to one process: open another after a fork.

    Args:
        path: The shard.

    Raises:
        ShardError: not a shard, cut short, damaged, or of a newer format version; also from every method
            that reads.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._h5 = _open(self.path)
        self._data: dict[str, Any] = {}
        self._length: dict[str, int] = {}
        self._columns: dict[str, npt.NDArray[Any]] = {}
        self._extents: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {}
        try:
            with self._reading():
                _check_format(self._h5, self.path)
                self._header = Header.read(self._h5)
                self._expected = self._header.columns
        except ShardError:
            self.close()
            raise

    # What holds for all clips

    @property
    def header(self) -> Header:
        """Joint sets, unit and recipe together."""
        return self._header

    @property
    def skeleton(self) -> Skeleton:
        """Joint set of the sequences."""
        return self._header.skeleton

    @property
    def dimensions(self) -> int:
        """C, 2 or 3."""
        return self._header.dimensions

    @property
    def coordinate_unit(self) -> str:
        """``px`` or ``m``."""
        return self._header.coordinate_unit

    @property
    def recipe(self) -> dict[str, Any]:
        """Every setting that shaped the data."""
        return self._header.recipe

    @property
    def experts(self) -> Mapping[str, Skeleton]:
        """Joint set of every expert whose own poses are here."""
        return self._header.experts

    @property
    def status(self) -> dict[Status, int]:
        """How many clips ended how."""
        column = self.column("status")
        return {status: int(np.count_nonzero(column == status)) for status in STATUSES}

    @property
    def created_with(self) -> str:
        """The program and its version."""
        with self._reading():
            return str(self._h5.attrs["created_with"])

    def joint_totals(self, group: str) -> tuple[int, float]:
        """Joints found in a pose group (`Header.pose_groups`), and their mean score (NaN if none)."""
        with self._reading():
            attributes = self._h5[group].attrs
            return int(attributes["joints_found"]), float(attributes["mean_score"])

    # Columns

    def column(self, name: str) -> npt.NDArray[Any]:
        """A whole column with one entry per clip, read-only; text as an array of str.

        Args:
            name: Of a column of ``/clips``, or a full path such as ``experts/movenet/num_rows``.
        """
        path = name if "/" in name else f"clips/{name}"
        if path not in self._columns:
            with self._reading():
                values: npt.NDArray[Any] = self._dataset(path)[:]
                if values.dtype == object:
                    values[:] = [decode_text(value) for value in values]
                values.flags.writeable = False
            self._columns[path] = values
        return self._columns[path]

    @property
    def video_ids(self) -> list[str]:
        """Names of the clips, in order."""
        return self.column("video_id").tolist()  # type: ignore[no-any-return]

    def find(self, video_id: str) -> int:
        """Position of a clip.

        Raises:
            ShardError: no such clip (with the nearest names).
        """
        if video_id not in self._positions:
            near = [known for known in self._positions if video_id in known][:3]
            if not near and len(self) <= 5000:  # beyond that it would take seconds
                near = difflib.get_close_matches(video_id, self._positions, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {len(self)} others"
            raise ShardError(f"{self.path} has no clip {video_id!r}; {hint}", path=self.path, got=video_id)
        return self._positions[video_id]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {video_id: i for i, video_id in enumerate(self.video_ids)}

    # Clips

    def __len__(self) -> int:
        return self._num_clips

    @cached_property
    def _num_clips(self) -> int:
        return len(self._dataset("clips/video_id"))

    def __getitem__(self, index: int) -> SkeletonSequence:
        """The people of a clip."""
        return self._sequence(index, "poses", None)

    def read_dense(
        self,
        positions: Iterable[int],
        *,
        people: int | PersonSelection | None = None,
        frames: int | None = None,
    ) -> DensePoses:
        """People of some clips as one array: the quick way, for training.

        Checksums are not looked at; the first call reads who is seen when in the whole shard.

        Args:
            positions: Which clips, at least one.
            people: M, the first so many of every clip, or how they are chosen; None = as many as the clip
                with most has.
            frames: T; shorter clips are filled up with frames without people, longer ones are cut; None =
                as many as the longest has.

        Raises:
            ConfigError: no clip; numbers of people or frames that are none.
        """
        wanted = positions_among(positions, len(self), self.path)
        return self._tables.read(wanted, np.zeros_like(wanted), people, frames)

    @cached_property
    def _tables(self) -> PoseTables:
        tables = PoseTables([len(self)], self.skeleton.num_joints, self.dimensions)
        tables.put(0, self.table())
        return tables

    def table(self) -> PoseTable:
        """Where the poses of every clip lie."""
        for table, first, count in (
            ("poses", "first_row", "num_rows"),
            ("frames", "first_frame", "num_frames"),
        ):
            self._extent(table, f"clips/{first}", f"clips/{count}")
        with self._reading():
            return PoseTable.of(
                path=self.path,
                file=self._h5,
                keypoints=self._dataset("poses/keypoints"),
                scores=self._dataset("poses/scores"),
                frame=self._dataset("poses/frame")[:],
                track=self._dataset("poses/track")[:],
                origin=self.column("poses/origin"),
                step=self.column("poses/step"),
                clips={
                    n: self.column(n) for n in ("num_rows", "num_frames", "num_people", "height", "width")
                },
            )

    def expert(self, name: str, index: int) -> SkeletonSequence:
        """What one expert said of a clip.

        Raises:
            ShardError: no such expert (with the nearest names).
        """
        if name not in self.experts:
            raise ShardError(
                f"{self.path}: {unknown('expert', name, self.experts)}", path=self.path, got=name
            )
        return self._sequence(index, expert_group(name), (name,))

    def clip(self, index: int) -> Clip:
        """What is known of a clip besides its poses."""
        i = self._position(index)
        values: dict[str, Any] = {name: self.column(name)[i : i + 1].tolist()[0] for name in Clip.__slots__}
        return Clip(**values)

    def sources(self, index: int) -> tuple[str, ...]:
        """Experts a clip's poses were made from."""
        with self._reading():
            return tuple(json.loads(self.column("sources")[index]))

    def record(self, index: int) -> Record:
        """A clip as stored, for copying."""
        i = self._position(index)
        frames = self._frames(i)
        return Record(
            clip=self.clip(i),
            sources=self.sources(i),
            frame_index=frames["index"],
            pts_s=frames["pts_s"],
            groups={name: self._rows(name, i) for name in self._header.pose_groups},
            grids={name: self._grid(name, i) for name in self._header.pose_groups},
        )

    def rows(self, start: int, stop: int) -> Rows:
        """Pose rows of the clips from `start` until before `stop`, one clip after the other."""
        first, count = self._extent("poses", "clips/first_row", "clips/num_rows")
        at, lengths = int(first[start]) if start < stop else 0, count[start:stop]
        columns = {name: self._slice(f"poses/{name}", at, int(lengths.sum())) for name in ROW_COLUMNS}
        origin, step = (self.column(f"poses/{name}")[start:stop] for name in GRID_COLUMNS)
        keypoints, scores = columns.pop("keypoints"), columns.pop("scores")
        points = keypoints * np.repeat(step, lengths)[:, None, None].astype(np.float32)
        points += np.repeat(origin, lengths, axis=0)[:, None].astype(np.float32)
        points[keypoints == MISSING] = np.nan
        return Rows(keypoints=points, scores=decode_scores(scores), **columns)

    def frames(self, start: int, stop: int) -> tuple[Int32, Float64]:
        """Frame numbers and time stamps of the clips from `start` until before `stop`."""
        first, count = self._extent("frames", "clips/first_frame", "clips/num_frames")
        at, length = int(first[start]) if start < stop else 0, int(count[start:stop].sum())
        return self._slice("frames/index", at, length), self._slice("frames/pts_s", at, length)

    def close(self) -> None:
        """Let go of the file."""
        self.__dict__.pop("_tables", None)  # whose file is closed
        self._h5.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Slices

    def _position(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path}: expected the number of one of {len(self)} clips, got {index}")
        return index % len(self)

    def _sequence(self, index: int, group: str, sources: tuple[str, ...] | None) -> SkeletonSequence:
        i = self._position(index)
        frames = self._frames(i)
        rows = self._rows(group, i)
        with self._reading():
            return decode(
                rows,
                skeleton=self._header.pose_groups[group],
                frame_indices=frames["index"].astype(np.int64),
                pts_s=frames["pts_s"],
                video_id=self.column("video_id")[i],
                fps=float(self.column("fps")[i]),
                image_size=(int(self.column("height")[i]), int(self.column("width")[i])),
                sources=self.sources(i) if sources is None else sources,
                label=self.column("label")[i] or None,
            )

    def _frames(self, i: int) -> dict[str, npt.NDArray[Any]]:
        first, count = self._extent("frames", "clips/first_frame", "clips/num_frames")
        return {name: self._slice(f"frames/{name}", first[i], count[i]) for name in ("pts_s", "index")}

    def _rows(self, group: str, i: int) -> Rows:
        first, count = self._extent(group, extent_path(group, "first_row"), extent_path(group, "num_rows"))
        columns = {name: self._slice(f"{group}/{name}", first[i], count[i]) for name in ROW_COLUMNS}
        columns["keypoints"] = self._grid(group, i).decode(columns["keypoints"])
        columns["scores"] = decode_scores(columns["scores"])
        return Rows(**columns)

    def _grid(self, group: str, i: int) -> Grid:
        origin, step = (self.column(f"{group}/{name}")[i] for name in GRID_COLUMNS)
        with self._reading():
            return Grid(origin=origin, step=float(step))

    def _slice(self, path: str, first: int, count: int) -> npt.NDArray[Any]:
        with self._reading():
            values: npt.NDArray[Any] = self._dataset(path)[first : first + count]
        return values

    def _extent(self, table: str, first: str, count: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """First and number of every clip's rows, checked once to lie one after the other."""
        if table not in self._extents:
            starts, counts = self.column(first), self.column(count)
            bounds = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
            length = len(self._dataset(f"{table}/{'pts_s' if table == 'frames' else 'frame'}"))
            if (counts < 0).any() or bounds[-1] != length or (starts != bounds[:-1]).any():
                raise damaged(self.path, f"/{table} does not hold the clips one after the other")
            self._extents[table] = starts, counts
        return self._extents[table]

    def _dataset(self, path: str) -> Any:
        """A column, checked when first used: type and shape as the format says, and as long as its table."""
        if path not in self._data:
            with self._reading():
                data, column = self._h5[path], self._expected[path]
                length = self._length.setdefault(column.table, len(data))
                dtype = h5py.string_dtype() if column.dtype is str else np.dtype(column.dtype)
                if data.dtype != dtype or data.shape != (length, *column.tail):
                    wanted, got = f"{dtype} {(length, *column.tail)}", f"{data.dtype} {data.shape}"
                    raise ValueError(f"expected /{path} as {wanted}, got {got}")
            self._data[path] = data
        return self._data[path]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """HDF5's many errors as one."""
        try:
            yield
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, ConfigError) as error:
            raise damaged(self.path, str(error)) from error


def _open(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise ShardError(f"{path} is not a shard: it is empty", path=path)
        # Shards never change under their name; locks only fail, on network file systems.
        h5: Any = h5py.File(path, "r", locking=False, rdcc_nbytes=CHUNK_CACHE)
    except FileNotFoundError as error:
        raise ShardError(f"there is no shard {path}", path=path) from error
    except IsADirectoryError as error:
        hint = "a dataset; try `skelkit stats`" if (path / "dataset.json").exists() else "a folder"
        raise ShardError(f"{path} is not a shard: it is {hint}", path=path) from error
    except PermissionError as error:
        raise ShardError(f"no permission to read {path}", path=path) from error
    except (OSError, RuntimeError) as error:
        if h5py.is_hdf5(path):
            raise damaged(path, str(error)) from error
        raise ShardError(f"{path} is not a shard: expected an HDF5 file", path=path) from error
    return h5


def _check_format(h5: Any, path: Path) -> None:
    if h5.attrs.get("format") != FORMAT:
        raise ShardError(
            f"{path} is not a shard: expected an HDF5 file with the attribute format = {FORMAT!r}, "
            f"got {h5.attrs.get('format')!r}",
            path=path,
        )
    version = int(h5.attrs["format_version"])
    if version > FORMAT_VERSION:
        raise ShardError(
            f"{path} has format version {version}, this skelkit reads up to {FORMAT_VERSION}; "
            "try a newer skelkit",
            path=path,
            expected=FORMAT_VERSION,
            got=version,
        )
