"""Labelled pictures -> LCR-Net++: the supervised training of a student, with the regression."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.data.files import output_error
from skelkit.data.truth import Truth, open_truth
from skelkit.errors import ConfigError, InputError
from skelkit.experts import choose_device
from skelkit.experts.builtin import weights_of
from skelkit.experts.device_frames import torch_device
from skelkit.experts.lcrnet.anchors import cluster, pose_boxes, to_boxes
from skelkit.experts.lcrnet.expert import LCRNetExpert
from skelkit.experts.lcrnet.files import save_network
from skelkit.experts.lcrnet.learning import LearningSettings, learn
from skelkit.experts.lcrnet.network import LCRNet
from skelkit.experts.lcrnet.pictures import Labelled, Pictures, in_memory
from skelkit.experts.lcrnet.public import import_public
from skelkit.experts.picture_files import read_picture
from skelkit.metrics import match_to_truth, pck, take_matched, torso_scale
from skelkit.skeletons import LCR13, remap
from skelkit.structures import FrameBatch, Skeleton

__all__ = ["LearningSettings", "StudentSettings", "Tell", "import_student", "train_student"]

FOUND_IOU = 0.3
"""A person is found if some pose's box overlaps theirs by more."""
_PCK = 0.2
_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

Tell = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentSettings:
    """What a student is, and how it learns.

    Raises:
        ConfigError: a value outside its range.
    """

    backbone: str = "small"
    """See `skelkit.experts.lcrnet.network.BACKBONES`."""
    pretrained: bool = True
    """The small backbone begins as that of the built-in network that finds people."""
    anchors: int = 20
    """B, anchor poses."""
    regions: int = 512
    """Of a picture, that a loss is made of."""
    side: int = 320
    """Pixels of the longer side of the pictures that the network sees."""
    validation: float = 0.2
    """Share of the pictures that is not learnt from but measured on."""
    degrade: float = 0.0
    """Share of the pictures that are degraded as NTU-Pose was, each time anew."""
    learning: LearningSettings = field(default_factory=lambda: LearningSettings(backbone=0.1))
    """Where the backbone has learnt nothing yet, it learns as fast as the rest, whatever is said here."""

    @property
    def begins_learnt(self) -> bool:
        """Whether the backbone has learnt before: there are weights for the small one."""
        return self.pretrained and self.backbone == "small"

    def __post_init__(self) -> None:
        """Check."""
        if self.side < 32 or self.side % 32:
            raise ConfigError(f"side: expected a multiple of 32, got {self.side}")
        if not 0 <= self.validation < 1 or not 0 <= self.degrade <= 1:
            raise ConfigError(
                f"expected shares: validation below 1, degrade up to 1; got {self.validation}, {self.degrade}"
            )


def train_student(
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    output: Path,
    settings: StudentSettings,
    *,
    device: str = "cpu",
    tell: Tell = lambda epoch, losses: None,
) -> dict[str, Any]:
    """Train LCR-Net++ from labelled pictures.

    Args:
        images: Their folder.
        labels: What `skelkit.data.truth.open_truth` reads of pictures: COCO JSON or LSP npz. Pictures belong
            to labels by their names without extension.
        output: The student's file (``.safetensors``), appears when all is done.
        settings: How.
        device: Where; see `skelkit.experts.choose_device`.
        tell: Called after every epoch with its number and losses.

    Returns:
        How many pictures were learnt from and measured on, ``recall`` and ``pck`` there.

    Raises:
        InputError: no labelled pictures.
        ConfigError: too few poses for so many anchors.
    """
    every = labelled_pictures(Path(images), open_truth(labels))
    learnt, kept = split(every, settings.validation, settings.learning.seed)
    poses = np.concatenate([one.keypoints for one in learnt])
    anchors = cluster(to_boxes(poses, pose_boxes(poses)), settings.anchors, seed=settings.learning.seed)
    network = LCRNet.new(anchors, settings.backbone, seed=settings.learning.seed, regions=settings.regions)
    if settings.begins_learnt:
        network.backbone.load_state_dict(weights_of("people", within="trunk"))
    else:
        settings = replace(settings, learning=replace(settings.learning, backbone=1.0))
    figures = teach(network, LCR13, learnt, settings, device=device, tell=tell)
    report = {"learnt": len(learnt), "measured": len(kept), "losses": figures}
    report |= measure(network, LCR13, kept, settings.side)
    save_network(output, network, LCR13, facts(settings) | {"report": report})
    return report


def import_student(file: Path, output: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """A public LCR-Net++ checkpoint as a student's file; see `skelkit.experts.lcrnet.public`.

    Args:
        file: As its authors publish it (``.pkl``).
        output: The student's file (``.safetensors``).
        overwrite: Replace a file that is there.

    Returns:
        ``anchor_poses`` and ``joints``, how many.

    Raises:
        ConfigError: something is at `output`.
        WeightsError: not such a checkpoint.
        OutputError: it cannot be written.
    """
    if output.exists() and not overwrite:
        raise ConfigError(f"{output} exists; choose another name, or replace it with --overwrite")
    network, skeleton, known = import_public(file)
    try:
        save_network(output, network, skeleton, known)
    except OSError as error:
        raise output_error(error, output) from error
    return {"anchor_poses": network.num_anchors, "joints": skeleton.num_joints}


def teach(
    network: LCRNet,
    skeleton: Skeleton,
    learnt: Sequence[Labelled],
    settings: StudentSettings,
    *,
    device: str = "cpu",
    tell: Tell = lambda epoch, losses: None,
) -> dict[str, float]:
    """Train a network in place; returns the losses of the last epoch."""
    pictures = Pictures(
        [in_memory(one, settings.side) for one in learnt],
        skeleton,
        network.anchors.cpu().numpy(),
        side=settings.side,
        seed=settings.learning.seed,
        degrade=settings.degrade,
    )
    losses: dict[str, float] = {}
    for epoch, losses in enumerate(
        learn(network, pictures, settings.learning, torch_device(choose_device(device)))
    ):
        tell(epoch, losses)
    return losses


def measure(network: LCRNet, skeleton: Skeleton, labelled: Sequence[Labelled], side: int) -> dict[str, float]:
    """Share of people found, and PCK@0.2 of the torso; NaN without anybody to find."""
    expert = LCRNetExpert(
        "student", network, skeleton, side=side, device=network.anchors.device, batch_size=4, min_score=0.0
    )
    found, truth = [], []
    for one in labelled:
        image, there = one.read()[None], one.keypoints if one.sure is None else one.keypoints[one.sure]
        poses = expert.predict(FrameBatch(images=image, indices=np.zeros(1, np.int64), pts_s=np.zeros(1)))
        matches = match_to_truth(poses.boxes_xyxy, pose_boxes(there), min_iou=FOUND_IOU)
        found.append(take_matched(poses.keypoints, matches))
        truth.append(there)
    if not found:
        return {"recall": float("nan"), "pck": float("nan")}
    predicted, wanted = np.concatenate(found), np.concatenate(truth)
    known = np.asarray(np.isfinite(wanted).all(axis=-1))
    right = pck(predicted, wanted, scale=torso_scale(wanted, skeleton), visible=known, threshold=_PCK)
    return {"recall": float(np.isfinite(predicted).any(axis=(1, 2)).mean()), "pck": right.overall}


def labelled_pictures(images: Path, truth: Truth) -> list[Labelled]:
    """Pictures of a folder that somebody is labelled in, their joints as LCR-13.

    Raises:
        InputError: there is none.
    """
    files = {p.stem: p for p in sorted(images.rglob("*")) if p.suffix.lower() in _EXTENSIONS}
    found = []
    for name, read_labels in truth.items():
        path = files.get(name) or files.get(Path(name).name)
        if path is None:
            continue
        poses = read_labels().poses
        points, _ = remap(poses.keypoints, poses.scores, poses.skeleton, LCR13)
        points = points[np.isfinite(points).any(axis=(1, 2))]
        if len(points):
            found.append(Labelled(read=partial(read_picture, path), keypoints=points))
    if not found:
        raise InputError(
            f"expected pictures in {images} that the labels name, found none of {len(truth)}; pictures and "
            "labels go by the file's name without extension",
            path=images,
        )
    return found


def split(every: Sequence[Labelled], share: float, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Pictures to learn from, and pictures to measure on."""
    order = np.random.default_rng(seed).permutation(len(every))
    count = round(share * len(every))
    return [every[i] for i in sorted(order[count:])], [every[i] for i in sorted(order[:count])]


def facts(settings: StudentSettings) -> dict[str, Any]:
    """Of a student's file; ``side`` is needed to run it."""
    return {"side": settings.side, "settings": asdict(settings)}
