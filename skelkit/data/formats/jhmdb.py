"""JHMDB ground truth as npz: the clips of one split in arrays.

``poses`` float32 (frames, 15, 2), ``offsets`` (clips + 1,), ``labels`` (clips,) index into ``label_names``,
``joint_order``, ``clip_uid`` (clips,), in files ``gt_<split>_<n>.npz``. The units are JHMDB's ``pos_world``:
x = (px / 320 - 0.5) (320 / 240) / s, y = (py / 240 - 0.5) / s, with a scale s of each person that the files
do not tell. Pixels of the 320 x 240 picture are taken at s = 1: shapes are true, people are larger than they
were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.data.folder import sha256_of
from skelkit.data.formats.base import Format, Item, ReadOptions
from skelkit.data.formats.files import files_below, read_npz, reading
from skelkit.data.formats.making import Known, from_arrays, or_failed
from skelkit.skeletons import JHMDB15

PICTURE = (240, 320)

_EXPECTED = "JHMDB as npz (poses, offsets, labels, label_names, joint_order, clip_uid)"
_ARRAYS = ("poses", "offsets", "labels", "label_names", "joint_order", "clip_uid")
_FPS = 30.0
_OTHER_NAMES = {"face": "head"}


def read(paths: Sequence[Path], options: ReadOptions) -> Iterator[Item]:
    """Clips of npz files; the split is the second word of the file's name."""
    for path in (p for root in paths for p in files_below(root, "*.npz")):
        yield from _read_file(path, options)


def _read_file(path: Path, options: ReadOptions) -> Iterator[Item]:
    arrays = read_npz(path, _ARRAYS, _EXPECTED)
    with reading(path, _EXPECTED):
        poses, offsets = arrays["poses"], arrays["offsets"].astype(np.int64)
        joints = tuple(_OTHER_NAMES.get(str(j), str(j)) for j in arrays["joint_order"])
        if joints != JHMDB15.joints or poses.shape[1:] != (len(joints), 2):
            raise ValueError(f"poses {poses.shape} of the joints {', '.join(joints)[:200]}")
        if offsets[0] != 0 or offsets[-1] != len(poses) or (np.diff(offsets) < 0).any():
            raise ValueError("offsets that do not cut the poses into clips")
        words = path.stem.split("_")
        known = Known(
            source=path,
            sha256=sha256_of(path),
            image_size=PICTURE,
            fps=_FPS,
            split=words[1] if len(words) > 1 else "",
        )
        uids, labels, names = (arrays[name].tolist() for name in ("clip_uid", "labels", "label_names"))
        if not len(uids) == len(labels) == len(offsets) - 1:
            raise ValueError(f"{len(uids)} clips, {len(labels)} labels, {len(offsets)} offsets")
        if labels and not 0 <= min(labels) <= max(labels) < len(names):
            raise ValueError(f"labels {min(labels)} to {max(labels)} of {len(names)}")
    if options.splits and known.split and known.split not in options.splits:
        return
    for i, uid in enumerate(uids):
        name = f"jhmdb-{uid:04d}" if isinstance(uid, int) else f"jhmdb-{path.stem}-{i}"
        if name not in options.skip:
            mine = replace(known, label=str(names[labels[i]]), label_index=labels[i])
            clip = partial(_clip, name, poses[offsets[i] : offsets[i + 1]], mine, options)
            yield or_failed(name, path, clip)


def _clip(name: str, poses: npt.NDArray[Any], known: Known, options: ReadOptions) -> Item:
    with reading(known.source, _EXPECTED):
        height, width = PICTURE
        pixels = poses.astype(np.float32) * height + np.asarray([width / 2, height / 2], np.float32)
        return from_arrays(
            name,
            pixels[None],
            np.ones((1, *pixels.shape[:2]), np.float32),
            skeleton=JHMDB15,
            known=known,
            options=options,
        )


FORMAT = Format(read=read)
