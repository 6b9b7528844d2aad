"""Pictures with labelled people, kept in one file of pixels that is mapped into memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from skelkit.errors import InputError
from skelkit.skeletons import get_skeleton
from skelkit.structures import Float32, Int64, UInt8

JOINTS = get_skeleton("posetrack17")
"""What the built-in experts find: the joints of LSP, and nose and ears."""
_PIXELS, _LABELS = "pixels.npy", "labels.npz"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One picture and its people."""

    picture: UInt8
    """(H, W, 3) RGB."""
    boxes: Float32
    """(P, 5) left, top, right, bottom and score."""
    joints: Float32
    """(P, K, 3) marked by people."""
    taught: Float32
    """(P, K, 3) found by another expert."""

    def shrunk(self, longest: int) -> Scene:
        """The same scene with sides of at most this many pixels."""
        scale = longest / max(self.picture.shape[:2])
        if scale >= 1:
            return self
        size = tuple(max(1, round(side * scale)) for side in self.picture.shape[1::-1])
        ratio = np.divide(size, self.picture.shape[1::-1])

        def moved(points: Float32, *, columns: int) -> Float32:
            scaled = points.copy()
            scaled[..., :columns] = (points[..., :columns] + 0.5) * np.tile(ratio, columns // 2) - 0.5
            return scaled

        return Scene(
            picture=np.asarray(cv2.resize(self.picture, size, interpolation=cv2.INTER_AREA), np.uint8),
            boxes=moved(self.boxes, columns=4),
            joints=moved(self.joints, columns=2),
            taught=moved(self.taught, columns=2),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenes:
    """Scenes read from a folder."""

    pixels: UInt8
    starts: Int64
    """(N + 1,) of each picture in `pixels`."""
    sizes: Int64
    """(N, 2) height and width."""
    first: Int64
    """(N + 1,) of each picture's people."""
    boxes: Float32
    joints: Float32
    taught: Float32

    @classmethod
    def read(cls, folder: Path) -> Scenes:
        """What `write_scenes` wrote.

        Raises:
            InputError: it is not there, or damaged.
        """
        try:
            with np.load(folder / _LABELS, allow_pickle=False) as labels:
                fields = {name: labels[name] for name in labels.files}
            return cls(pixels=np.load(folder / _PIXELS, mmap_mode="r"), **fields)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"expected labelled scenes in {folder}: {error}", path=folder) from error

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Scene:
        people = slice(self.first[index], self.first[index + 1])
        pixels = self.pixels[self.starts[index] : self.starts[index + 1]]
        return Scene(
            picture=pixels.reshape(*self.sizes[index], 3),
            boxes=self.boxes[people],
            joints=self.joints[people],
            taught=self.taught[people],
        )


def write_scenes(folder: Path, scenes: Iterable[Scene]) -> None:
    """Write scenes into a folder; they are only there once all of them are."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes, boxes, joints, taught = [], [], [], []
    begun = folder / (_PIXELS + ".part")
    with begun.open("wb") as raw:
        for scene in scenes:
            raw.write(scene.picture.tobytes())
            sizes.append(scene.picture.shape[:2])
            boxes.append(scene.boxes)
            joints.append(scene.joints)
            taught.append(scene.taught)
    areas = np.prod(np.asarray(sizes, np.int64).reshape(-1, 2), axis=1) * 3
    np.save(folder / _PIXELS, np.fromfile(begun, np.uint8))
    begun.unlink()
    none = np.empty((0, JOINTS.num_joints, 3), np.float32)
    np.savez(
        folder / _LABELS,
        starts=np.concatenate([[0], np.cumsum(areas)]).astype(np.int64),
        sizes=np.asarray(sizes, np.int64).reshape(-1, 2),
        first=np.concatenate([[0], np.cumsum([len(b) for b in boxes])]).astype(np.int64),
        boxes=np.concatenate([np.empty((0, 5), np.float32), *boxes]).astype(np.float32),
        joints=np.concatenate([none, *joints]).astype(np.float32),
        taught=np.concatenate([none, *taught]).astype(np.float32),
    )
