"""UNIK (and 2s-AGCN): arrays of all clips of a split, ``<split>_data_joint.npy`` and ``<split>_label.pkl``.

float32 (N, C, T, V, M); all zeros = a missing joint. C = 2: places in the picture as X / w * 2 - [1, h / w];
C = 3: metres; C = 5 (Posetics): x2 y2 x3 y3 z3. The label file is (names of the clips, label numbers). The
arrays do not keep the size of the picture: where ``clips.csv`` does not either, it must be given, and pixels
are true only where it is. T and M are the same for all: what is short is filled with zeros, and frames after
the last with anybody are read as such filling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from skelkit.data.clip import Clip
from skelkit.data.files import output_error
from skelkit.data.folder import NO_SPLIT, plain_text
from skelkit.data.formats import pickle_writing as pickle
from skelkit.data.formats.base import Format, Item, ReadOptions, WriteOptions
from skelkit.data.formats.files import files_below, reading
from skelkit.data.formats.folders import TABLE, ClipFiles, read_table
from skelkit.data.formats.making import Known, from_arrays, or_failed, usual_skeleton
from skelkit.data.formats.naming import safe_name
from skelkit.data.formats.people import whole_number
from skelkit.data.formats.pickle_reading import read_pickle
from skelkit.data.formats.placing import picture_size, zeros_for_missing
from skelkit.errors import ConfigError
from skelkit.skeletons import POSETICS17, POSETICS25
from skelkit.structures import Bool, Float32, Tracks

DATA = "_data_joint.npy"
LABELS = "_label.pkl"

_EXPECTED = "a UNIK array (clips, 2, 3 or 5, frames, joints, people) with (names, labels) beside it"
_CHANNELS = {(2, 2): slice(2), (3, 3): slice(3), (5, 2): slice(2), (5, 3): slice(2, 5)}
"""Which channels hold the coordinates, by C and the dimensions asked for."""
_NUDGE = 2.0**-24


def read(paths: Sequence[Path], options: ReadOptions) -> Iterator[Item]:
    """Clips of arrays, read piece by piece; the split is the beginning of the file's name."""
    for root in paths:
        for path in files_below(root, f"*{DATA}"):
            split = path.name.removesuffix(DATA)
            if not options.splits or split in options.splits:
                yield from _read_file(path, split, options)


def _read_file(path: Path, split: str, options: ReadOptions) -> Iterator[Item]:
    beside = path.parent / TABLE
    table = dict(read_table(path.parent).values()) if beside.is_file() else {}
    content = read_pickle(path.with_name(split + LABELS))
    with reading(path, _EXPECTED):
        names, labels = (list(part) for part in content)
        data = np.load(path, mmap_mode="r", allow_pickle=False)
        if data.ndim != 5 or data.dtype.kind != "f" or not len(data) == len(names) == len(labels):
            raise ValueError(f"{data.dtype} {data.shape}, {len(names)} names, {len(labels)} labels")
        dimensions = options.dimensions or (3 if data.shape[1] == 3 else 2)
        if (data.shape[1], dimensions) not in _CHANNELS:
            raise ValueError(f"{data.shape[1]} channels where {dimensions} dimensions are asked for")
    for i, name in enumerate(names):
        video_id = name.removesuffix(".json").removesuffix(".skeleton") if isinstance(name, str) else ""
        video_id = video_id or f"{split}:{i}"
        if video_id not in options.skip:
            known = replace(table.get(video_id, Known(source=path)), source=path, split=split)
            clip = partial(_clip, video_id, data[i], dimensions, (labels[i], known), options)
            yield or_failed(video_id, path, clip)


def _clip(
    video_id: str,
    values: npt.NDArray[Any],
    dimensions: int,
    facts: tuple[Any, Known],
    options: ReadOptions,
) -> Item:
    label, known = facts
    with reading(known.source, _EXPECTED):
        people = values[_CHANNELS[len(values), dimensions]].transpose(3, 1, 2, 0)  # (M, T, V, C)
        joints = options.joints or known.joints
        if len(values) == 5 and joints is None:
            joints = {17: POSETICS17, 25: POSETICS25}.get(people.shape[2])
        skeleton = usual_skeleton(people.shape[2], dimensions, replace(options, joints=joints))
        points, seen = _without_filling(people)
        return from_arrays(
            video_id,
            points if dimensions == 3 else _pixels(points, known.image_size or options.image_size),
            seen.astype(np.float32),
            skeleton=skeleton,
            known=replace(known, label_index=-1 if label == -1 else whole_number(np.asarray(label).item())),
            options=options,
        )


def _without_filling(people: Float32) -> tuple[Float32, Bool]:
    """Places (M, T, V, C) and whether joints were seen, without people and last frames of zeros only."""
    seen = np.isfinite(people).all(axis=-1) & (people != 0).any(axis=-1)
    stop = int(np.flatnonzero(seen.any(axis=(0, 2))).max(initial=-1)) + 1
    present = seen.any(axis=(1, 2))
    return people[present, :stop].astype(np.float32), seen[present, :stop]


def _pixels(points: Float32, size: tuple[int, int] | None) -> Float32:
    if size is None:
        raise ConfigError(
            "UNIK arrays do not keep the size of the picture; give it (--image-size WxH). Any size gives the "
            "same values on export, the true one gives pixels"
        )
    height, width = size
    return (points + np.asarray([1, height / width], np.float32)) * np.float32(width / 2)


def write(clips: Iterable[tuple[Clip, Tracks]], dest: Path, options: WriteOptions) -> list[str]:
    """Arrays with T = `WriteOptions.frames` and M = `WriteOptions.people`, written clip by clip.

    Longer clips lose what comes after; of more people those seen most are kept.
    """
    splits: dict[str, _Split] = {}
    cut = crowded = 0
    try:
        with ClipFiles(dest) as files:
            for clip, tracks in clips:
                split = safe_name(clip.split or NO_SPLIT)
                if split not in splits:
                    splits[split] = _Split(dest, split)
                file = f"{split}{DATA}/{len(splits[split].names)}"
                files.line(clip, file, joints=tracks.skeleton.name)
                splits[split].append(clip, _values(clip, tracks, options))
                cut += tracks.num_frames > options.frames
                crowded += len(np.unique(tracks.person)) > options.people
            for written in splits.values():
                written.finish()
    except OSError as error:
        raise output_error(error, dest) from error
    finally:
        for written in splits.values():
            written.file.close()
    lost = [f"{cut} clips are longer than {options.frames} frames and were cut"] if cut else []
    return lost + ([f"{crowded} clips have more than {options.people} people"] if crowded else [])


def _values(clip: Clip, tracks: Tracks, options: WriteOptions) -> Float32:
    """(C, T, V, M)."""
    rows = np.bincount(tracks.person, minlength=tracks.num_people)
    chosen = np.sort(np.argsort(-rows, kind="stable")[: options.people])
    people = tracks.window(0, options.frames).keypoints[chosen]
    dimensions = people.shape[-1]
    if dimensions == 2:
        width, height = picture_size(clip)
        people = people * (2 / width) - np.asarray([1, height / width], np.float32)
    shape = (dimensions, options.frames, tracks.skeleton.num_joints, options.people)
    values = np.zeros(shape, np.float32)
    filled = zeros_for_missing(people, _NUDGE)
    values[:, : filled.shape[1], :, : len(filled)] = filled.transpose(3, 1, 2, 0)
    return values


class _Split:
    """An array in a file that grows clip by clip."""

    def __init__(self, folder: Path, split: str) -> None:
        self.names: list[str] = []
        self._labels: list[int] = []
        self._shape: tuple[int, ...] = ()
        self._label_file = folder / f"{split}{LABELS}"
        self.file: BinaryIO = (folder / f"{split}{DATA}").open("xb")

    def append(self, clip: Clip, values: Float32) -> None:
        if not self.names:
            self._shape = values.shape
            self._header()
        self.file.write(values.tobytes())
        self.names.append(plain_text(clip.video_id))
        self._labels.append(clip.label_index)

    def finish(self) -> None:
        self.file.seek(0)
        self._header()  # numpy leaves room for the first axis to grow
        self._label_file.write_bytes(pickle.START + pickle.piece((self.names, self._labels)) + pickle.STOP)

    def _header(self) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(self.names), *self._shape)}
        npy: Any = np.lib.format
        npy.write_array_header_1_0(self.file, header)


FORMAT = Format(read=read, write=write, dimensions=(2, 3), needs_size=True)
