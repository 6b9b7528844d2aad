"""pyskl and MMAction2: one pickle with the annotations of all clips.

``{"split": {name: [frame_dir]}, "annotations": [{"frame_dir", "label", "img_shape" (h, w), "original_shape",
"total_frames", "keypoint" (M, T, V, C), "keypoint_score" (M, T, V)}]}``; older tools write the bare list. A
score of 0, and without scores a place of zeros, is a missing joint. Reading brings the whole pickle into
memory: it is one object. Writing goes clip by clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.data.clip import Clip
from skelkit.data.files import output_error
from skelkit.data.folder import plain_text, sha256_of
from skelkit.data.formats import pickle_writing as pickle
from skelkit.data.formats.base import Format, Item, ReadOptions, WriteOptions
from skelkit.data.formats.files import reading
from skelkit.data.formats.label_files import read_labels
from skelkit.data.formats.making import Known, from_arrays, or_failed, usual_skeleton
from skelkit.data.formats.people import whole_number
from skelkit.data.formats.pickle_reading import read_pickle
from skelkit.data.formats.placing import visible_scores
from skelkit.skeletons import SKELETONS
from skelkit.structures import Tracks

LABEL_MAP = ".label_map.txt"
"""Takes the place of ``.pkl`` in the name of the file with the label names, a line each."""

_EXPECTED = "a pyskl pickle (annotations with frame_dir, keypoint, total_frames ...)"
_JOINTS = "skeleton"
"""Ours: the name of the joint set. Other readers pass over it."""
_HALF_EXACT = 1024
"""From here on float16 knows whole pixels only."""


def read(paths: Sequence[Path], options: ReadOptions) -> Iterator[Item]:
    """Clips of pyskl pickles.

    A clip that several splits list gets the first of them, or the first of those asked for. Label names come
    from the options, or from the file that `write` puts beside the pickle.
    """
    for path in paths:
        yield from _read_file(path, options)


def _read_file(path: Path, options: ReadOptions) -> Iterator[Item]:
    content = read_pickle(path)
    with reading(path, _EXPECTED):
        annotations = content if isinstance(content, list) else content["annotations"]
        listed = {} if isinstance(content, list) else content.get("split") or {}
        split_of: dict[Any, str] = {}
        for split, members in listed.items():
            if not options.splits or split in options.splits:
                for frame_dir in members:
                    split_of.setdefault(frame_dir, str(split))
        if not isinstance(annotations, list):
            raise TypeError(f"annotations as {type(annotations).__name__}")
        digest = sha256_of(path)
    beside = path.with_name(path.name.removesuffix(".pkl") + LABEL_MAP)
    if not options.labels.names and beside.is_file():
        options = replace(options, labels=replace(options.labels, names=read_labels(beside).names))
    if isinstance(content, dict) and options.joints is None:
        options = replace(options, joints=SKELETONS.get(str(content.get(_JOINTS))))
    chosen = bool(listed and options.splits)
    options = replace(options, splits=() if listed else options.splits)  # they have done their work
    for number in range(len(annotations)):
        annotation, annotations[number] = annotations[number], None  # memory can go clip by clip
        name = _name(annotation) if isinstance(annotation, dict) else None
        if not isinstance(name, str) or not name:
            name = f"{path.stem}:{number}"
        if name not in options.skip and (name in split_of or not chosen):
            known = Known(source=path, sha256=digest, split=split_of.get(name, ""))
            yield or_failed(name, path, partial(_clip, name, annotation, known, options))


def _name(annotation: dict[str, Any]) -> Any:
    return annotation.get("frame_dir", annotation.get("filename"))


def _clip(name: str, annotation: Any, known: Known, options: ReadOptions) -> Item:
    with reading(known.source, _EXPECTED):
        keypoints, scores = np.asarray(annotation["keypoint"]), annotation.get("keypoint_score")
        if keypoints.ndim != 4 or keypoints.dtype.kind != "f" or keypoints.shape[-1] not in (2, 3):
            raise ValueError(
                f"keypoint as {keypoints.dtype} {keypoints.shape}, not (people, frames, joints, 2)"
            )
        label = annotation.get("label", -1)
        size = annotation.get("img_shape") or annotation.get("original_shape")
        return from_arrays(
            name,
            keypoints,
            None if scores is None else np.asarray(scores, np.float32),
            skeleton=usual_skeleton(keypoints.shape[2], keypoints.shape[3], options),
            known=replace(
                known,
                image_size=None if size is None else (whole_number(size[0]), whole_number(size[1])),
                label_index=-1 if label is None or label == -1 else whole_number(label),
            ),
            options=options,
        )


def write(clips: Iterable[tuple[Clip, Tracks]], dest: Path, options: WriteOptions) -> list[str]:
    """One pickle, float32 (float16 with `WriteOptions.half`), and the label names beside it.

    A clip without a label has -1. Plain `pickle.load` reads it, with numpy 1 and 2.
    """
    splits: dict[str, list[str]] = {}
    coarse, joints = 0, ""
    try:
        with dest.open("xb") as file:
            file.write(pickle.START + pickle.EMPTY_DICT + pickle.MARK)
            file.write(pickle.piece("annotations") + pickle.EMPTY_LIST + pickle.MARK)
            for clip, tracks in clips:
                annotation = _annotation(clip, tracks, half=options.half)
                coarse += options.half and bool((np.abs(annotation["keypoint"]) > _HALF_EXACT).any())
                if clip.split:
                    splits.setdefault(clip.split, []).append(annotation["frame_dir"])
                file.write(pickle.piece(annotation))
                joints = tracks.skeleton.name
            file.write(pickle.APPENDS + pickle.piece("split") + pickle.piece(splits))
            file.write(pickle.piece(_JOINTS) + pickle.piece(joints))
            file.write(pickle.SETITEMS + pickle.STOP)
        if options.label_names:
            lines = [" ".join(plain_text(name).split()) + "\n" for name in options.label_names]
            dest.with_name(dest.name.removesuffix(".pkl") + LABEL_MAP).write_text("".join(lines), "utf-8")
    except OSError as error:
        raise output_error(error, dest) from error
    return [f"{coarse} clips reach beyond 1024, where float16 steps by a whole pixel"] if coarse else []


def _annotation(clip: Clip, tracks: Tracks, *, half: bool) -> dict[str, Any]:
    sequence = tracks.to_sequence()
    keypoints = np.nan_to_num(sequence.keypoints)
    size = (clip.height, clip.width)
    return {
        "frame_dir": plain_text(clip.video_id),
        "label": clip.label_index,
        "img_shape": size,
        "original_shape": size,
        "total_frames": sequence.num_frames,
        "keypoint": keypoints.astype(np.float16) if half else keypoints,
        "keypoint_score": visible_scores(sequence).astype(np.float16 if half else np.float32),
    }


FORMAT = Format(read=read, write=write, dimensions=(2, 3), extension=".pkl")
