"""Format version 1 of the skeleton shard: names, types and chunk sizes, in one place.

``/poses`` and every expert group hold (R rows, one per person and time step):

- ``frame``, ``track`` int32 (R,), ``confidence`` float32 (R,);
- ``keypoints`` int16 (R, K, C): coordinate = ``origin[clip] + step[clip] * keypoints``, -32768 = not seen;
- ``scores`` uint8 (R, K): score = ``scores / 255``;
- ``origin`` float64 (clips, C) and ``step`` float64 (clips,), in the unit of the coordinates (`Grid`);
- the attributes ``skeleton`` (JSON), ``joints_found`` and ``mean_score`` (over the joints found).

Beyond the columns of the format's table there are ``/frames/index`` (int32, the number of each time step's
frame in the video: frames may have been left out), ``/clips/sources`` (JSON list of the experts a clip's
poses were made from), and per expert ``first_row``, ``num_rows`` and ``num_people`` (one per clip).

What training reads at random, keypoints and scores of ``/poses``, lies uncompressed with a checksum
(fletcher32), so that a clip is one read of some 30 kB and no more; all else is gzip with shuffle. On
simulated clips with 1 px of noise a row of 17 joints takes 89 bytes in all; with gzip it would take 62 and
a clip three times the time (`benchmarks.read_speed`), as float32 and float16 with gzip it would take 79.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skelkit._version import __version__
from skelkit.errors import ConfigError, ShardError
from skelkit.structures import Skeleton

FORMAT = "skelkit-shard"
FORMAT_VERSION = 1

LIBVER = ("v110", "v110")
"""File features of HDF5 1.10 (2016): checksummed metadata, and a one-clip file a third of the size."""

KEYPOINT_STEP: Mapping[str, float] = {"px": 1 / 8, "m": 1 / 8192}
"""Coordinates are rounded to this: errors of at most 1/16 px or 1/16 mm (wider clips: see `Grid`)."""

TEXT_COLUMNS = ("video_id", "source", "sha256", "label", "split", "status", "detail", "sources")
EXTENT_COLUMNS = ("first_row", "num_rows", "num_people")
"""Where a clip's rows lie: in ``/clips`` for ``/poses``, in the expert's own group for its rows."""
GRID_COLUMNS = ("origin", "step")
"""The grid of a clip's keypoints, in their own group."""
ROW_COLUMNS = ("frame", "track", "keypoints", "scores", "confidence")

CLIP_CHUNK = 1024
FRAME_CHUNK = 4096
ROW_CHUNK = 4096
JOINT_CHUNK = 256
"""Rows per chunk of what has an entry per joint: a clip lies within some 35 kB, one read of the disk, and a
last chunk, which is stored whole, takes 22 kB."""
CHUNK_CACHE = 2**20
"""Bytes per column kept decompressed while reading: a few chunks of poses."""


@dataclass(frozen=True, slots=True)
class Column:
    """What one dataset holds."""

    dtype: Any
    """numpy's, or `str` for variable-length UTF-8."""
    table: str
    """All columns of a table are equally long: ``clips``, ``frames`` or a pose group."""
    chunk: int
    """Rows per chunk."""
    tail: tuple[int, ...] = ()
    """Shape of one row."""
    compressed: bool = True
    """gzip with shuffle; otherwise as it is, with a checksum."""


def expert_group(name: str) -> str:
    """Where an expert's rows lie."""
    return f"experts/{name}"


def extent_path(group: str, column: str) -> str:
    """Path of one of a pose group's `EXTENT_COLUMNS`."""
    return f"{'clips' if group == 'poses' else group}/{column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What holds for all clips of a shard.

    Raises:
        ConfigError: unknown unit or dimensions, an expert name or a recipe that cannot be stored.
    """

    skeleton: Skeleton
    """Joint set of ``/poses``."""
    experts: Mapping[str, Skeleton]
    """Joint set of every expert, sorted by name."""
    dimensions: int
    """C, 2 or 3."""
    coordinate_unit: str
    """``px`` or ``m``."""
    recipe: dict[str, Any]
    """Every setting that shaped the data."""

    def __post_init__(self) -> None:
        """Check, and bring recipe and experts into the form in which they are read back."""
        if self.dimensions not in (2, 3) or self.coordinate_unit not in KEYPOINT_STEP:
            raise ConfigError(
                f"expected 2 or 3 dimensions in {' or '.join(KEYPOINT_STEP)}, "
                f"got {self.dimensions!r} in {self.coordinate_unit!r}"
            )
        if bad := [name for name in self.experts if not name.strip(".") or {"/", "\0"} & set(name)]:
            raise ConfigError(f"expected expert names without '/' that are not empty, got {bad}")
        try:
            recipe = json.loads(to_json(self.recipe))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"expected a recipe that JSON can hold (text, finite numbers, lists, tables), got: {error}"
            ) from error
        object.__setattr__(self, "recipe", recipe)
        object.__setattr__(self, "experts", dict(sorted(self.experts.items())))

    @property
    def keypoint_step(self) -> float:
        """The finest grid of the coordinates, in `coordinate_unit`."""
        return KEYPOINT_STEP[self.coordinate_unit]

    @property
    def columns(self) -> dict[str, Column]:
        """Path -> content of every dataset."""
        found = {f"clips/{name}": Column(str, "clips", CLIP_CHUNK) for name in TEXT_COLUMNS}
        for name in ("label_index", "num_frames", "width", "height"):
            found[f"clips/{name}"] = Column(np.int32, "clips", CLIP_CHUNK)
        found["clips/fps"] = Column(np.float64, "clips", CLIP_CHUNK)
        found["clips/first_frame"] = Column(np.int64, "clips", CLIP_CHUNK)
        found["frames/pts_s"] = Column(np.float64, "frames", FRAME_CHUNK)
        found["frames/index"] = Column(np.int32, "frames", FRAME_CHUNK)
        for group, skeleton in self.pose_groups.items():
            joints = skeleton.num_joints
            found[extent_path(group, "first_row")] = Column(np.int64, "clips", CLIP_CHUNK)
            found[extent_path(group, "num_rows")] = Column(np.int64, "clips", CLIP_CHUNK)
            found[extent_path(group, "num_people")] = Column(np.int32, "clips", CLIP_CHUNK)
            found[f"{group}/origin"] = Column(np.float64, "clips", CLIP_CHUNK, (self.dimensions,))
            found[f"{group}/step"] = Column(np.float64, "clips", CLIP_CHUNK)
            found[f"{group}/frame"] = Column(np.int32, group, ROW_CHUNK)
            found[f"{group}/track"] = Column(np.int32, group, ROW_CHUNK)
            for name, dtype, tail in (
                ("keypoints", np.int16, (joints, self.dimensions)),
                ("scores", np.uint8, (joints,)),
            ):
                found[f"{group}/{name}"] = Column(dtype, group, JOINT_CHUNK, tail, group != "poses")
            found[f"{group}/confidence"] = Column(np.float32, group, ROW_CHUNK)
        return found

    @property
    def pose_groups(self) -> dict[str, Skeleton]:
        """Every group of pose rows and its joint set: ``poses`` first, then the experts'."""
        return {"poses": self.skeleton, **{expert_group(n): s for n, s in self.experts.items()}}

    def write(self, h5: Any) -> None:
        """Make the groups and their attributes in an empty file."""
        h5.attrs["format"] = FORMAT
        h5.attrs["format_version"] = FORMAT_VERSION
        h5.attrs["skeleton"] = to_json(self.skeleton.to_dict())
        h5.attrs["dimensions"] = self.dimensions
        h5.attrs["coordinate_unit"] = self.coordinate_unit
        h5.attrs["created_with"] = f"skelkit {__version__}"
        h5.attrs["recipe"] = to_json(self.recipe)
        for name, skeleton in self.pose_groups.items():
            group = h5.create_group(name)
            group.attrs["skeleton"] = to_json(skeleton.to_dict())

    @classmethod
    def read(cls, h5: Any) -> Header:
        """Inverse of `write`; raises KeyError, TypeError, ValueError or ConfigError where it is damaged."""
        return cls(
            skeleton=Skeleton.from_dict(json.loads(h5.attrs["skeleton"])),
            experts={
                name: Skeleton.from_dict(json.loads(group.attrs["skeleton"]))
                for name, group in h5.get("experts", {}).items()
            },
            dimensions=int(h5.attrs["dimensions"]),
            coordinate_unit=str(h5.attrs["coordinate_unit"]),
            recipe=json.loads(h5.attrs["recipe"]),
        )


def to_json(value: Any) -> str:
    """JSON in one spelling, so that equal content gives equal bytes."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def encode_text(text: str, what: str) -> bytes:
    """UTF-8 bytes as stored; surrogate escapes become the bytes they stand for.

    Raises:
        ShardError: a NUL character, or a surrogate that stands for no byte.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ShardError(f"{what}: expected text that UTF-8 can hold, got {text!r}") from error
    if b"\0" in data:
        raise ShardError(f"{what}: expected text without NUL characters, got {text!r}")
    return data


def decode_text(data: bytes) -> str:
    """Inverse of `encode_text`."""
    return data.decode("utf-8", "surrogateescape")


def damaged(path: Path, why: str) -> ShardError:
    """The error of a shard that does not hold what it should."""
    return ShardError(
        f"{path} is cut short or damaged ({why}); make it again, or fetch a whole copy", path=path
    )
