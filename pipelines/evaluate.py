"""Poses of a shard (or of SST-A files) against ground truth."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from skelkit.data import ShardReader
from skelkit.data.ssta_npz import read_ssta_npz
from skelkit.data.truth import TrueClip, open_truth
from skelkit.errors import ConfigError, InputError, OutputError
from skelkit.geometry import extents
from skelkit.metrics import (
    JointwiseResult,
    head_scale,
    match_to_truth,
    mpjpe,
    pck,
    pose_errors,
    take_matched,
    torso_scale,
)
from skelkit.report.movie import write_whole
from skelkit.report.plots import check_plot_name, plot_confidence, plot_histogram
from skelkit.skeletons import COCO17, LCR13, LIMB_JOINTS, get_skeleton, remap
from skelkit.structures import Bool, Float32, Float64, Int64, Skeleton, Tracks

POSES = "poses"
"""Name of the view that stands in a shard's ``/poses``."""

_JOINTS = {"common13": LCR13, "limbs12": Skeleton(name="limbs12", joints=LIMB_JOINTS)}

_Clips = Mapping[str, Callable[[], dict[str, Tracks]]]
"""Predicted clips by name; each gives its views (`POSES` and the experts, or the files)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """Files to write, all of them optional."""

    json: Path | None = None
    """All figures."""
    confidence: Path | None = None
    """Picture of error against confidence (thesis, figure 3.8)."""
    histogram: Path | None = None
    """Picture of kept and discarded poses over their error (figure 3.7)."""
    overwrite: bool = False
    """Replace what is there."""

    def check(self) -> None:
        """Refuse early what could only fail at the end.

        Raises:
            ConfigError: a picture that is neither PNG nor SVG.
            OutputError: a file exists already, or its folder does not.
        """
        for path in filter(None, (self.confidence, self.histogram)):
            check_plot_name(path)
        for path in filter(None, (self.json, self.confidence, self.histogram)):
            if path.exists() and not self.overwrite:
                raise OutputError(f"{path} exists; try another name, or --overwrite to replace it", path=path)
            if not path.parent.is_dir():
                raise OutputError(
                    f"expected an existing folder for {path}, found no {path.parent}; create it", path=path
                )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pairs:
    """P true people, and what each view says of them."""

    truth: Float32
    """(P, K, 2) in the joints compared, NaN = not labelled."""
    torso: Float64
    """(P,) see `skelkit.metrics.torso_scale`; from the joints as labelled, like `head`."""
    head: Float64
    """(P,) head length of the papers, see `skelkit.metrics.head_scale`."""
    found: dict[str, Float32]
    """By view: (P, K, 2), NaN = not found."""
    confidence: dict[str, Float32]
    """By view: (P,) C, NaN where the person was not found."""
    frames_left_out: int
    """Labelled frames that were never looked at."""


def evaluate_poses(
    predictions: Sequence[str | os.PathLike[str]],
    truth: str | os.PathLike[str],
    *,
    kind: str | None = None,
    joints: str = "common13",
    threshold: float = 0.2,
    min_iou: float = 0.1,
    gamma: float = 0.18,
    outputs: Outputs | None = None,
) -> dict[str, Any]:
    """PCK, PCKh@0.5, PCKh@2.0 and MPJPE of every view, and the papers' two pictures.

    Clips go by name: a truth's clip is the shard's clip of that name, or the only one whose name ends in it
    (``folder/name``, ``name_rgb``); one clip and one truth belong together whatever their names. Truth in
    another size of picture (NTU's 1920 x 1080) is scaled to the clip's. People go by `match_to_truth`.
    A true person that a view did not find counts as all joints wrong for PCK and not at all for MPJPE;
    frames that were never looked at are left out for all views.

    Args:
        predictions: One shard, or SST-A npz files of one clip, one per expert.
        truth: See `skelkit.data.truth`.
        kind: The truth's format; None tells it by its name and content.
        joints: ``common13``, ``limbs12``, ``truth`` (the joints as labelled) or a joint set.
        threshold: Share of the torso's diagonal for PCK.
        min_iou: Box overlap above which a found person may stand for a true one.
        gamma: C below which poses count as discarded.
        outputs: Files to write.

    Returns:
        Plain values, ready for JSON; None where nothing could be measured.

    Raises:
        ConfigError: an option out of range, or outputs that these predictions cannot give.
        InputError: the truth cannot be read, or has nothing in common with the predictions.
        ShardError: not a whole shard.
        OutputError: an output exists or cannot be written.
    """
    outputs = outputs or Outputs()
    outputs.check()
    if not 0 <= gamma < 1:
        raise ConfigError(f"gamma: expected 0 to below 1, got {gamma}")
    skeleton = None if joints == "truth" else _JOINTS.get(joints) or get_skeleton(joints)
    truths = open_truth(truth, kind)
    with _open(predictions) as clips:
        named = _same_clips(list(clips), list(truths))
        if not named:
            raise InputError(
                f"expected clips with ground truth, found none: clips are {_some(clips)}, ground truth is of "
                f"{_some(truths)}; try extracting pictures one by one, with a glob such as 'images/*.jpg'"
            )
        first = next(iter(named.values()))
        skeleton = skeleton or truths[first]().poses.skeleton
        parts = [_pair(clips[clip](), truths[name](), skeleton, min_iou) for clip, name in named.items()]
    pairs = _joined(parts)
    if not len(pairs.truth):
        raise InputError("expected labelled people in the frames that were looked at, found none")
    report = {
        "joints": list(skeleton.joints),
        "threshold": threshold,
        "gamma": gamma,
        "clips": len(named),
        "clips_without_prediction": len(truths) - len(named),
        "frames_left_out": pairs.frames_left_out,
        "people": len(pairs.truth),
        "views": {view: _figures(pairs, view, skeleton, threshold, gamma) for view in pairs.found},
    }
    _write(report, pairs, gamma, outputs)
    return report


# Predictions


@contextmanager
def _open(paths: Sequence[str | os.PathLike[str]]) -> Iterator[_Clips]:
    """The predicted clips of a shard or of SST-A files."""
    files = [Path(p) for p in paths]
    if all(f.suffix.lower() == ".npz" for f in files):
        views = {f.stem: _npz_tracks(f) for f in files}
        if len(views) < len(files):
            raise ConfigError("expected SST-A files with different names: they name the experts")
        yield {files[0].stem: lambda: views}
    elif len(files) == 1:
        with ShardReader(files[0]) as reader:
            yield {name: partial(_views, reader, i) for i, name in enumerate(reader.video_ids)}
    else:
        raise ConfigError(f"expected one shard, or SST-A files (.npz) of one clip, got {_some(paths)}")


def _views(reader: ShardReader, index: int) -> dict[str, Tracks]:
    sequences = {POSES: reader[index]} | {name: reader.expert(name, index) for name in reader.experts}
    return {name: Tracks.of(sequence) for name, sequence in sequences.items()}


def _npz_tracks(path: Path) -> Tracks:
    """The one person of an SST-A file, without confidence."""
    keypoints = read_ssta_npz(path)
    if keypoints.shape[1] != COCO17.num_joints:
        raise InputError(
            f"{path}: expected the {COCO17.num_joints} joints of COCO, got {keypoints.shape[1]}", path=path
        )
    seen = _known(keypoints)
    step = np.flatnonzero(seen.any(axis=-1))
    return Tracks(
        skeleton=COCO17,
        person=np.zeros_like(step),
        step=step,
        keypoints=keypoints[step],
        scores=seen[step].astype(np.float32),
        confidence=np.full(len(step), np.nan, np.float32),
        track_ids=np.zeros(1, np.int64),
        frame_indices=np.arange(len(keypoints)),
        pts_s=np.arange(len(keypoints), dtype=np.float64),  # the format has no times, and none are needed
        video_id=path.stem,
        fps=0.0,
        image_size=(0, 0),
        sources=(path.stem,),
    )


def _same_clips(clips: Sequence[str], truths: Sequence[str]) -> dict[str, str]:
    """Name of the predicted clip -> name of its truth."""
    if len(clips) == len(truths) == 1:
        return {clips[0]: truths[0]}
    times = Counter(map(_short, clips))
    by_short = {_short(clip): clip for clip in clips if times[_short(clip)] == 1}
    known = set(clips)
    found = ((t if t in known else by_short.get(_short(t)), t) for t in truths)
    return {clip: t for clip, t in found if clip is not None}


def _short(name: str) -> str:
    """Without folders, and without what NTU appends to the names of its videos."""
    return PurePosixPath(name).name.removesuffix("_rgb")


def _some(names: Any) -> str:
    some = [repr(str(name)) for name in names]
    return ", ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")


# One clip


def _pair(views: dict[str, Tracks], true: TrueClip, skeleton: Skeleton, min_iou: float) -> _Pairs:
    """Every true person in a frame that was looked at, with what each view says of them."""
    # The files of one clip may differ in length: the longest knows what was looked at.
    frames = max((view.frame_indices for view in views.values()), key=len)
    image_size = next(iter(views.values())).image_size
    poses = true.poses
    looked = np.isin(poses.frame_indices, frames)
    factor = _factor(image_size, true.image_size)
    native, boxes = poses.keypoints[looked] * factor, poses.boxes_xyxy[looked] * np.tile(factor, 2)
    matches = {
        name: _match(view, poses.frame_indices[looked], boxes, min_iou) for name, view in views.items()
    }
    return _Pairs(
        truth=remap(native, poses.scores[looked], poses.skeleton, skeleton)[0],
        torso=torso_scale(native, poses.skeleton),
        head=head_scale(native, poses.skeleton),
        found={
            name: take_matched(remap(v.keypoints, v.scores, v.skeleton, skeleton)[0], matches[name])
            for name, v in views.items()
        },
        confidence={name: take_matched(v.confidence, matches[name]) for name, v in views.items()},
        frames_left_out=len(np.setdiff1d(poses.frame_indices, frames)),
    )


def _factor(image_size: tuple[int, int], labelled_in: tuple[int, int] | None) -> Float32:
    """(x, y) from the picture that was labelled to the one that was looked at."""
    if labelled_in is None or not all((*image_size, *labelled_in)):
        return np.ones(2, np.float32)
    return np.asarray([image_size[1] / labelled_in[1], image_size[0] / labelled_in[0]], np.float32)


def _match(view: Tracks, frames: Int64, boxes: Float32, min_iou: float) -> Int64:
    """(P,) the view's row for each true person, -1 where nobody fits; ``frames`` (P,) is ascending."""
    match = np.full(len(frames), -1, np.int64)
    found = extents(view.keypoints)
    row_frames = view.frame_indices[view.step]
    for frame in np.unique(frames):
        mine, rows = (slice(*np.searchsorted(f, (frame, frame + 1))) for f in (frames, row_frames))
        best = match_to_truth(found[rows], boxes[mine], min_iou=min_iou)
        match[mine] = np.where(best >= 0, best + rows.start, -1)
    return match


def _joined(parts: Sequence[_Pairs]) -> _Pairs:
    """All clips' people together."""
    views = parts[0].found
    return _Pairs(
        truth=np.concatenate([p.truth for p in parts]),
        torso=np.concatenate([p.torso for p in parts]),
        head=np.concatenate([p.head for p in parts]),
        found={v: np.concatenate([p.found[v] for p in parts]) for v in views},
        confidence={v: np.concatenate([p.confidence[v] for p in parts]) for v in views},
        frames_left_out=sum(p.frames_left_out for p in parts),
    )


# Figures


def _figures(pairs: _Pairs, view: str, skeleton: Skeleton, threshold: float, gamma: float) -> dict[str, Any]:
    """All measures of one view."""
    found, truth = pairs.found[view], pairs.truth
    visible, seen = _known(truth), _known(found)
    measures = {
        f"pck@{threshold:g}": pck(found, truth, scale=pairs.torso, visible=visible, threshold=threshold),
        "pckh@0.5": pck(found, truth, scale=pairs.head, visible=visible, threshold=0.5),
        "pckh@2.0": pck(found, truth, scale=pairs.head, visible=visible, threshold=2.0),
        "mpjpe_heads": mpjpe(found, truth, visible=visible, scale=pairs.head),
        "mpjpe_px": mpjpe(found, truth, visible=visible),
    }
    return {
        "people_found": float(seen.any(axis=-1).mean()),
        "joints_found": _number(seen[visible].mean() if visible.any() else math.nan),
        **{name: _plain(result, skeleton) for name, result in measures.items()},
        **_by_gamma(pairs, view, visible, gamma),
    }


def _plain(result: JointwiseResult, skeleton: Skeleton) -> dict[str, Any]:
    values = zip(skeleton.joints, result.per_joint.tolist(), strict=True)
    return {
        "overall": _number(result.overall),
        "counted": int(result.counted.sum()),
        "per_joint": {joint: _number(value) for joint, value in values},
    }


def _by_gamma(pairs: _Pairs, view: str, visible: Bool, gamma: float) -> dict[str, Any]:
    """What equation 3.3 keeps and discards; only the shard's result has C, experts are sure in other ways."""
    if view != POSES:
        return {}
    confidence = pairs.confidence[view]
    errors = pose_errors(pairs.found[view], pairs.truth, visible=visible, scale=pairs.head)
    known = np.isfinite(errors) & np.isfinite(confidence)
    parts = {"kept": known & (confidence >= gamma), "discarded": known & (confidence < gamma)}
    return {
        name: {
            "poses": int(part.sum()),
            "mpjpe_heads": float(errors[part].mean()) if part.any() else None,
        }
        for name, part in parts.items()
    }


def _known(points: Float32) -> Bool:
    """(..., K) which joints there are."""
    return np.asarray(np.isfinite(points).all(axis=-1))


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _write(report: dict[str, Any], pairs: _Pairs, gamma: float, outputs: Outputs) -> None:
    if outputs.confidence or outputs.histogram:
        if POSES not in pairs.found:
            raise ConfigError("expected a shard for the pictures: SST-A files hold no confidence")
        visible = _known(pairs.truth)
        errors = pose_errors(pairs.found[POSES], pairs.truth, visible=visible, scale=pairs.head)
        confidence = pairs.confidence[POSES].astype(np.float64)
        if outputs.confidence:
            plot_confidence(outputs.confidence, errors, confidence, gamma=gamma)
        if outputs.histogram:
            plot_histogram(outputs.histogram, errors, confidence, gamma=gamma)
    if outputs.json:
        write_whole(outputs.json, (json.dumps(report, indent=1) + "\n").encode())
