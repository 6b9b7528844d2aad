"""A trained model on clips or videos that nobody has labelled."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skelkit.data import ShardReader, ShardWriter
from skelkit.data.dataset import DatasetReader
from skelkit.data.torch_dataset import SkeletonDataset, collate
from skelkit.errors import ConfigError
from skelkit.pipelines.aggregate import AggregationSettings
from skelkit.pipelines.extract import extract, plan
from skelkit.pipelines.recipes import clip_input, model_folder, recipe_of, same_joints
from skelkit.pipelines.settings import DEFAULT_DETECTOR, DEFAULT_EXPERTS, ExtractSettings
from skelkit.skeletons import recipe as joint_recipe
from skelkit.skeletons import remap
from skelkit.structures import Skeleton, SkeletonSequence
from skelkit.training import Clips, choose_device, probabilities

if TYPE_CHECKING:
    from skelkit.models import ModelCard


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model says of a clip."""

    video_id: str
    labels: tuple[tuple[str, float], ...]
    """The most probable classes with their probabilities, highest first."""
    people: int
    """Of whom the clip has poses; where it is 0, the labels say nothing."""


def predict(
    run: Path,
    source: Path,
    *,
    top: int = 5,
    device: str = "auto",
    experts: tuple[str, ...] = DEFAULT_EXPERTS,
    detector: str = DEFAULT_DETECTOR,
    weights: str | None = None,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> list[Prediction]:
    """Classify all clips of a shard or dataset, or a video.

    Clips with another joint set than the model's are brought into it by joint name.

    Args:
        run: Folder of a run, or of a model.
        source: A shard, a dataset's folder, or anything `skelkit extract` takes.
        top: Classes told per clip.
        device: See `skelkit.training.choose_device`.
        experts: For videos: pose experts, the primary one first.
        detector: For videos: person detector.
        weights: For videos: where the experts' weights are looked for first.
        show: Called with clips done and clips in all.

    Raises:
        ConfigError: joints of the model cannot be made of the clips' joints, or wrong options.
        CheckpointError: no model there.
        ShardError: not a readable shard or dataset.
        SkelkitError: what `extract` raises, for videos.
    """
    from skelkit.models import read_card

    if top < 1:
        raise ConfigError(f"top: expected at least 1, got {top}")
    card = read_card(model_folder(run))
    with tempfile.TemporaryDirectory(prefix="skelkit-") as scratch:
        clips = source
        if source.suffix.lower() != ".h5" and not _is_dataset(source):
            clips = Path(scratch) / "extracted.h5"
            settings = ExtractSettings(
                experts=experts,
                detector=detector,
                weights=weights,
                device=device,
                aggregation=AggregationSettings(joints=card.config.skeleton.name),
            )
            extract(plan([source], clips, settings), settings)
        if not same_joints(_skeleton(clips), card.config.skeleton):
            clips = _remapped(clips, card.config.skeleton, Path(scratch) / "remapped.h5")
        return _classify(run, card, clips, top=top, device=device, show=show)


def _classify(
    run: Path, card: ModelCard, source: Path, *, top: int, device: str, show: Callable[[int, int], None]
) -> list[Prediction]:
    from skelkit.models import load

    recipe = recipe_of(card)
    choices = recipe.data.test_clips
    dataset = SkeletonDataset(source, clip_input(recipe, training=False, choices=choices), training=False)
    clips = Clips(
        dataset=dataset,
        numbers=range(len(dataset)),
        collate=collate,
        batch_size=recipe.training.batch_size if recipe.data.test_frames else 1,
    )
    network = load(model_folder(run))
    scores = probabilities(network, clips, device=choose_device(device), choices=choices, show=show)
    names = card.classes or tuple(map(str, range(card.config.num_classes)))
    with _open(source) as reader:
        video_ids, people = reader.column("video_id").tolist(), reader.column("num_people").tolist()
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        Prediction(
            video_id=video_ids[i],
            labels=tuple((names[c], float(scores[i, c])) for c in best[i].tolist()),
            people=int(people[i]),
        )
        for i in range(len(dataset))
    ]


def _is_dataset(path: Path) -> bool:
    return (path / "dataset.json").is_file()


def _open(path: Path) -> DatasetReader | ShardReader:
    return DatasetReader(path) if path.is_dir() else ShardReader(path)


def _skeleton(path: Path) -> Skeleton:
    with _open(path) as reader:
        return reader.info.skeleton if isinstance(reader, DatasetReader) else reader.skeleton


def _remapped(source: Path, target: Skeleton, output: Path) -> Path:
    """The clips in another joint set, as a shard."""
    with _open(source) as reader:
        skeleton = reader.info.skeleton if isinstance(reader, DatasetReader) else reader.skeleton
        missing = [joint for joint in target.joints if joint_recipe(joint, skeleton) is None]
        if missing:
            raise ConfigError(
                f"expected clips with the model's joint set {target.name!r}; {skeleton.name!r} has no joints "
                f"to make {', '.join(missing)} of"
            )
        with ShardWriter(output, skeleton=target, recipe={}) as writer:
            for i in range(len(reader)):
                writer.write(_in(target, reader[i]), clip=reader.clip(i))
    return output


def _in(target: Skeleton, sequence: SkeletonSequence) -> SkeletonSequence:
    keypoints, scores = remap(sequence.keypoints, sequence.scores, sequence.skeleton, target)
    return replace(sequence, skeleton=target, keypoints=keypoints, scores=scores)
