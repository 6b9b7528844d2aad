"""OpenPose: a folder per clip, a JSON file per frame.

``<clip>_<12 digits>_keypoints.json`` = ``{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, score
...]}]}`` for 18 or 25 joints; 0, 0, 0 is a missing joint, a ``person_id`` of -1 nobody known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.data.clip import Clip
from skelkit.data.formats.base import Format, Item, ReadOptions, WriteOptions
from skelkit.data.formats.files import files_below, read_json, reading
from skelkit.data.formats.folders import TABLE, ClipFiles, make_folder, read_table, wanted, write_new
from skelkit.data.formats.making import Known, from_frames, or_failed, usual_skeleton
from skelkit.data.formats.naming import safe_path
from skelkit.data.formats.people import Frames, Person, person
from skelkit.data.formats.placing import frame_by_frame, rounded, visible_scores
from skelkit.skeletons import OPENPOSE18, OPENPOSE25
from skelkit.structures import Skeleton, Tracks

_EXPECTED = 'OpenPose JSON ({"people": [{"pose_keypoints_2d": [x, y, score ...]}]})'
_NAME = re.compile(r"(?P<clip>.*?)_?(?P<frame>\d+)_keypoints\.json", re.DOTALL)
_PATTERN = "*_keypoints.json"


def read(paths: Sequence[Path], options: ReadOptions) -> Iterator[Item]:
    """Clips of folders; named by the path below the folder given, or by their files where that says less."""
    for root in paths:
        table = read_table(root) if (root / TABLE).is_file() else {}
        clips: dict[tuple[Path, str], list[tuple[int, Path]]] = {}
        for path in files_below(root, _PATTERN):
            if match := _NAME.fullmatch(path.name):
                clips.setdefault((path.parent, match["clip"]), []).append((int(match["frame"]), path))
        for (folder, prefix), files in clips.items():
            below = "" if folder in (root, root.parent) else folder.relative_to(root).as_posix()
            video_id = below if below.rpartition("/")[2] == prefix else f"{below}/{prefix}".strip("/")
            video_id, known = table.get(below, (video_id or folder.name, Known(source=folder)))
            if video_id not in options.skip and wanted(known, options):
                known = replace(known, source=folder)
                yield or_failed(video_id, folder, partial(_clip, video_id, files, known, options))


def _clip(video_id: str, files: Sequence[tuple[int, Path]], known: Known, options: ReadOptions) -> Item:
    frames = Frames()
    for number, path in files:
        content, _ = read_json(path, _EXPECTED)
        with reading(path, _EXPECTED):
            frames.add(number, [_person(p) for p in content["people"]])
    with reading(known.source, _EXPECTED):
        skeleton = _skeleton(frames, options)
        return from_frames(video_id, frames, skeleton=skeleton, known=known, options=options)


def _person(values: dict[str, Any]) -> Person:
    track_id = np.ravel(values.get("person_id", -1))[0].item()
    known = isinstance(track_id, int) and track_id >= 0
    return person(values["pose_keypoints_2d"], 3, track_id=track_id if known else None)


def _skeleton(frames: Frames, options: ReadOptions) -> Skeleton:
    count = next((len(p.keypoints) for people in frames.people for p in people), None)
    if count == OPENPOSE25.num_joints and options.joints is None:
        return OPENPOSE25
    return (options.joints or OPENPOSE18) if count is None else usual_skeleton(count, 2, options)


def write(clips: Iterable[tuple[Clip, Tracks]], dest: Path, options: WriteOptions) -> list[str]:
    """``<clip>/<clip>_<frame>_keypoints.json``."""
    with ClipFiles(dest) as files:
        for clip, tracks in clips:
            marks = visible_scores(tracks)[..., None]
            values = np.concatenate([np.nan_to_num(tracks.keypoints), marks], axis=-1)
            flat = rounded(values.reshape(len(values), -1), 4)
            ids = tracks.track_ids[tracks.person].tolist()
            people = [{"person_id": [i], "pose_keypoints_2d": v} for i, v in zip(ids, flat, strict=True)]
            folder = files.path(clip, safe_path(clip.video_id))
            make_folder(folder)
            for number, rows in frame_by_frame(tracks):
                text = json.dumps({"version": 1.3, "people": people[rows]}, separators=(",", ":"))
                write_new(folder / f"{folder.name}_{number:012d}_keypoints.json", text)
    return []


FORMAT = Format(read=read, write=write, joints=(OPENPOSE18, OPENPOSE25))
