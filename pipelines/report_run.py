"""What the report of a training run is made from: the run's folder, and its dataset where it can be found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skelkit._version import __version__
from skelkit.data.dataset import DatasetReader
from skelkit.data.torch_dataset import SkeletonDataset, collate
from skelkit.errors import ConfigError, InputError, ShardError
from skelkit.pipelines.recipes import clip_input, model_folder, recipe_of, same_joints
from skelkit.pipelines.results import RESULTS_FOLDER, Result, read_scores
from skelkit.pipelines.train import DATA, RUN_FILE, RUN_FORMAT
from skelkit.report.run_facts import JointMatrices, RunFacts, SplitResult
from skelkit.structures import Float32, SkeletonSequence
from skelkit.training import CURVES_FILE, Recipe, complain, read_curves, read_recipe

if TYPE_CHECKING:
    from skelkit.models import ModelCard, SkeletonModel

_CLIPS = 16
"""Whose attention is averaged, at most."""
_SCORES = "-scores.npz"

ClipOf = Callable[[str], SkeletonSequence | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A run's dataset, or why there is none."""

    reader: DatasetReader | None
    why_not: str = ""


@contextmanager
def run_facts(folder: Path, data: Path | None) -> Iterator[tuple[RunFacts, ClipOf]]:
    """A run in numbers, and what gives the people of its clips.

    Args:
        folder: Of a run, or of a model.
        data: The run's dataset; None = where it was when it was trained on.

    Raises:
        CheckpointError: a damaged model.
        ConfigError: `data` is another dataset.
        InputError: results or curves that cannot be read.
        ShardError: `data` is none.
    """
    run = _read_run(folder)
    card = _card(folder)
    found = _dataset(run, card, data)
    try:
        yield _facts(folder, run, card, found), _clip_of(found.reader)
    finally:
        if found.reader is not None:
            found.reader.close()


def _facts(folder: Path, run: Mapping[str, Any], card: ModelCard | None, found: _Found) -> RunFacts:
    from skelkit.models import cost, load

    if card is not None:
        recipe, raw = recipe_of(card), card.recipe
    else:
        raw = run["recipe"]
        recipe, problems = read_recipe(raw)
        complain(problems, f"the recipe in {folder / RUN_FILE}")
    model = load(model_folder(folder)) if card is not None else None
    size = cost(model, frames=recipe.data.test_frames or recipe.data.frames) if model is not None else None
    results = _results(folder, recipe.data.test)
    info = found.reader.info if found.reader is not None else None
    classes = next((names for _, names in results), None)
    if classes is None:
        classes = card.classes if card is not None else info.label_names if info is not None else ()
    if any(names != classes for _, names in results):
        raise InputError(f"expected results of the same classes in {folder / RESULTS_FOLDER}; they differ")
    matrices, note = _matrices(model, recipe, found)
    trained = "training" in raw
    return RunFacts(
        name=folder.resolve().name,
        created_with=f"skelkit {__version__}",
        architecture=card.architecture if card is not None else recipe.model.name,
        recipe=raw,
        about=_about(recipe, info.name if info is not None else "") if trained else (),
        finished=card is not None,
        epochs=recipe.training.epochs if trained else 0,
        curves=_curves(folder),
        class_names=classes,
        results=[result for result, _ in results],
        train_clips=_train_clips(found.reader, recipe) if trained else {},
        skeleton=card.config.skeleton if card is not None else info.skeleton if info is not None else None,
        parameters=size.parameters if size else 0,
        gflops=size.gflops if size else 0.0,
        matrices=matrices,
        matrices_note=note,
    )


def _read_run(folder: Path) -> dict[str, Any]:
    """Of a folder of a model alone nothing."""
    path = folder / RUN_FILE
    if not path.exists():
        return {}
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}", path=path) from error
    if (
        not isinstance(run, dict)
        or run.get("format") != RUN_FORMAT
        or not isinstance(run.get("recipe"), dict)
    ):
        raise InputError(f"expected {path} as `skelkit train` writes it; it is something else", path=path)
    return run


def _card(folder: Path) -> ModelCard | None:
    from skelkit.models import read_card

    where = model_folder(folder)
    return read_card(where) if where != folder or not (folder / RUN_FILE).exists() else None


def _dataset(run: Mapping[str, Any], card: ModelCard | None, data: Path | None) -> _Found:
    """The dataset asked for; else the one the run was trained on, if it is still where and what it was."""
    told = run.get(DATA)
    if data is None and not isinstance(told, str):
        return _Found(reader=None, why_not="where the run's dataset is has not been written down")
    try:
        reader = DatasetReader(data or str(told))
    except ShardError:
        if data is not None:
            raise
        return _Found(reader=None, why_not="the run's dataset is no longer where it was")
    same = run.get("index_sha256", reader.info.index_sha256) == reader.info.index_sha256
    if same and (card is None or same_joints(card.config.skeleton, reader.info.skeleton)):
        return _Found(reader=reader)
    reader.close()
    if data is not None:
        raise ConfigError(f"expected the dataset that the run was trained on, got another in {data}")
    return _Found(reader=None, why_not="the run's dataset has changed since")


def _clip_of(reader: DatasetReader | None) -> ClipOf:
    if reader is None:
        return lambda video_id: None
    number = {name: i for i, name in reversed(list(enumerate(reader.column("video_id").tolist())))}
    return lambda video_id: reader[number[video_id]] if video_id in number else None


def _curves(folder: Path) -> list[dict[str, float]]:
    try:
        return read_curves(folder) if (folder / CURVES_FILE).exists() else []
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {folder / CURVES_FILE}: {error}", path=folder / CURVES_FILE) from error


def _results(folder: Path, test: str) -> list[tuple[SplitResult, tuple[str, ...]]]:
    """What was measured, the recipe's test split first, with the names of the classes."""
    splits = sorted(path.name.removesuffix(_SCORES) for path in (folder / RESULTS_FOLDER).glob(f"*{_SCORES}"))
    found = []
    for split in sorted(splits, key=lambda split: split != test):
        scores = read_scores(folder, split)
        result = Result.of(scores)
        found.append(
            (
                SplitResult(
                    split=split,
                    top1=result.top1,
                    top5=result.top5,
                    mean_class=result.mean_class,
                    per_class=result.per_class,
                    confusion=result.confusion,
                    video_ids=scores.video_ids,
                    labels=scores.labels,
                    probabilities=scores.probabilities,
                ),
                scores.class_names,
            )
        )
    return found


def _train_clips(reader: DatasetReader | None, recipe: Recipe) -> dict[str, int]:
    if reader is None:
        return {}
    usable = (reader.column("split") == recipe.data.train) & (reader.column("num_rows") > 0)
    names, counts = np.unique(reader.column("label")[usable].astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _matrices(model: SkeletonModel | None, recipe: Recipe, found: _Found) -> tuple[list[JointMatrices], str]:
    """What joints the network lets enter which others, and where that is from, in words."""
    if model is None:
        return [], "What the network learns of its joints is shown once it is finished."
    learned = model.maps()
    if not learned:
        return [], "This network has no matrices between joints."
    note = "What the network has learnt of its joints, block by block."
    attention: dict[int, Float32] = {}
    if found.reader is None:
        note += f" Attention needs clips, but {found.why_not}; --data names it."
    else:
        split, numbers = _some_clips(found.reader, recipe)
        attention = _attention(model, recipe, found.reader.folder, split, numbers)
        if attention:
            note += (
                f" Attention depends on the clip: shown is how far its mean over {len(numbers)} "
                f"clip{'' if len(numbers) == 1 else 's'} of “{split}”, each of another class, lies above or "
                "below an even share."
            )
    return [
        JointMatrices(
            name=unit.name,
            matrix=unit.matrix,
            before=None if unit.before is None else unit.before.numpy(),
            learned=unit.learned.numpy(),
            attention=attention.get(i),
        )
        for i, unit in enumerate(learned)
    ], note


def _some_clips(reader: DatasetReader, recipe: Recipe) -> tuple[str, list[int]]:
    """A split, and numbers within it: the first clip with a pose of each of a few classes."""
    part = recipe.data
    split = next((s for s in (part.test, part.validation, part.train) if s in reader.info.splits), None)
    if split is None:
        return "", []
    chosen = reader.column("split") == split
    labels = np.where(reader.column("num_rows")[chosen] > 0, reader.column("label_index")[chosen], -1)
    classes, first = np.unique(labels, return_index=True)
    first = first[classes >= 0]
    at = np.linspace(0, len(first) - 1, min(len(first), _CLIPS)).round().astype(int)
    return split, first[at].tolist()


def _attention(
    model: SkeletonModel, recipe: Recipe, data: Path, split: str, numbers: list[int]
) -> dict[int, Float32]:
    """Mean over the people seen in the clips, by the number of the unit; without those that have none."""
    dataset = SkeletonDataset(data, clip_input(recipe, training=False), training=False, split=split or None)
    sums: dict[int, Any] = {}
    people = 0
    for number in numbers:
        batch = collate([dataset[number]])
        seen = batch.visible.any(dim=3).any(dim=2)  # (B, M)
        people += int(seen.sum())
        for i, unit in enumerate(model.maps(batch.keypoints)):
            if unit.attention is not None:
                sums[i] = sums.get(i, 0) + unit.attention[seen].sum(dim=0)
    return {i: (total / people).numpy() for i, total in sums.items() if people}


def _about(recipe: Recipe, dataset: str) -> list[tuple[str, str]]:
    """The recipe in words."""
    data, augment, rate, training = recipe.data, recipe.augment, recipe.optimizer, recipe.training
    options = ", ".join(f"{key} {json.dumps(value)}" for key, value in recipe.model.options.items())
    test = f"{data.test_frames} frames" if data.test_frames else "whole clips"
    test += ", also seen in a mirror," if data.test_mirror else ""
    changes = {name: value for name, value in augment.model_dump().items() if value}
    held = f"{data.validation_share:.0%} of it held back to watch" if data.validation_share else ""
    watched = f"watched on “{data.validation}”" if data.validation else held
    shown = [
        f"learnt from “{data.train}”",
        f"{data.label_share:.0%} of its labels" if data.label_share < 1 else "",
        watched,
        f"tested on “{data.test}”" if data.test else "",
    ]
    schedule = (
        "falling as a cosine"
        if rate.schedule == "cosine"
        else f"times {rate.decay:g} after epochs {', '.join(map(str, rate.milestones)) or 'none'}"
    )
    start = f"the weights of {Path(recipe.start.weights).name}" if recipe.start.weights else "scratch"
    more = [
        f"{rate.warmup_epochs:g} epochs of warm-up" if rate.warmup_epochs else "",
        f"label smoothing {rate.label_smoothing:g}" if rate.label_smoothing else "",
        f"gradients up to {rate.clip_norm:g}" if rate.clip_norm else "",
    ]
    nesterov = " (Nesterov)" if rate.nesterov and rate.momentum else ""
    accumulated = f" times {training.accumulate}" if training.accumulate > 1 else ""
    rows = [
        ("What for", recipe.description),
        ("Network", "; ".join(filter(None, (recipe.model.name, options)))),
        ("Begun from", start + (", all but the classifier as it is" if recipe.start.linear else "")),
        ("Dataset", "; ".join(filter(None, (dataset, *shown)))),
        (
            "Clips",
            f"{data.stream.replace('_', ' ')} stream of {data.people} person(s); {data.frames} frames "
            f"({data.sampling}) to learn from, {test} in tests",
        ),
        ("Changed at random", ", ".join(f"{k} {v:g}" for k, v in changes.items()) or "nothing"),
        (
            "Optimiser",
            "; ".join(
                filter(
                    None,
                    (
                        f"SGD, momentum {rate.momentum:g}{nesterov}, weight decay {rate.weight_decay:g}",
                        f"rate {rate.lr:g}, {schedule}",
                        *more,
                    ),
                )
            ),
        ),
        (
            "Training",
            f"{training.epochs} epochs, batches of {training.batch_size}{accumulated}, {training.precision}, "
            f"seed {training.seed}",
        ),
    ]
    return [(what, how) for what, how in rows if how]
