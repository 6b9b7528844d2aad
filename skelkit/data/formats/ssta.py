"""SST-A npz: ``kpts`` float32 (T, 17, 2) in pixels, one person by one expert per file; zero = missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from skelkit.data.clip import Clip
from skelkit.data.folder import sha256_of
from skelkit.data.formats.base import Format, Item, ReadOptions, WriteOptions
from skelkit.data.formats.folders import ClipFiles, Found, find_clips
from skelkit.data.formats.making import from_arrays, or_failed, usual_skeleton
from skelkit.data.formats.naming import safe_path
from skelkit.data.formats.placing import zeros_for_missing
from skelkit.data.ssta_npz import read_ssta_npz, write_ssta_npz
from skelkit.skeletons import COCO17
from skelkit.structures import Tracks

_NUDGE = 2.0**-10


def read(paths: Sequence[Path], options: ReadOptions) -> Iterator[Item]:
    """A clip of every file."""
    for found in find_clips(paths, ".npz", options):
        yield or_failed(found.video_id, found.path, partial(_clip, found, options))


def _clip(found: Found, options: ReadOptions) -> Item:
    keypoints = read_ssta_npz(found.path)
    return from_arrays(
        found.video_id,
        keypoints[None],
        None,
        skeleton=usual_skeleton(keypoints.shape[1], 2, options),
        known=replace(found.known, sha256=sha256_of(found.path)),
        options=options,
    )


def write(clips: Iterable[tuple[Clip, Tracks]], dest: Path, options: WriteOptions) -> list[str]:
    """``<clip>.npz``; ``<clip>-person<id>.npz`` where there are several people."""
    with ClipFiles(dest) as files:
        for clip, tracks in clips:
            sequence = tracks.to_sequence()
            for person, track in enumerate(sequence.track_ids.tolist()):
                alone = sequence.num_people == 1
                name = clip.video_id if alone else f"{clip.video_id}-person{track}"
                path = files.path(clip, f"{safe_path(name)}.npz", video_id=name)
                write_ssta_npz(path, zeros_for_missing(sequence.keypoints[person], _NUDGE))
    return []


FORMAT = Format(read=read, write=write, joints=(COCO17,))
