"""A trained model measured on a split of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skelkit.data.dataset import DatasetReader
from skelkit.data.torch_dataset import SkeletonDataset, collate
from skelkit.pipelines.recipes import clip_input, model_folder, recipe_of, same_joints
from skelkit.pipelines.results import RESULTS_FOLDER, Result, Scores, write_result
from skelkit.registry import unknown
from skelkit.training import Clips, Recipe, choose_device, complain, probabilities

if TYPE_CHECKING:
    from torch import nn

_CLIPS_PER_WORKER = 64
"""A process for fewer takes longer to start than it saves."""


def test(
    run: Path,
    data: Path,
    *,
    split: str | None = None,
    choices: int | None = None,
    device: str = "auto",
    output: Path | None = None,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Measure a model.

    Args:
        run: Folder of a run, or of a model.
        data: The dataset.
        split: None = the recipe's.
        choices: Clips per sample, whose probabilities are averaged; None = the recipe's.
        device: See `choose_device`.
        output: Folder for the results; None = ``results`` of the run.
        show: Called with clips done and clips in all.

    Raises:
        ConfigError: model and data do not fit; all that differs is told.
        CheckpointError: no model there.
        ShardError: the dataset cannot be read.
    """
    from skelkit.models import load, read_card

    folder = model_folder(run)
    card = read_card(folder)
    recipe = recipe_of(card)
    split = split or recipe.data.test
    choices = choices or recipe.data.test_clips
    with DatasetReader(data) as reader:
        info = reader.info
    problems = []
    if not same_joints(info.skeleton, card.config.skeleton):
        problems.append(
            f"joint set: expected {card.config.skeleton.name!r} of the model, got {info.skeleton.name!r}"
        )
    if info.dimensions != card.config.in_channels:
        problems.append(f"coordinates: expected {card.config.in_channels}-D, got {info.dimensions}-D")
    if card.classes and info.label_names != card.classes:
        problems.append(_different(card.classes, info.label_names))
    if split not in info.splits:
        problems.append(unknown("split", split, info.splits))
    if choices > 1 and (not recipe.data.test_frames or recipe.data.sampling == "full"):
        problems.append(f"clips per sample: expected 1, as the recipe tests whole clips, got {choices}")
    complain(problems, f"{run} on {data}")
    scores = measure(
        load(folder),
        recipe,
        data,
        classes=info.label_names,
        split=split,
        choices=choices,
        device=device,
        show=show,
    )
    result = Result.of(scores)
    write_result(output or run / RESULTS_FOLDER, split, scores, result)
    return result


def measure(
    network: nn.Module,
    recipe: Recipe,
    data: Path,
    *,
    classes: tuple[str, ...],
    split: str | None = None,
    labelled: bool = True,
    choices: int,
    device: str,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Probabilities of clips, those without poses among them.

    Args:
        network: That fits the data.
        recipe: By which it was trained.
        data: A dataset or a shard.
        classes: Names of the classes.
        split: Only clips of this split; None = all.
        labelled: Only clips with a label.
        choices: See `test`.
        device: See `test`.
        show: See `test`.
    """
    inputs = clip_input(recipe, training=False, choices=choices, mirror=recipe.data.test_mirror)
    dataset = SkeletonDataset(data, inputs, training=False, split=split)
    numbers = np.flatnonzero(dataset.labels >= 0) if labelled else np.arange(len(dataset))
    clips = Clips(
        dataset=dataset,
        numbers=numbers.tolist(),
        collate=collate,
        batch_size=recipe.training.batch_size if recipe.data.test_frames else 1,
        workers=min(recipe.training.workers, len(numbers) // _CLIPS_PER_WORKER),
    )
    return Scores(
        video_ids=tuple(dataset.column("video_id")[numbers].tolist()),
        labels=dataset.labels[numbers],
        probabilities=probabilities(
            network, clips, device=choose_device(device), choices=inputs.test_clips, show=show
        ),
        class_names=classes,
    )


def _different(wanted: Sequence[str], got: Sequence[str]) -> str:
    if len(wanted) != len(got):
        return f"classes: expected {len(wanted)} of the model, got {len(got)}"
    at = next(i for i, (a, b) in enumerate(zip(wanted, got, strict=True)) if a != b)
    return f"classes: expected {wanted[at]!r} as number {at}, as the model has it, got {got[at]!r}"
