"""A dataset: a folder of shards with an index of all clips, opened at once whatever its size.

``dataset.json`` says what it is and how it was made (`DatasetInfo`), ``index.parquet`` has one row per clip
(`INDEX_COLUMNS`), and the clips lie in ``<name>-<split>-00000-of-00064.h5``.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from skelkit._version import __version__
from skelkit.data.choosing import PersonSelection
from skelkit.data.clip import Clip
from skelkit.data.pose_table import DensePoses, PoseTables, positions_among
from skelkit.data.reader import ShardReader
from skelkit.errors import ConfigError, ShardError
from skelkit.structures import Int64, Skeleton, SkeletonSequence

INFO_FILE = "dataset.json"
INDEX_FILE = "index.parquet"
DATASET_FORMAT = "skelkit-dataset"
DATASET_VERSION = 1

INDEX_COLUMNS: Mapping[str, str] = {
    "video_id": "string",
    "source": "string",
    "sha256": "string",
    "label": "string",
    "label_index": "int32",
    "split": "string",
    "first_row": "int64",
    "num_rows": "int64",
    "num_frames": "int32",
    "num_people": "int32",
    "fps": "float64",
    "width": "int32",
    "height": "int32",
    "status": "string",
    "detail": "string",
    "shard": "string",
    "row": "int32",
    "presence": "float32",
    "mean_confidence": "float32",
    "mean_score": "float32",
    "joint_visibility": "list<float32>",
}
"""Columns of the index: those of ``/clips``, then which shard and which clip in it, and what was measured:
the share of frames with somebody; means of C and of the scores of joints seen; per joint the share of pose
rows that have it. NaN where there is no row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """One shard of a dataset."""

    name: str
    """File name in the dataset's folder."""
    split: str
    clips: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """What ``dataset.json`` holds.

    Raises:
        ConfigError: a shard's name that is not a plain file name, or two of one name.
    """

    name: str
    skeleton: Skeleton
    dimensions: int
    coordinate_unit: str
    label_names: tuple[str, ...]
    """Label of every ``label_index``."""
    shards: tuple[ShardFile, ...]
    index_sha256: str
    """Of ``index.parquet``."""
    recipe: dict[str, Any]
    """Every setting that shaped the data, the shards it was made of included."""
    filters: tuple[dict[str, Any], ...] = ()
    """In order, for each rule: ``rule``, ``limit``, ``clips_in``, ``clips_dropped``."""
    created_with: str = field(default=f"skelkit {__version__}")

    def __post_init__(self) -> None:
        """Check the names: a dataset never leads out of its folder."""
        names = [shard.name for shard in self.shards]
        if bad := [n for n in names if Path(n).name != n or n in {"", ".", ".."} or names.count(n) > 1]:
            raise ConfigError(f"expected plain, unique names of shards, got {bad}")

    @property
    def splits(self) -> dict[str, int]:
        """Clips of every split."""
        counts: dict[str, int] = {}
        for shard in self.shards:
            counts[shard.split] = counts.get(shard.split, 0) + shard.clips
        return counts

    def to_json(self) -> str:
        """As stored: one spelling, so that equal content gives equal bytes."""
        values = {"format": DATASET_FORMAT, "format_version": DATASET_VERSION}
        values |= {name: getattr(self, name) for name in self.__slots__}
        values["skeleton"] = self.skeleton.to_dict()
        values["shards"] = [asdict(shard) for shard in self.shards]
        values["splits"] = self.splits
        return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> DatasetInfo:
        """Of the dataset in `folder`.

        Raises:
            ShardError: there is none, or it is damaged or of a newer format version.
        """
        path = folder / INFO_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] != DATASET_FORMAT:
                raise ValueError(f"format is {values['format']!r}, not {DATASET_FORMAT!r}")
            if int(values["format_version"]) > DATASET_VERSION:
                raise ShardError(
                    f"{path} has format version {values['format_version']}, this skelkit reads up to "
                    f"{DATASET_VERSION}; try a newer skelkit",
                    path=path,
                )
            known = {name: values[name] for name in cls.__slots__}
            known["skeleton"] = Skeleton.from_dict(known["skeleton"])
            known["shards"] = tuple(ShardFile(**shard) for shard in known["shards"])
            known |= {name: tuple(known[name]) for name in ("label_names", "filters")}
            return cls(**known)
        except OSError as error:
            raise ShardError(
                f"{folder} is not a dataset: expected a folder with {INFO_FILE} ({error.strerror}); make one "
                "with `skelkit build-posetics` or `skelkit import`",
                path=folder,
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise ShardError(
                f"{path} is damaged ({error}); make the dataset again, or fetch a whole copy", path=path
            ) from error


_MAX_OPEN = 128
"""Shards kept open at a time; a system allows a process 1024 files, some 256."""


class DatasetReader:
    """Random access to all clips of a dataset, in the order of its index.

    Nothing is read at opening but ``dataset.json``; columns of the index are read when first used, shards
    are opened when a clip of theirs is asked for, and the ones used last stay open. May be used after a fork
    and sent to another process: each opens the shards for itself.

    Args:
        folder: The dataset.

    Raises:
        ShardError: no dataset there, or a damaged one; also from every method that reads.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.info = DatasetInfo.read(self.folder)
        self._columns: dict[str, npt.NDArray[Any]] = {}
        self._positions: dict[str, int] | None = None
        self._ends = list(accumulate(shard.clips for shard in self.info.shards))
        self._shards: dict[str, ShardReader] = {}  # the one used last stands last
        self._tables: PoseTables | None = None
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type[DatasetReader], tuple[Path]]:
        return type(self), (self.folder,)

    @property
    def skeleton(self) -> Skeleton:
        """Joint set of the sequences."""
        return self.info.skeleton

    @property
    def dimensions(self) -> int:
        """C, 2 or 3."""
        return self.info.dimensions

    @property
    def coordinate_unit(self) -> str:
        """``px`` or ``m``."""
        return self.info.coordinate_unit

    def column(self, name: str) -> npt.NDArray[Any]:
        """A whole column of the index (`INDEX_COLUMNS`), read-only; text as an array of str.

        ``joint_visibility`` is (clips, K).
        """
        if name not in self._columns:
            if name not in INDEX_COLUMNS:
                raise ConfigError(
                    f"expected a column of the index ({', '.join(INDEX_COLUMNS)}), got {name!r}"
                )
            values = self._read(name)
            values.flags.writeable = False
            self._columns[name] = values
        return self._columns[name]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> SkeletonSequence:
        """The people of a clip."""
        shard, row = self._locate(index)
        return shard[row]

    def read_dense(
        self,
        positions: Iterable[int],
        *,
        people: int | PersonSelection | None = None,
        frames: int | None = None,
    ) -> DensePoses:
        """People of some clips as one array: the quick way, for training (`ShardReader.read_dense`)."""
        wanted = positions_among(positions, len(self), self.folder)
        if self._tables is None or self._process != os.getpid():  # what is open is the parent's
            clips = [shard.clips for shard in self.info.shards]
            self._tables = PoseTables(clips, self.skeleton.num_joints, self.dimensions)
        shards = self._tables.shards(wanted)
        for number in self._tables.closed(shards):
            self._tables.put(number, self.shard(self.info.shards[number].name).table())
        found = self._tables.read(wanted, shards, people, frames)
        if len(self._tables) > len(self._shards):
            self._tables.keep([n for n, shard in enumerate(self.info.shards) if shard.name in self._shards])
        return found

    def clip(self, index: int) -> Clip:
        """What is known of a clip besides its poses."""
        shard, row = self._locate(index)
        return shard.clip(row)

    def __iter__(self) -> Iterator[SkeletonSequence]:
        return (self[index] for index in range(len(self)))

    def positions(self, split: str) -> Int64:
        """Which clips a split has, in order.

        Raises:
            ConfigError: no such split.
        """
        if split not in self.info.splits:
            raise ConfigError(
                f"{self.folder} has no split {split!r}; it has {', '.join(map(repr, self.info.splits))}"
            )
        return np.flatnonzero(self.column("split") == split)

    def find(self, video_id: str) -> int:
        """Position of a clip.

        Raises:
            ShardError: no such clip.
        """
        if self._positions is None:
            self._positions = {name: i for i, name in enumerate(self.column("video_id").tolist())}
        if video_id not in self._positions:
            raise ShardError(f"{self.folder} has no clip {video_id!r}", path=self.folder, got=video_id)
        return self._positions[video_id]

    def shard(self, name: str) -> ShardReader:
        """The open shard of this file name."""
        if self._process != os.getpid():  # what was opened before a fork is the parent's
            self._shards, self._process = {}, os.getpid()
        shard = self._shards.pop(name, None)
        if shard is None:
            shard = ShardReader(self.folder / name)
            if (shard.skeleton, shard.dimensions) != (self.skeleton, self.dimensions):
                raise ShardError(
                    f"{shard.path} holds other joints than {self.folder / INFO_FILE} says; "
                    "make the dataset again, or fetch a whole copy",
                    path=shard.path,
                )
            if len(self._shards) >= _MAX_OPEN:
                self._shards.pop(next(iter(self._shards)))  # closed when nobody reads from it any more
        self._shards[name] = shard
        return shard

    def close(self) -> None:
        """Let go of the shards."""
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()
        self._tables = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _locate(self, index: int) -> tuple[ShardReader, int]:
        i = self._index(index)
        number = bisect_right(self._ends, i)
        shard = self.info.shards[number]
        return self.shard(shard.name), i - self._ends[number] + shard.clips

    def _index(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.folder}: expected the number of one of {len(self)} clips, got {index}")
        return index % len(self)

    def _read(self, name: str) -> npt.NDArray[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / INDEX_FILE
        try:
            column = pq.read_table(path, columns=[name], partitioning=None).column(name).combine_chunks()
            if INDEX_COLUMNS[name].startswith("list"):
                values: npt.NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
                values = values.reshape(len(column), -1).copy()
            else:
                values = np.array(column.to_numpy(zero_copy_only=False))
            if len(values) != len(self):
                raise ValueError(f"expected {len(self)} rows, got {len(values)}")
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise ShardError(
                f"{path} is damaged ({error}); make the dataset again, or fetch a whole copy", path=path
            ) from error
        return values


def index_table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows of the index as a pyarrow table, ready for `pyarrow.parquet.write_table`."""
    import pyarrow as pa

    types = {"string": pa.string(), "list<float32>": pa.list_(pa.float32())}
    fields = [(name, types.get(kind) or getattr(pa, kind)()) for name, kind in INDEX_COLUMNS.items()]
    return pa.table(
        {name: pa.array([row[name] for row in rows], kind) for name, kind in fields}, pa.schema(fields)
    )


def open_clips(path: str | os.PathLike[str]) -> DatasetReader | ShardReader:
    """All clips of a dataset's folder, or of one shard.

    Raises:
        ShardError: it is neither.
    """
    return DatasetReader(path) if Path(path).is_dir() else ShardReader(path)
