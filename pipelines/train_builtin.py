"""Photographs of people -> the weights and cards of the built-in experts.

Labels are what people marked in LSP-extended, and what other experts find there and in further pictures and
videos. Pictures of LSP-extended whose number ends in 7 are held out: what is measured is measured on them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skelkit.errors import ConfigError, VideoError
from skelkit.experts import build_detector, build_expert, choose_device
from skelkit.experts.builtin import build_from
from skelkit.experts.builtin.training.fit import Fit, Told
from skelkit.experts.builtin.training.lessons import BATCH, SIDES, Net, teach, write_weights
from skelkit.experts.builtin.training.scenes import JOINTS, Scene, Scenes, write_scenes
from skelkit.experts.builtin.training.teaching import Teachers, lspet
from skelkit.experts.builtin.training.views import CROP_SCALE
from skelkit.experts.cards import Calibration, Card
from skelkit.experts.device_frames import torch_device
from skelkit.experts.picture_files import read_picture
from skelkit.metrics import match_to_truth, take_matched, torso_scale
from skelkit.protocols import PoseExpert
from skelkit.skeletons import LIMB_JOINTS
from skelkit.structures import Bool, Detections, Float64, FrameBatch
from skelkit.video import find_sources, open_video

if TYPE_CHECKING:
    from torch import nn

HELD_OUT = 7
"""Last digit of the numbers of the pictures that are not trained on."""
_CLIP_FRAMES = 20
"""About so many frames of a clip are labelled."""
_BINS = 8
"""Of a calibration curve."""
_RIGHT = 0.2
"""Torso lengths within which a joint is right."""
_OVERLAP = 0.3
"""IoU of boxes that makes a person found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schooling:
    """Where everything is, and how long to train."""

    work: Path
    """Labelled scenes and the states of trainings: what is there is not made again."""
    output: Path
    """Folder for NAME.safetensors and NAME.json."""
    lspet: Path
    more: tuple[Path, ...] = ()
    """Pictures and videos that nobody labelled: files, folders."""
    detector: str = "yolox_nano"
    teacher: str = "movenet"
    weights: Path | None = None
    epochs: float = 40
    """Times the marked pictures are seen."""
    minutes: float = math.inf
    """Of training, where that is less: the schedule is then run through faster."""
    device: str = "auto"
    threads: int | None = None
    """Of a CPU; None = all."""
    seed: int = 0


def train_builtin(net: Net, settings: Schooling, told: Told) -> dict[str, Any]:
    """Train one of the built-in experts from nothing, measure it, and write its weights and card.

    A training that was broken off goes on. The people network begins with the trunk of the pose network
    where that has been trained in the same folder.

    Returns:
        What the card says was measured.

    Raises:
        ConfigError: a setting out of range.
        InputError: pictures or labels that cannot be read.
        WeightsError: the detector's or the teacher's weights are not to be had.
    """
    if not settings.epochs > 0:
        raise ConfigError(f"epochs: expected more than 0, got {settings.epochs}")
    _label(settings)
    marked, more = (Scenes.read(settings.work / name) for name in ("marked", "more"))
    plan = Fit(
        steps=math.ceil(settings.epochs * len(marked) / BATCH[net]),
        checkpoint=settings.work / f"{net}.pt",
        minutes=settings.minutes,
    )
    trained, step = teach(
        net,
        marked,
        more,
        plan,
        seed=settings.seed,
        trunk=settings.work / "pose.pt",
        place=torch_device(choose_device(settings.device, settings.threads)),
        told=told,
    )
    recipe = {
        "command": f"skelkit train-expert {net}",
        "steps": step,
        "pictures_per_step": BATCH[net],
        "marked_pictures": len(marked),
        "labelled_pictures": len(more),
        "teachers": [settings.detector, settings.teacher],
        "seed": settings.seed,
    }
    return write_expert(net, trained, settings, recipe)


def write_expert(net: Net, trained: nn.Module, settings: Schooling, recipe: dict[str, Any]) -> dict[str, Any]:
    """Weights in half precision, and the card: calibrated and measured on the pictures held out."""
    settings.output.mkdir(parents=True, exist_ok=True)
    path = settings.output / f"{net}.safetensors"
    write_weights(path, trained)
    card = _card(net, hashlib.sha256(path.read_bytes()).hexdigest()).beside(settings.output)
    held = Scenes.read(settings.work / "held")
    device = choose_device(settings.device, settings.threads)
    every_second = range(0, len(held), 2)
    raw, right, _ = judge(build_from(card, device), (held[i] for i in every_second))
    card = card.model_copy(update={"calibration": calibration(raw[raw > 0], right[raw > 0])})
    scores, right, found = judge(build_from(card, device), (held[i] for i in range(1, len(held), 2)))
    measured = {
        "pictures": f"LSP-extended, numbers ending in {HELD_OUT}, every second one",
        "joints": len(right),
        "pck_0.2_torso": round(float(right.mean()), 4),
        "people_found": round(found, 4),
        "mean_score": round(float(scores.mean()), 4),
    }
    written = {"card": card.model_dump(mode="json"), "trained": recipe, "measured": measured}
    (settings.output / f"{net}.json").write_text(json.dumps(written, indent=2) + "\n", "utf-8")
    return measured


def judge(expert: PoseExpert, scenes: Iterable[Scene]) -> tuple[Float64, Bool, float]:
    """How an expert does on the first person of every scene, top-down ones on the true boxes.

    Returns:
        Of all limb joints marked, of people with a torso: scores (0 = not found) and whether they are right;
        and the share of people found.
    """
    at = [JOINTS.index(name) for name in LIMB_JOINTS]
    scores, right, hits = [], [], []
    for scene in scenes:
        frames = FrameBatch(images=scene.picture[None], indices=np.zeros(1, np.int64), pts_s=np.zeros(1))
        box = scene.boxes[:1, :4]
        people = Detections(
            frame_indices=np.zeros(1, np.int64), boxes_xyxy=box, box_scores=np.ones(1, np.float32)
        )
        poses = expert.predict(frames, people if expert.kind == "top-down" else None)
        match = match_to_truth(poses.boxes_xyxy, box, min_iou=_OVERLAP)
        found = np.concatenate([poses.keypoints, poses.scores[..., None]], axis=2)
        found = take_matched(found, match)[0]
        truth = np.where(scene.joints[0, :, 2:] > 0, scene.joints[0, :, :2], np.nan)
        torso = torso_scale(truth[None], JOINTS)[0]
        error = np.linalg.norm(found[at, :2] - truth[at], axis=1) / torso
        counts = np.isfinite(truth[at, 0]) & np.isfinite(torso)
        right.append(error[counts] < _RIGHT)  # False for NaN
        scores.append(np.nan_to_num(found[at, 2])[counts])
        hits.append(match[0] >= 0)
    return np.concatenate(scores).astype(np.float64), np.concatenate(right), float(np.mean(hits))


def calibration(raw: Float64, right: Bool) -> Calibration:
    """The curve from raw scores to the share of joints that are right, through equally filled bins.

    The plain one where nothing was found.
    """
    if not len(raw):
        return Calibration()
    from scipy.optimize import isotonic_regression

    bins = [b for b in np.array_split(np.argsort(raw), _BINS) if len(b)]
    means = np.asarray([raw[b].mean() for b in bins])
    shares = isotonic_regression([right[b].mean() for b in bins], weights=[len(b) for b in bins]).x
    knots = np.unique(means.round(3))
    knots = knots[(knots > 0) & (knots < 1)]
    score = np.interp(knots, means, shares).round(2)
    last = max(1.0, float(score[-1]))
    return Calibration(raw=(0.0, *knots.tolist(), 1.0), score=(0.0, *score.tolist(), last))


def _card(net: Net, sha256: str) -> Card:
    common = {"layout": "NCHW", "channels": "RGB"}
    side = SIDES[net][1]
    if net == "pose":
        kind, summary = "top-down", "Poses in person crops; nothing to download"
        shape: dict[str, Any] = {"fit": "crop", "crop_scale": CROP_SCALE, "width": side, "height": side}
        decoder: dict[str, Any] = {"type": "heatmap", "layout": "NCHW", "offset": 0.375}
    else:
        kind, summary = (
            "one-stage",
            "People and their poses in whole frames, also a detector; nothing to download",
        )
        shape = {"fit": "height", "width": side, "height": side}
        decoder = {"type": "one-stage", "min_score": 0.3, "nms_iou": 0.6}
    return Card.model_validate(
        {
            "name": f"builtin_{net}",
            "kind": kind,
            "summary": summary,
            "licence": "Apache-2.0",
            "source": "trained by `skelkit train-expert` on Leeds Sports Pose Extended (Johnson and "
            "Everingham, CVPR 2011) and on what other experts find in it",
            "verified": True,
            "joints": JOINTS.name,
            "weights": {"file": f"{net}.safetensors", "sha256": sha256},
            "input": common | shape,
            "decoder": decoder,
        }
    )


def _label(settings: Schooling) -> None:
    """The three sets of scenes, made where they are missing."""
    wanted = [n for n in ("marked", "held", "more") if not (settings.work / n / "labels.npz").exists()]
    if not wanted:
        return
    device = choose_device(settings.device, settings.threads)
    teachers = Teachers(
        detector=build_detector(settings.detector, device=device, weights=settings.weights),
        poses=build_expert(settings.teacher, device=device, weights=settings.weights),
    )
    paths, joints, numbers = lspet(settings.lspet)
    held = numbers % 10 == HELD_OUT
    for name, rows in (("marked", ~held), ("held", held)):
        if name in wanted:
            some = np.flatnonzero(rows)
            scenes = (teachers.marked_scene(read_picture(paths[i]), joints[i]) for i in some)
            write_scenes(settings.work / name, scenes)
    if "more" in wanted:
        scenes = (teachers.scene(picture) for picture in _pictures(settings.more))
        write_scenes(settings.work / "more", scenes)


def _pictures(paths: Sequence[Path]) -> Iterator[Any]:
    """Frames of clips and pictures, those that can be read."""
    for source in find_sources(paths) if paths else ():
        try:
            with open_video(source) as reader:
                count = reader.info.num_frames or _CLIP_FRAMES
            with open_video(source, stride=max(1, count // _CLIP_FRAMES)) as reader:
                for batch in reader.batches(1):
                    yield batch.images[0].copy()
        except VideoError:
            continue  # its frames up to there have been taken
