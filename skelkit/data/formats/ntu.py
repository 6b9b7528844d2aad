"""NTU RGB+D ``.skeleton`` files: text, one clip each, named ``SsssCcccPpppRrrrAaaa``.

Frame count; per frame the body count; per body 10 values, the joint count 25, and per joint x y z depthX
depthY colorX colorY qw qx qy qz state. Read are x y z in metres, or the places in the colour camera's picture
(`ReadOptions.dimensions` 2). A joint in state 0 was not tracked and is missing, one in state 1 (inferred)
scores 0.5. All bodies are kept; those that look like furniture are counted in the clip's detail, by the two
rules of the usual preprocessing: seen in at most 11 frames, or wider than tall most of the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from skelkit.data.formats.base import Format, Item, ReadOptions
from skelkit.data.formats.files import files_below, reading
from skelkit.data.formats.making import Known, from_frames, or_failed
from skelkit.data.formats.people import Frames, Person
from skelkit.skeletons import NTU25
from skelkit.structures import Float32, Int64

SUFFIX = ".skeleton"
PICTURE = (1080, 1920)
"""(H, W) of the colour camera."""
COLOUR = slice(5, 7)
"""Where the place in the colour picture stands among a joint's values."""

_EXPECTED = "an NTU RGB+D .skeleton file (frames, bodies, 25 joints of 12 numbers)"
_FPS = 30.0
_BODY = 10  # values that describe a body, before its joints
_JOINT = 12
_ACTION = re.compile(r"A(\d{3})$")
_NOISE_FRAMES = 11
_NOISE_WIDTH, _NOISE_SHARE = 0.8, 0.69754


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bodies:
    """P bodies in the frames of a file, in order."""

    num_frames: int
    frames: Int64
    """(P,) ascending."""
    ids: tuple[str, ...]
    """The camera's numbers of the bodies, of 17 digits."""
    joints: Float32
    """(P, 25, 12)."""


def parse(text: str) -> Bodies:
    """The content of a file.

    Raises:
        ValueError, IndexError: it is something else, or cut short.
    """
    words, k = text.split(), NTU25.num_joints
    frames: list[int] = []
    ids: list[str] = []
    bodies = [np.zeros((0, k, _JOINT), np.float32)]
    at, num_frames = 1, int(words[0])
    for frame in range(num_frames):
        count, at = int(words[at]), at + 1
        for _ in range(count):
            start = at + _BODY + 1
            if int(words[start - 1]) != k:
                raise ValueError(f"{words[start - 1]} joints")
            frames.append(frame)
            ids.append(words[at])
            at = start + k * _JOINT
            bodies.append(np.asarray(words[start:at], np.float32).reshape(1, k, _JOINT))
    return Bodies(
        num_frames=num_frames,
        frames=np.asarray(frames, np.int64),
        ids=tuple(ids),
        joints=np.concatenate(bodies),
    )


def read(paths: Sequence[Path], options: ReadOptions) -> Iterator[Item]:
    """Clips of ``.skeleton`` files; label A - 1 by the name. Lists of bad samples: `ReadOptions.skip`."""
    for path in (p for root in paths for p in files_below(root, f"*{SUFFIX}")):
        name = path.name.removesuffix(SUFFIX)
        if name not in options.skip:
            yield or_failed(name, path, partial(_clip, name, path, options))


def _clip(name: str, path: Path, options: ReadOptions) -> Item:
    with reading(path, _EXPECTED):
        data = path.read_bytes()
        bodies = parse(data.decode("ascii"))
        names = {body: i for i, body in enumerate(dict.fromkeys(bodies.ids))}
        ids = [names[body] for body in bodies.ids]
        flat = options.dimensions == 2
        values, states = bodies.joints[..., COLOUR if flat else slice(3)], bodies.joints[..., -1]
        seen = np.isfinite(values).all(axis=-1) & (states > 0)
        points = np.where(seen[..., None], values, np.float32(np.nan))
        scores = np.where(seen, np.where(states > 1, 1, 0.5), 0).astype(np.float32)
        frames = Frames([*range(bodies.num_frames)], [[] for _ in range(bodies.num_frames)])
        for i, frame in enumerate(bodies.frames.tolist()):
            frames.people[frame].append(Person(keypoints=points[i], scores=scores[i], track_id=ids[i]))
        action = _ACTION.search(name)
        known = Known(
            source=path,
            sha256=sha256(data).hexdigest(),
            image_size=PICTURE,
            fps=_FPS,
            label="" if not action or options.labels.names else action[0],
            label_index=int(action[1]) - 1 if action else -1,
            detail=_noise(np.asarray(ids, np.int64), bodies.joints),
        )
        return from_frames(name, frames, skeleton=NTU25, known=known, options=options)


def _noise(ids: Int64, joints: Float32) -> str:
    """How many bodies look like noise, in words."""
    count, noisy = int(ids.max(initial=-1)) + 1, 0
    for body in range(count):
        extent = np.ptp(joints[ids == body, :, :2], axis=1)  # (frames, x and y)
        wide = extent[:, 0] > _NOISE_WIDTH * extent[:, 1]
        noisy += len(extent) <= _NOISE_FRAMES or bool(wide.mean() >= _NOISE_SHARE)
    return f"{noisy} of {count} bodies look like noise" if noisy else ""


FORMAT = Format(read=read)
