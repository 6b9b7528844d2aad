"""Writing shards: many clips as a stream, or a single clip for the spool."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, MappingProxyType, TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from skelkit.data.clip import Clip
from skelkit.data.files import AtomicFile, WriteBehind
from skelkit.data.fixed_point import MISSING, SCORE_LEVELS, Grid, Int16, UInt8, encode_scores
from skelkit.data.layout import (
    GRID_COLUMNS,
    LIBVER,
    ROW_COLUMNS,
    TEXT_COLUMNS,
    Column,
    Header,
    encode_text,
    expert_group,
    extent_path,
    to_json,
)
from skelkit.data.rows import Encoded, Record, Rows, as_int32, empty_rows
from skelkit.errors import OutputError, ShardError
from skelkit.structures import Skeleton, SkeletonSequence, Tracks

NO_EXPERTS: Mapping[str, Any] = MappingProxyType({})


class _GrowingColumn:
    """A dataset that is written in whole chunks, so that its bytes depend on its content only."""

    def __init__(self, h5: Any, path: str, column: Column) -> None:
        self._chunk = column.chunk
        self._dtype: Any = object if column.dtype is str else column.dtype
        self._pending: list[Any] = []
        self._count = 0
        self._data = h5.create_dataset(
            path,
            shape=(0, *column.tail),
            maxshape=(None, *column.tail),
            chunks=(column.chunk, *column.tail),
            dtype=h5py.string_dtype("utf-8") if column.dtype is str else column.dtype,
            compression="gzip" if column.compressed else None,
            shuffle=column.compressed,
            fletcher32=not column.compressed,
            track_times=False,
        )

    def append(self, values: npt.ArrayLike) -> None:
        """Add rows."""
        rows = np.asarray(values, self._dtype)
        if len(rows):
            self._pending.append(rows)
        self._count += len(rows)
        if self._count >= self._chunk:
            self._write(self._count - self._count % self._chunk)

    def finish(self) -> None:
        """Write what is left."""
        if self._count:
            self._write(self._count)

    def _write(self, count: int) -> None:
        values = np.concatenate(self._pending)
        start = self._data.shape[0]
        self._data.resize(start + count, axis=0)
        self._data[start:] = values[:count]
        self._pending = [values[count:].copy()]  # a view would keep the whole array
        self._count -= count


@dataclasses.dataclass(slots=True)
class _Totals:
    """What is known of a pose group so far. Whole numbers: equal however the clips were split into parts."""

    rows: int = 0
    joints_found: int = 0
    score_sum: int = 0

    def add(self, keypoints: Int16, scores: UInt8) -> None:
        self.rows += len(keypoints)
        self.joints_found += int(np.count_nonzero(keypoints[..., 0] != MISSING))
        self.score_sum += int(scores.sum(dtype=np.int64))

    @property
    def mean_score(self) -> float:
        return self.score_sum / SCORE_LEVELS / self.joints_found if self.joints_found else math.nan


class ShardContent:
    """The HDF5 side of a shard, on any file object. A clip that is refused leaves no trace."""

    def __init__(self, file: Any, header: Header) -> None:
        self.header = header
        self._h5: Any = h5py.File(file, "w", libver=LIBVER, rdcc_nbytes=0)  # only whole chunks are written
        header.write(self._h5)
        self._columns = {path: _GrowingColumn(self._h5, path, c) for path, c in header.columns.items()}
        self._totals = {group: _Totals() for group in header.pose_groups}
        self._video_ids: set[str] = set()
        self._num_frames = 0

    def append(self, record: Record, after_piece: Callable[[], None]) -> None:
        """Add one clip; `after_piece` is called often enough to bring out what has been written so far.

        Raises:
            ShardError: its name is there already, or a text cannot be stored.
        """
        clip = record.clip
        if clip.video_id in self._video_ids:
            raise ShardError(
                f"expected every video_id once, got {clip.video_id!r} twice", video_id=clip.video_id
            )
        values: dict[str, Any] = dataclasses.asdict(clip)
        values |= {"sources": to_json(record.sources), "first_frame": self._num_frames}
        for name in TEXT_COLUMNS:
            values[name] = encode_text(values[name], f"clip {clip.video_id!r}: {name}")
        arrays: dict[str, Any] = {f"clips/{name}": [value] for name, value in values.items()}
        arrays |= {"frames/pts_s": record.pts_s, "frames/index": record.frame_index}
        grids: dict[str, Grid] = {}
        for group, rows in record.groups.items():
            arrays[extent_path(group, "first_row")] = [self._totals[group].rows]
            arrays[extent_path(group, "num_rows")] = [len(rows)]
            arrays[extent_path(group, "num_people")] = [rows.num_people]
            grids[group] = record.grids.get(group) or self._grid(rows)
            arrays |= {f"{group}/{name}": [getattr(grids[group], name)] for name in GRID_COLUMNS}

        self._video_ids.add(clip.video_id)
        self._num_frames += clip.num_frames
        for path, array in arrays.items():
            self._columns[path].append(array)
        for group, rows in record.groups.items():
            for piece in rows.pieces():
                stored = {name: getattr(piece, name) for name in ROW_COLUMNS}
                stored["keypoints"] = grids[group].encode(piece.keypoints)
                stored["scores"] = encode_scores(piece.scores)
                self._totals[group].add(stored["keypoints"], stored["scores"])
                for name, array in stored.items():
                    self._columns[f"{group}/{name}"].append(array)
                after_piece()

    def _grid(self, rows: Rows | Encoded) -> Grid:
        if isinstance(rows, Encoded):
            return rows.grid
        return Grid.of(rows.keypoints, self.header.keypoint_step)

    def finish(self) -> None:
        """Write what is buffered and close."""
        for column in self._columns.values():
            column.finish()
        for group, totals in self._totals.items():
            self._h5[group].attrs["joints_found"] = totals.joints_found
            self._h5[group].attrs["mean_score"] = totals.mean_score
        self.close()

    def close(self) -> None:
        """Close HDF5's side, whatever state it is in."""
        self._h5.close()


class ShardWriter:
    """Writes clips one after the other; nothing is visible under `path` until it closes cleanly.

    Use as a context manager. Memory stays constant however many clips there are, but for their names. On an
    exception the temporary file in the same folder is removed and whatever was at `path` stays.

    Args:
        path: The shard, replaced where it exists.
        skeleton: Joint set of the sequences.
        recipe: Every setting that shaped the data, as JSON can hold it.
        experts: Joint set of every expert whose own poses are kept.
        dimensions: C of all keypoints.
        coordinate_unit: ``px`` (rounded to 1/8) or ``m`` (rounded to 1/8192).

    Raises:
        ConfigError: a header the format cannot hold.
        OutputError: the file cannot be created, or the disk is full; from then on only leaving remains.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        skeleton: Skeleton,
        recipe: dict[str, Any],
        experts: Mapping[str, Skeleton] = NO_EXPERTS,
        dimensions: int = 2,
        coordinate_unit: str = "px",
    ) -> None:
        header = Header(
            skeleton=skeleton,
            experts=experts,
            dimensions=dimensions,
            coordinate_unit=coordinate_unit,
            recipe=recipe,
        )
        with contextlib.ExitStack() as undo:  # an interrupt that was held back comes before __enter__
            with _signals_deferred():
                self._file = AtomicFile(path)
                undo.callback(self._file.discard)
                self._buffer = WriteBehind(self._file)
                self._content = ShardContent(self._buffer, header)
            undo.pop_all()
        self._broken: OutputError | None = None

    def write(
        self,
        sequence: SkeletonSequence | Tracks,
        *,
        clip: Clip | None = None,
        experts: Mapping[str, SkeletonSequence | Tracks] = NO_EXPERTS,
    ) -> None:
        """Append one clip.

        Args:
            sequence: The people; people and time steps without any joint are not kept.
            clip: What else is known; None = only what the sequence says (`Clip.of`).
            experts: What each expert said, over the same time steps; an expert not given has no rows.

        Raises:
            ShardError: clip, sequence and experts do not fit each other or the shard; nothing was added.
            OutputError: the disk is full.
        """
        self.append(make_record(self._content.header, sequence, clip, experts))

    def append(self, record: Record) -> None:
        """Append one clip as another shard stored it."""
        if self._broken is not None:
            raise self._broken
        with _signals_deferred():
            self._content.append(record, self._flush)
        self._flush()

    @property
    def size(self) -> int:
        """Bytes of the file so far, without the rows that wait for their chunk to fill."""
        return self._buffer.size

    def _flush(self) -> None:
        try:
            self._buffer.flush_to_disk()
        except OutputError as error:
            self._broken = error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with _signals_deferred():
                if kind is None and self._broken is None:
                    self._content.finish()
                else:
                    self._content.close()
            if kind is None:
                if self._broken is not None:
                    raise self._broken
                self._flush()
                self._file.commit()
        finally:
            self._file.discard()  # nothing is left to discard after a commit


def write_clip_file(
    path: str | os.PathLike[str],
    *,
    sequence: SkeletonSequence | Tracks,
    clip: Clip | None = None,
    experts: Mapping[str, SkeletonSequence | Tracks] = NO_EXPERTS,
    skeleton: Skeleton,
    recipe: dict[str, Any],
    coordinate_unit: str = "px",
) -> None:
    """Write a shard of one clip.

    Args:
        path: The shard, replaced where it exists.
        sequence: See `ShardWriter.write`.
        clip: See `ShardWriter.write`.
        experts: Every expert of the run, so that the files of a run can be merged; one that saw nothing, or
            did not run because the clip failed, as `empty_sequence`.
        skeleton: Joint set of the shard.
        recipe: See `ShardWriter`.
        coordinate_unit: See `ShardWriter`.

    Raises:
        ShardError: clip, sequence and experts do not fit each other.
        OutputError: the disk is full, or writing is not permitted.
    """
    with ShardWriter(
        path,
        skeleton=skeleton,
        recipe=recipe,
        experts={name: view.skeleton for name, view in experts.items()},
        dimensions=sequence.keypoints.shape[-1],
        coordinate_unit=coordinate_unit,
    ) as writer:
        writer.write(sequence, clip=clip, experts=experts)


def make_record(
    header: Header,
    sequence: SkeletonSequence | Tracks,
    clip: Clip | None,
    experts: Mapping[str, SkeletonSequence | Tracks],
) -> Record:
    """One clip as stored.

    Raises:
        ShardError: clip, sequence and experts do not fit each other or the header.
    """
    tracks = Tracks.of(sequence)
    clip = Clip.of(tracks) if clip is None else clip
    if sequence.label is not None and clip.label != sequence.label:
        raise _mismatch(clip, "the sequence's label", sequence.label, clip.label)
    height, width = sequence.image_size
    for name, mine, its in (
        ("video_id", sequence.video_id, clip.video_id),
        ("num_frames", sequence.num_frames, clip.num_frames),
        ("(width, height)", (width, height), (clip.width, clip.height)),
        ("fps", sequence.fps, clip.fps),
    ):
        if mine != its:
            raise _mismatch(clip, f"the sequence's {name}", mine, its)
    if unknown := sorted(set(experts) - set(header.experts)):
        raise _mismatch(clip, "experts among", sorted(header.experts), unknown)
    groups: dict[str, Rows | Encoded] = {
        name: empty_rows(s.num_joints, header.dimensions) for name, s in header.pose_groups.items()
    }
    groups["poses"] = _encoded(header, clip, "the sequence", tracks, header.skeleton)
    for name, view in experts.items():
        if not np.array_equal(view.frame_indices, sequence.frame_indices):
            raise _mismatch(
                clip,
                f"expert {name!r} over the sequence's {sequence.num_frames} time steps",
                sequence.frame_indices,
                view.frame_indices,
            )
        groups[expert_group(name)] = _encoded(
            header, clip, f"expert {name!r}", Tracks.of(view), header.experts[name]
        )
    if clip.status != "failed" and (clip.status == "ok") != bool(len(groups["poses"])):
        wanted = "no_person" if clip.status == "ok" else "ok"
        raise _mismatch(clip, f"status for {len(groups['poses'])} poses", wanted, clip.status)
    return Record(
        clip=clip,
        sources=sequence.sources,
        frame_index=as_int32(sequence.frame_indices, f"clip {clip.video_id!r}: frame_indices"),
        pts_s=sequence.pts_s,
        groups=groups,
    )


def _encoded(header: Header, clip: Clip, what: str, tracks: Tracks, skeleton: Skeleton) -> Encoded:
    if tracks.skeleton != skeleton:
        raise _mismatch(clip, f"{what} with joint set", skeleton.name, tracks.skeleton.name)
    if tracks.keypoints.shape[-1] != header.dimensions:
        raise _mismatch(clip, f"{what} with dimensions", header.dimensions, tracks.keypoints.shape[-1])
    return Encoded(tracks, header.keypoint_step)


def _mismatch(clip: Clip, what: str, expected: Any, got: Any) -> ShardError:
    return ShardError(
        f"clip {clip.video_id!r}: expected {what} {expected}, got {got}",
        video_id=clip.video_id,
        expected=expected,
        got=got,
    )


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Hold back Python's signal handlers: an exception inside HDF5's calls for bytes would wreck its state.

    Handlers run in the main thread only, so elsewhere there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    handlers = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if callable(handler := signal.getsignal(number))
    }
    try:
        for number in handlers:
            signal.signal(number, lambda received, frame: held.append((received, frame)))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for received, frame in held:
            handlers[signal.Signals(received)](received, frame)
