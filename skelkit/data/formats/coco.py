"""COCO keypoint results: a JSON file per clip, ``image_id`` is the frame.

``[{"image_id", "category_id": 1, "keypoints": [x, y, score ...], "score"}]``. Read as well: AlphaPose (the
same with file names as ``image_id``, and ``idx`` for identity) and MMPose (``[{"frame_id", "instances":
[{"keypoints": [[x, y] ...], "keypoint_scores"}]}]``, bare or as ``instance_info``). Results name only frames
with people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.data.clip import Clip
from skelkit.data.formats.base import Format, Item, ReadOptions, WriteOptions
from skelkit.data.formats.files import read_json, reading
from skelkit.data.formats.folders import ClipFiles, Found, find_clips
from skelkit.data.formats.making import from_frames, or_failed, usual_skeleton
from skelkit.data.formats.people import Frames, Person, person, scored_person, whole_number
from skelkit.data.formats.placing import rounded, visible_scores
from skelkit.skeletons import COCO17
from skelkit.structures import Tracks

_EXPECTED = 'COCO keypoint results ([{"image_id", "keypoints": [x, y, score ...], "score"}])'
_LAST_NUMBER = re.compile(r"(\d{1,10})\D*$")


def read(paths: Sequence[Path], options: ReadOptions) -> Iterator[Item]:
    """Clips of JSON files by COCO, AlphaPose or MMPose."""
    for found in find_clips(paths, ".json", options):
        yield or_failed(found.video_id, found.path, partial(_clip, found, options))


def _clip(found: Found, options: ReadOptions) -> Item:
    content, digest = read_json(found.path, _EXPECTED)
    with reading(found.path, _EXPECTED):
        if isinstance(content, Mapping):
            content = content["instance_info"]
        frames = _mmpose(content) if content and "image_id" not in content[0] else _results(content)
        count = next((len(p.keypoints) for people in frames.people for p in people), None)
        skeleton = (options.joints or COCO17) if count is None else usual_skeleton(count, 2, options)
        return from_frames(
            found.video_id,
            frames,
            skeleton=skeleton,
            known=replace(found.known, sha256=digest),
            options=options,
        )


def _results(results: Sequence[Mapping[str, Any]]) -> Frames:
    people: dict[Any, list[Person]] = {}
    for result in results:
        if result.get("category_id", 1) == 1:
            people.setdefault(result["image_id"], []).append(_result(result))
    return Frames(_numbers([*people]), [*people.values()])


def _numbers(image_ids: Sequence[Any]) -> list[int]:
    """Frame numbers: the ids, or the last numbers in the names of files, or the order."""
    if all(isinstance(i, int) for i in image_ids):
        return [whole_number(i) for i in image_ids]
    matches = [_LAST_NUMBER.search(str(i).rpartition("/")[2].partition(".")[0]) for i in image_ids]
    numbers = [int(m[1]) for m in matches if m]
    return numbers if len(set(numbers)) == len(image_ids) else list(range(len(image_ids)))


def _result(result: Mapping[str, Any]) -> Person:
    score = result.get("score")
    # AlphaPose's score of a person is no probability; it names pictures by their files.
    known = isinstance(score, int | float) and 0 <= score <= 1 and not isinstance(result["image_id"], str)
    return person(
        result["keypoints"],
        3,
        confidence=score if known else None,
        track_id=_track_id(result.get("track_id", result.get("idx"))),
    )


def _mmpose(content: Sequence[Mapping[str, Any]]) -> Frames:
    """Frames with their instances; a bare list of instances is one picture."""
    frames = Frames()
    if content and "instances" not in content[0]:
        content = [{"instances": content}]
    for place, frame in enumerate(content):
        people = [
            scored_person(
                np.asarray(one["keypoints"], np.float64)[:, :2],
                one["keypoint_scores"],
                track_id=_track_id(one.get("track_id")),
            )
            for one in frame["instances"]
        ]
        frames.add(whole_number(frame.get("frame_id", place)), people)
    return frames


def _track_id(value: Any) -> int | None:
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    return None if value is None or isinstance(value, list) or value < 0 else whole_number(value)


def write(clips: Iterable[tuple[Clip, Tracks]], dest: Path, options: WriteOptions) -> list[str]:
    """``<clip>.json``."""
    lost = 0
    with ClipFiles(dest) as files:
        for clip, tracks in clips:
            files.write(clip, json.dumps(_content(tracks), allow_nan=False, separators=(",", ":")), ".json")
            lost += tracks.num_frames - len(np.unique(tracks.step))
    return [f"{lost} frames without people have no place in COCO results"] if lost else []


def _content(tracks: Tracks) -> list[dict[str, Any]]:
    values = np.concatenate([np.nan_to_num(tracks.keypoints), visible_scores(tracks)[..., None]], axis=-1)
    return [
        {"image_id": image, "category_id": 1, "keypoints": joints, "score": score, "track_id": track}
        for image, joints, score, track in zip(
            tracks.frame_indices[tracks.step].tolist(),
            rounded(values.reshape(len(values), -1), 4),
            rounded(np.nan_to_num(tracks.confidence), 6),
            tracks.track_ids[tracks.person].tolist(),
            strict=True,
        )
    ]


FORMAT = Format(read=read, write=write, joints=(COCO17,))
