"""Clips as a network takes them: a torch Dataset over a dataset folder or a shard, and its batches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from skelkit.data.choosing import FillRule, PersonSelection, fill_missing
from skelkit.data.dataset import DatasetReader, open_clips
from skelkit.data.pose_table import DensePoses
from skelkit.data.reader import ShardReader
from skelkit.data.sampling import FrameSampler, UniformSegments
from skelkit.data.streams import Stream, bones, motion
from skelkit.data.transforms import Augmentation, centre_of, mirror, normalise
from skelkit.errors import ConfigError
from skelkit.skeletons import recipe
from skelkit.structures import Bool, ClipBatch, Float32, Int64, Skeleton


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipInput:
    """How a clip becomes an array; the steps are taken in this order.

    Raises:
        ConfigError: an unknown rule or stream.
    """

    people: PersonSelection = field(default_factory=PersonSelection)
    missing: FillRule = "zero"
    frames: FrameSampler = field(default_factory=lambda: UniformSegments(length=64))
    centre: str | None = None
    """Joint that is the origin, as it is first (`centre_of`); None = coordinates stay where they are."""
    normalise: bool = True
    """2-D: in half widths of the picture, from its middle or, if centred, from the joint (`normalise`)."""
    augment: tuple[Augmentation, ...] = ()
    """In training only."""
    mirror: bool = False
    """In a test only: what is seen is also seen in a mirror."""
    stream: Stream = "joint"

    @property
    def test_clips(self) -> int:
        """How many clips a test makes of one; a network's answers for them are averaged."""
        return self.frames.num_clips * (1 + self.mirror)

    def __post_init__(self) -> None:
        """Check."""
        for what, value, known in (
            ("missing", self.missing, get_args(FillRule)),
            ("stream", self.stream, get_args(Stream)),
        ):
            if value not in known:
                raise ConfigError(f"ClipInput.{what}: expected one of {', '.join(known)}, got {value!r}")

    def check(self, skeleton: Skeleton, dimensions: int) -> None:
        """Raise ConfigError where clips of this kind cannot be brought into this form."""
        if self.normalise and dimensions != 2:
            raise ConfigError(f"expected 2-D keypoints to normalise, got {dimensions}-D; try normalise=False")
        if self.centre is not None and recipe(self.centre, skeleton) is None:
            raise ConfigError(f"{skeleton.name} has no {self.centre!r}, nor what it could be made of")

    def __call__(
        self, clips: DensePoses, skeleton: Skeleton, chances: Sequence[np.random.Generator | None]
    ) -> list[tuple[Float32, Bool]]:
        """Make it.

        Args:
            clips: B of them, of the chosen `people`.
            skeleton: Their joint set.
            chances: B of them; None = as in a test.

        Returns:
            For each keypoints (num_clips, M, L, K, C), 0 where there is none, and visible (num_clips, M, L,
            K): seen, not filled in. A clip without frames is treated as one frame without people.
        """
        columns = clips.keypoints, clips.visible, clips.num_frames, clips.image_sizes
        return [
            self.from_dense(points[:, :frames], visible[:, :frames], image_size, skeleton, rng)
            for points, visible, frames, image_size, rng in zip(*columns, chances, strict=True)
        ]

    def from_dense(
        self,
        points: Float32,
        visible: Bool,
        image_size: tuple[int, int],
        skeleton: Skeleton,
        rng: np.random.Generator | None,
    ) -> tuple[Float32, Bool]:
        """The same of one clip.

        Args:
            points: (M, T, K, C) the chosen people; 0 where not visible.
            visible: (M, T, K).
            image_size: H, W.
            skeleton: Their joint set.
            rng: None = as in a test.
        """
        if not points.shape[1]:
            points = np.zeros((len(points), 1, *points.shape[2:]), np.float32)
            visible = np.zeros(points.shape[:-1], bool)
        points, known = fill_missing(points, visible, self.missing)
        masks = np.stack([known, visible], axis=-1)
        origin = centre_of(points, known, skeleton, self.centre) if self.centre is not None else None

        frames = self.frames(points.shape[1], rng)
        at = frames.ravel()
        moving = self.stream.endswith("motion")
        if moving:
            at = np.concatenate([at, np.minimum(at + 1, points.shape[1] - 1)])
        points, masks = points.take(at, axis=1), masks.take(at, axis=1)
        if origin is not None:
            points = points - origin
        if self.normalise and masks.any():
            points = normalise(points, image_size, centred=origin is not None)
        people = len(points)
        if rng is not None:
            for change in self.augment:
                points, masks = change(points, masks, skeleton, rng)
        elif self.mirror:  # as further people, whom nothing below mixes
            in_mirror = mirror(points, masks, skeleton)
            points, masks = np.concatenate([points, in_mirror[0]]), np.concatenate([masks, in_mirror[1]])
        if self.stream.startswith("bone"):
            points, masks = bones(points, masks, skeleton)
        if moving:
            points, masks = motion(points, masks)
        points = points * masks[..., :1]
        shape = -1, people, *frames.shape, points.shape[2]

        def by_clip(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            clips = values.reshape(*shape, *values.shape[3:]).swapaxes(1, 2)  # (ways, num_clips, M, ...)
            return np.ascontiguousarray(clips.reshape(-1, *clips.shape[2:]))

        return by_clip(points), by_clip(masks[..., 1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipSample:
    """One clip, ready to be put into a batch (`collate`)."""

    keypoints: Float32
    """(num_clips, M, L, K, C)."""
    visible: Bool
    """(num_clips, M, L, K)."""
    label: int


class SkeletonDataset(Dataset[ClipSample]):
    """Random access to clips for training or testing.

    The same seed, epoch and number give the same sample, in whichever process. Files are opened where a
    clip is first asked for, so that a dataset may be handed to workers that are forked or spawned.

    Args:
        path: A dataset folder, or one shard.
        inputs: How a clip becomes an array.
        training: Whether frames are chosen and clips changed at random.
        split: Only clips of this split; None = all.
        seed: Another seed is another chance.

    Raises:
        ShardError: nothing readable there.
        ConfigError: no such split, or clips that cannot be brought into this form.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        inputs: ClipInput,
        *,
        training: bool,
        split: str | None = None,
        seed: int = 0,
    ) -> None:
        self.path = Path(path)
        self.inputs = inputs
        self.training = training
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers see it move on
        self._source: DatasetReader | ShardReader | None = None
        self._process = os.getpid()
        with open_clips(self.path) as source:
            inputs.check(source.skeleton, source.dimensions)
            splits, labels = source.column("split"), source.column("label_index")
        self.skeleton: Skeleton = source.skeleton
        self.positions: Int64 = np.arange(len(splits)) if split is None else np.flatnonzero(splits == split)
        """Of every sample, in the dataset or shard."""
        if split is not None and not len(self.positions):
            known = ", ".join(map(repr, sorted(set(splits.tolist()))))
            raise ConfigError(f"{self.path} has no split {split!r}; it has {known}")
        self.labels: Int64 = labels[self.positions].astype(np.int64)
        """Of every sample; -1 = none."""

    def set_epoch(self, epoch: int) -> None:
        """Samples from now on are those of this epoch, also in workers that persist."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> ClipSample:
        """A clip as the network sees it."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[ClipSample]:
        """Some clips, in one go; a DataLoader asks for its batches so."""
        if bad := [i for i in indices if not -len(self) <= i < len(self)]:
            raise IndexError(f"expected the number of one of {len(self)} clips, got {bad[0]}")
        if self._source is None or self._process != os.getpid():  # what is open is the parent's
            self._source, self._process = open_clips(self.path), os.getpid()
        at, epoch = [i % len(self) for i in indices], int(self._epoch)
        clips = self._source.read_dense(self.positions[at].tolist(), people=self.inputs.people)
        chances = [np.random.default_rng((self.seed, epoch, i)) if self.training else None for i in at]
        made = self.inputs(clips, self.skeleton, chances)
        return [
            ClipSample(keypoints=keypoints, visible=visible, label=label)
            for (keypoints, visible), label in zip(made, self.labels[at].tolist(), strict=True)
        ]

    def column(self, name: str) -> npt.NDArray[Any]:
        """What the index says of every sample (`INDEX_COLUMNS`)."""
        with open_clips(self.path) as source:
            return source.column(name)[self.positions]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_source": None}


def collate(samples: Sequence[ClipSample]) -> ClipBatch:
    """Samples as a batch; the clips of one sample stand next to each other, each with its label.

    Raises:
        ConfigError: samples of different lengths.
    """
    if len(shapes := {sample.keypoints.shape for sample in samples}) != 1:
        lengths = sorted({shape[2] for shape in shapes})
        raise ConfigError(
            f"expected clips of one length in a batch, got {lengths} frames; try FullClip(length=...), or "
            "batches of one clip"
        )
    labels = torch.tensor([sample.label for sample in samples])
    return ClipBatch(
        keypoints=torch.from_numpy(np.concatenate([sample.keypoints for sample in samples])),
        visible=torch.from_numpy(np.concatenate([sample.visible for sample in samples])),
        labels=labels.repeat_interleave(len(samples[0].keypoints)),
    )
