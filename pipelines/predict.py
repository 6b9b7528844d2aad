"""A trained model on clips or videos that nobody has labelled."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skelkit.data import ShardWriter
from skelkit.data.dataset import INFO_FILE, open_clips
from skelkit.errors import ConfigError, OutputError
from skelkit.pipelines.aggregate import ALL_JOINTS
from skelkit.pipelines.extract import Step, extract, plan
from skelkit.pipelines.recipes import model_folder, recipe_of, same_joints
from skelkit.pipelines.settings import ExtractSettings
from skelkit.pipelines.test import measure
from skelkit.skeletons import recipe as joint_recipe
from skelkit.skeletons import remap
from skelkit.structures import Skeleton, SkeletonSequence
from skelkit.training import choose_device, complain

if TYPE_CHECKING:
    from skelkit.models import ModelCard

Show = Callable[[str, int, int | None], None]
"""Told of progress: what is counted (``frames``, ``clips``), how many are done, of how many if known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model says of a clip."""

    video_id: str
    labels: tuple[tuple[str, float], ...]
    """The most probable classes with their probabilities, highest first; none where nobody was found."""
    people: int
    """Of whom the clip has poses."""
    detail: str
    """Why there are no labels, or what is wrong with the clip; empty = nothing."""


def predict(
    run: Path,
    source: Path,
    *,
    top: int = 5,
    settings: ExtractSettings | None = None,
    show: Show = lambda what, done, total: None,
) -> list[Prediction]:
    """Classify all clips of a shard or dataset, or a video.

    Clips with another joint set than the model's are brought into it by joint name.

    Args:
        run: Folder of a run, or of a model.
        source: A shard, a dataset's folder, or anything `skelkit extract` takes.
        top: Classes told per clip.
        settings: How videos are extracted (best as the clips were that the model learnt from), and on which
            device all is computed; the joint set of the result is the model's, whatever is asked for here.
        show: See `Show`.

    Raises:
        ConfigError: joints of the model cannot be made of the clips' joints, or wrong options.
        CheckpointError: no model there.
        ShardError: not a readable shard or dataset.
        SkelkitError: what `extract` raises, for videos.
    """
    from skelkit.models import load, read_card

    settings = settings or ExtractSettings()
    if top < 1:
        raise ConfigError(f"top: expected at least 1, got {top}")
    device = settings.device.replace("tensorrt", "cuda")
    choose_device(device)  # refuse early what this machine lacks
    card = read_card(model_folder(run))
    with tempfile.TemporaryDirectory(prefix="skelkit-") as scratch:
        clips = source
        if source.suffix.lower() != ".h5" and not (source / INFO_FILE).is_file():
            clips = _extracted(source, Path(scratch) / "extracted.h5", card, settings, show)
        clips = _fitting(clips, card, Path(scratch) / "fitting.h5")
        recipe = recipe_of(card)
        scores = measure(
            load(model_folder(run)),
            recipe,
            clips,
            classes=card.classes or tuple(map(str, range(card.config.num_classes))),
            labelled=False,
            choices=recipe.data.test_clips,
            device=device,
            show=lambda done, total: show("clips", done, total),
        )
        with open_clips(clips) as reader:
            facts = [reader.column(name).tolist() for name in ("num_people", "status", "detail")]
    best = np.argsort(-scores.probabilities, axis=1, kind="stable")[:, :top]
    names = scores.class_names
    return [
        Prediction(
            video_id=video_id,
            labels=tuple((names[c], float(row[c])) for c in order.tolist()) if people else (),
            people=people,
            detail=detail or ("" if people else _NOBODY[status == "failed"]),
        )
        for video_id, row, order, people, status, detail in zip(
            scores.video_ids, scores.probabilities, best, *facts, strict=True
        )
    ]


_NOBODY = {False: "nobody was found in it", True: "it could not be decoded"}


def write_csv(predictions: Sequence[Prediction], path: Path) -> None:
    """Predictions as a table: a row per clip and class, one with an empty label for a clip without any.

    Raises:
        OutputError: the operating system refuses.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["video_id", "people", "rank", "label", "probability", "detail"])
    for one in predictions:
        for rank, (label, share) in enumerate(one.labels or (("", None),), start=1):
            told = ("", "") if share is None else (rank, f"{share:.6f}")
            table.writerow([one.video_id, one.people, told[0], label, told[1], one.detail])
    try:
        path.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise OutputError(f"cannot write predictions to {path}: {error.strerror}", path=path) from error


def _extracted(source: Path, output: Path, card: ModelCard, settings: ExtractSettings, show: Show) -> Path:
    """The people in videos, as a shard."""
    if card.config.in_channels != 2:
        raise ConfigError(
            f"expected a model of 2-D poses for videos, got one of {card.config.in_channels}-D poses; try a "
            "shard or dataset of such poses"
        )
    settings = replace(settings, aggregation=replace(settings.aggregation, joints=ALL_JOINTS))
    task = plan([source], output, settings)
    frames: dict[str, int] = {}

    def tell(step: Step) -> None:
        if step.kind == "progress":
            frames[step.source.video_id] = step.frames
            show("frames", sum(frames.values()), None)

    extract(task, settings, show=tell)
    return output


def _fitting(source: Path, card: ModelCard, output: Path) -> Path:
    """The clips in the model's joint set: as they are, or as a shard of their own."""
    target = card.config.skeleton
    with open_clips(source) as reader:
        same = same_joints(reader.skeleton, target)
        lacking = [j for j in target.joints if not same and joint_recipe(j, reader.skeleton) is None]
        problems = []
        if lacking:
            problems.append(
                f"expected clips with the model's joint set {target.name!r}; {reader.skeleton.name!r} has no "
                f"joints to make {', '.join(lacking)} of"
            )
        if reader.dimensions != card.config.in_channels:
            problems.append(f"expected {card.config.in_channels}-D poses, got {reader.dimensions}-D ones")
        complain(problems, f"the model cannot read {source.name}")
        if same:
            return source
        with ShardWriter(
            output,
            skeleton=target,
            recipe={},
            dimensions=reader.dimensions,
            coordinate_unit=reader.coordinate_unit,
        ) as writer:
            for i in range(len(reader)):
                writer.write(_in(target, reader[i]), clip=reader.clip(i))
    return output


def _in(target: Skeleton, sequence: SkeletonSequence) -> SkeletonSequence:
    keypoints, scores = remap(sequence.keypoints, sequence.scores, sequence.skeleton, target)
    return replace(sequence, skeleton=target, keypoints=keypoints, scores=scores)
