"""Posetics and Smarthome v2: a JSON file per clip with LCR-Net's 13 joints.

``{"frames": [[{"pose2d": [26], "pose3d": [39]}, ...], ...]}``: all x, then all y (then all z). Labels stand
in tables ``<split>_label.json`` = ``{clip: {"has_skeleton", "label", "label_index"}}``. A place of zeros is a
missing joint. ``njts`` (13) is what Smarthome's own viewer asks for; ``track_id`` of a person is
ours: other readers pass over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.data.clip import Clip
from skelkit.data.formats.base import Format, Item, ReadOptions, WriteOptions
from skelkit.data.formats.files import read_json, reading
from skelkit.data.formats.folders import Found, find_clips
from skelkit.data.formats.making import from_frames, or_failed, usual_skeleton
from skelkit.data.formats.people import Frames, Person, scored_person
from skelkit.data.formats.placing import frame_by_frame, rounded, zeros_for_missing
from skelkit.data.formats.split_folders import write_split_folders
from skelkit.skeletons import LCR13
from skelkit.structures import Tracks

_EXPECTED = 'Posetics JSON ({"frames": [[{"pose2d": [26 numbers]}]]})'
_NUDGE = 0.001


def read(paths: Sequence[Path], options: ReadOptions) -> Iterator[Item]:
    """Clips of JSON files; `ReadOptions.dimensions` 3 takes ``pose3d`` (metres)."""
    for found in find_clips(paths, ".json", options):
        yield or_failed(found.video_id, found.path, partial(_clip, found, options))


def _clip(found: Found, options: ReadOptions) -> Item:
    content, digest = read_json(found.path, _EXPECTED)
    dimensions = options.dimensions or 2
    skeleton = options.joints or LCR13
    with reading(found.path, _EXPECTED):
        frames = Frames()
        for number, people in enumerate(content["frames"]):
            frames.add(number, [_person(p, dimensions, skeleton.num_joints) for p in people])
        return from_frames(
            found.video_id,
            frames,
            skeleton=usual_skeleton(skeleton.num_joints, dimensions, options),
            known=replace(found.known, sha256=digest),
            options=options,
        )


def _person(person: dict[str, Any], dimensions: int, joints: int) -> Person:
    blocks = np.asarray(person[f"pose{dimensions}d"], np.float64).reshape(dimensions, joints)
    track_id = person.get("track_id")
    return scored_person(
        blocks.T, (blocks != 0).any(axis=0), track_id=track_id if isinstance(track_id, int) else None
    )


def write(clips: Iterable[tuple[Clip, Tracks]], dest: Path, options: WriteOptions) -> list[str]:
    """``<split>/<clip>.json``, and a table of labels per split."""
    write_split_folders(clips, dest, _content)
    return []


def _content(_: Clip, tracks: Tracks) -> dict[str, Any]:
    dimensions = tracks.keypoints.shape[-1]
    points = zeros_for_missing(tracks.keypoints, _NUDGE)
    blocks = rounded(np.swapaxes(points, 1, 2).reshape(len(points), -1), 3)
    ids = tracks.track_ids[tracks.person].tolist()
    people = [{f"pose{dimensions}d": b, "track_id": i} for b, i in zip(blocks, ids, strict=True)]
    frames = [people[rows] for _, rows in frame_by_frame(tracks)]
    return {"njts": tracks.skeleton.num_joints, "frames": frames}


FORMAT = Format(read=read, write=write, joints=(LCR13,), dimensions=(2, 3))
