"""Ground truth of other data sets: where people's joints really are, clip by clip.

Four formats (FORMATS): COCO keypoints JSON; LSP as an npz of ``joints`` (N, 14, 3) = x, y, visible and
``names`` (optional ``joint_order``, ``image_size_wh``); NTU RGB+D ``.skeleton``, of which the colour camera's
coordinates are read; SST-A npz. A clip of pictures is one picture each, as frame 0.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from skelkit.data.formats.files import read_npz
from skelkit.data.formats.ntu import COLOUR, PICTURE, parse
from skelkit.data.ssta_npz import KEY, read_ssta_npz
from skelkit.errors import ConfigError, InputError
from skelkit.geometry import extents
from skelkit.skeletons import COCO17, LSP14, NTU25, SKELETONS
from skelkit.structures import Bool, Float32, Int64, Poses, Skeleton

FORMATS = ("coco", "lsp", "ntu", "ssta")

_OTHER_NAMES = {"head_bottom": "neck", "top_head": "head_top"}
"""Joints that COCO-like files call otherwise (PoseTrack, CrowdPose)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrueClip:
    """The people of one clip as they were labelled."""

    poses: Poses
    """NaN = not labelled. Boxes are the labelled ones, or the extents of the labelled joints."""
    image_size: tuple[int, int] | None
    """(H, W) of the picture that the coordinates lie in; None where the format does not say."""


Truth = Mapping[str, Callable[[], TrueClip]]
"""Clips by name (the file's, without extension), each read when called."""


def open_truth(path: str | os.PathLike[str], kind: str | None = None) -> Truth:
    """Ground truth of a file, or of a folder of ``.skeleton`` or SST-A files.

    Args:
        path: The file or folder.
        kind: One of `FORMATS`; None tells it by extension and content.

    Raises:
        ConfigError: no known format.
        InputError: the file does not exist, or is not of this format; also when a clip is read.
    """
    if kind not in (None, *FORMATS):
        raise ConfigError(f"expected a format among {', '.join(FORMATS)}, got {kind!r}")
    source = Path(path)
    if not source.exists():
        raise InputError(f"expected ground truth at {path}, found nothing; try checking the path", path=path)
    match kind or _guess(source):
        case "coco":
            return _read_coco(source)
        case "lsp":
            return _read_lsp(source)
        case "ntu":
            return {p.stem: partial(_read_ntu, p) for p in _files(source, ".skeleton")}
        case _:
            return {p.stem: partial(_read_ssta, p) for p in _files(source, ".npz")}


def _guess(path: Path) -> str:
    """The format, by extension; npz files by what is in them."""
    folder = path.is_dir()
    extensions = {p.suffix.lower() for p in (path.iterdir() if folder else [path])}
    if ".skeleton" in extensions:
        return "ntu"
    if ".json" in extensions and not folder:
        return "coco"
    if ".npz" in extensions:
        return "ssta" if folder or read_npz(path, (KEY,), "an npz file") else "lsp"
    raise ConfigError(
        f"expected ground truth as .json (COCO), .npz (LSP or SST-A) or .skeleton (NTU), got {path}; "
        "try --format"
    )


def _files(path: Path, extension: str) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(p for p in path.iterdir() if p.suffix.lower() == extension)
    if not files:
        raise InputError(f"expected {extension} files in {path}, found none", path=path)
    return files


def _clip(
    skeleton: Skeleton,
    frames: Int64,
    keypoints: Float32,
    labelled: Bool,
    *,
    size: tuple[int, int] | None,
    boxes: Float32 | None = None,
) -> TrueClip:
    """Poses (P, K, 2) in ascending frames, without what is not labelled."""
    points = np.where(labelled[..., None], keypoints, np.nan).astype(np.float32)
    around = extents(points).astype(np.float32)
    known = np.full_like(around, np.nan) if boxes is None else boxes
    poses = Poses(
        skeleton=skeleton,
        frame_indices=frames,
        boxes_xyxy=np.where(np.isnan(known), around, known),
        box_scores=np.ones(len(points), np.float32),
        keypoints=points,
        scores=labelled.astype(np.float32),
    )
    return TrueClip(poses=poses, image_size=size)


# COCO


def _read_coco(path: Path) -> Truth:
    """Pictures by file name without extension; people without a labelled joint and crowds are left out."""
    try:
        data = json.loads(path.read_text("utf-8"))
        skeleton = _coco_skeleton(data.get("categories") or [])
        people: dict[Any, list[Any]] = {image["id"]: [] for image in data["images"]}
        for person in data["annotations"]:
            if any(person.get("keypoints", ())[2::3]) and not person.get("iscrowd"):
                people[person["image_id"]].append(person)
        return {
            str(PurePosixPath(image["file_name"]).with_suffix("")): partial(
                _coco_picture, path, skeleton, image, people[image["id"]]
            )
            for image in data["images"]
        }
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", path=path) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_coco(path, error) from error


def _coco_picture(path: Path, skeleton: Skeleton, image: dict[str, Any], people: list[Any]) -> TrueClip:
    try:
        joints = np.asarray([p["keypoints"] for p in people], np.float32).reshape(
            len(people), skeleton.num_joints, 3
        )
        boxes = np.asarray([p.get("bbox") or (np.nan,) * 4 for p in people], np.float32).reshape(-1, 4)
        size = (int(image["height"]), int(image["width"])) if "height" in image else None
    except (ValueError, KeyError, TypeError) as error:
        raise _not_coco(path, error) from error
    boxes[:, 2:] += boxes[:, :2]
    frames = np.zeros(len(people), np.int64)
    return _clip(skeleton, frames, joints[..., :2], joints[..., 2] > 0, size=size, boxes=boxes)


def _coco_skeleton(categories: Iterable[dict[str, Any]]) -> Skeleton:
    """The joint set that the file names; COCO-17 where it names none."""
    named = next((c["keypoints"] for c in categories if c.get("keypoints")), None)
    if named is None:
        return COCO17
    plain = (str(name).strip().lower().replace(" ", "_") for name in named)
    joints = tuple(_OTHER_NAMES.get(name, name) for name in plain)
    known = (s for s in SKELETONS.values() if s.joints == joints)
    return next(known, None) or Skeleton(name="coco_json", joints=joints)


def _not_coco(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: expected COCO keypoints JSON (images, annotations with keypoints x, y, v per joint), "
        f"got something else ({type(error).__name__}: {error})",
        path=path,
    )


# LSP


def _read_lsp(path: Path) -> Truth:
    arrays = read_npz(path, ("joints", "names", "joint_order", "image_size_wh"), "an npz file")
    joints, names = arrays.get("joints"), arrays.get("names")
    order = tuple(str(j) for j in arrays.get("joint_order", LSP14.joints))
    wanted = None if names is None else (len(names), len(order), 3)
    if joints is None or names is None or joints.shape != wanted:
        got = ", ".join(f"{n} {a.shape}" for n, a in arrays.items()) or "none of these"
        raise InputError(
            f"{path}: expected LSP as npz with joints (N, {len(order)}, 3) and names (N,), got {got}",
            path=path,
        )
    skeleton = LSP14 if order == LSP14.joints else Skeleton(name="lsp_npz", joints=order)
    sizes = arrays.get("image_size_wh")

    def picture(i: int) -> TrueClip:
        size = None if sizes is None else (int(sizes[i][1]), int(sizes[i][0]))
        person = joints[i : i + 1].astype(np.float32)
        return _clip(skeleton, np.zeros(1, np.int64), person[..., :2], person[..., 2] > 0, size=size)

    return {PurePosixPath(str(name)).stem: partial(picture, i) for i, name in enumerate(names)}


# NTU RGB+D


def _read_ntu(path: Path) -> TrueClip:
    """Colour coordinates of every body; joints that the camera did not track (state 0) are missing."""
    try:
        bodies = parse(path.read_text("ascii"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", path=path) from error
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path}: expected an NTU RGB+D .skeleton file (frames, bodies, 25 joints of 12 numbers), got "
            f"something else, or the file is cut short ({error})",
            path=path,
        ) from error
    colour = bodies.joints[..., COLOUR]
    tracked = np.isfinite(colour).all(axis=-1) & (bodies.joints[..., -1] > 0)
    return _clip(NTU25, bodies.frames, colour, tracked, size=PICTURE)


# SST-A


def _read_ssta(path: Path) -> TrueClip:
    keypoints = read_ssta_npz(path)
    labelled = np.asarray(np.isfinite(keypoints).all(axis=-1))
    seen = np.flatnonzero(labelled.any(axis=-1))
    if keypoints.shape[1] != COCO17.num_joints:
        raise InputError(
            f"{path}: expected the {COCO17.num_joints} joints of COCO, got {keypoints.shape[1]}", path=path
        )
    return _clip(COCO17, seen, keypoints[seen], labelled[seen], size=None)
