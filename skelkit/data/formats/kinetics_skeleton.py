"""Kinetics-skeleton of ST-GCN: a JSON file per clip with OpenPose's 18 joints.

``{"data": [{"frame_index" from 1, "skeleton": [{"pose": [x, y ... in 0..1], "score": [18]}]}], "label",
"label_index"}``. Its videos were brought to 340 x 256 and 30 frames per second, which is assumed where nobody
says otherwise. A score of 0 is a missing joint. ``track_id`` of a person is ours: other readers pass over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.data.clip import Clip
from skelkit.data.folder import plain_text
from skelkit.data.formats.base import Format, Item, ReadOptions, WriteOptions
from skelkit.data.formats.files import read_json, reading
from skelkit.data.formats.folders import Found, find_clips
from skelkit.data.formats.making import from_frames, or_failed
from skelkit.data.formats.people import Frames, Person, scored_person
from skelkit.data.formats.placing import frame_by_frame, picture_size, rounded, visible_scores
from skelkit.data.formats.split_folders import write_split_folders
from skelkit.skeletons import OPENPOSE18
from skelkit.structures import Float32, Tracks

_EXPECTED = 'Kinetics-skeleton JSON ({"data": [{"frame_index", "skeleton": [{"pose", "score"}]}], "label"})'
_SIZE = (256, 340)
_FPS = 30.0


def read(paths: Sequence[Path], options: ReadOptions) -> Iterator[Item]:
    """Clips of JSON files, in pixels of the picture's size."""
    for found in find_clips(paths, ".json", options):
        yield or_failed(found.video_id, found.path, partial(_clip, found, options))


def _clip(found: Found, options: ReadOptions) -> Item:
    content, digest = read_json(found.path, _EXPECTED)
    known = found.known
    size = known.image_size or options.image_size or _SIZE
    with reading(found.path, _EXPECTED):
        scale = np.asarray(size[::-1], np.float32)
        frames = Frames()
        for frame in content["data"]:
            frames.add(int(frame["frame_index"]) - 1, [_person(p, scale) for p in frame["skeleton"]])
        label, index = content.get("label", ""), content.get("label_index", -1)
        if not isinstance(label, str) or type(index) is not int:
            raise TypeError(f"label {label!r:.40} with the number {index!r:.40}")
        known = replace(known, label=known.label or label)
        known = replace(known, label_index=known.label_index if known.label_index >= 0 else index)
        return from_frames(
            found.video_id,
            frames,
            skeleton=options.joints or OPENPOSE18,
            known=replace(known, sha256=digest, image_size=size, fps=known.fps or options.fps or _FPS),
            options=options,
        )


def _person(person: dict[str, Any], scale: Float32) -> Person:
    track_id = person.get("track_id")
    points = np.asarray(person["pose"], np.float64).reshape(-1, 2) * scale
    scores = np.asarray(person["score"], np.float64).reshape(len(points))
    return scored_person(points, scores, track_id=track_id if isinstance(track_id, int) else None)


def write(clips: Iterable[tuple[Clip, Tracks]], dest: Path, options: WriteOptions) -> list[str]:
    """``<split>/<clip>.json``, and a table of labels per split."""
    write_split_folders(clips, dest, _content)
    return []


def _content(clip: Clip, tracks: Tracks) -> dict[str, Any]:
    scores = visible_scores(tracks)
    points = rounded(np.nan_to_num(tracks.keypoints) / picture_size(clip), 6)
    marks, ids = rounded(scores, 4), tracks.track_ids[tracks.person].tolist()
    people = [
        {"pose": [v for xy in pose for v in xy], "score": score, "track_id": track}
        for pose, score, track in zip(points, marks, ids, strict=True)
    ]
    return {
        "data": [
            {"frame_index": number + 1, "skeleton": people[rows]} for number, rows in frame_by_frame(tracks)
        ],
        "label": plain_text(clip.label),
        "label_index": clip.label_index,
    }


FORMAT = Format(read=read, write=write, joints=(OPENPOSE18,), needs_size=True)
