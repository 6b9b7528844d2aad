"""A recipe and a dataset -> a trained, measured, reloadable model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skelkit.data.torch_dataset import SkeletonDataset, collate
from skelkit.errors import ConfigError, OutputError
from skelkit.pipelines.recipes import MODEL_FOLDER, Job, clip_input, prepare
from skelkit.pipelines.results import RESULTS_FOLDER, Result, write_result
from skelkit.pipelines.test import measure
from skelkit.structures import Int64
from skelkit.training import (
    CHECKPOINT_FILE,
    ONE_DEVICE,
    Clips,
    Hardware,
    Recipe,
    fit,
    read_curves,
    stratified,
)

if TYPE_CHECKING:
    from skelkit.models import SkeletonModel

__all__ = ["Hardware", "TrainSummary", "train"]

RUN_FILE = "run.json"
RUN_FORMAT = "skelkit-run"
DATA = "data"
"""In it: where the dataset was; a run goes on wherever it is now."""
_DEVICES = {"gpu": "cuda"}
"""Accelerators that torch calls otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainSummary:
    """What a training came to."""

    folder: Path
    finished: bool
    """False where it was asked to stop before; the same call goes on."""
    resumed: bool
    clips: int
    """Learnt from."""
    validation_clips: int
    last: dict[str, float]
    """Figures of the last epoch."""
    result: Result | None
    """On the test split; None where there is none."""


def train(
    recipe: str,
    data: Path,
    output: Path,
    *,
    settings: Sequence[str] = (),
    hardware: Hardware = ONE_DEVICE,
    overwrite: bool = False,
    tell: Callable[[int, dict[str, float]], None] = lambda epoch, figures: None,
) -> TrainSummary | None:
    """Train by a recipe. The same call goes on where an interrupted one stopped.

    Args:
        recipe: Name of a preset, or a TOML file.
        data: The dataset.
        output: Folder of the run: ``run.json``, ``curves.csv``, ``tensorboard/``, ``checkpoints/``,
            ``model/`` and ``results/``.
        settings: ``PART.KEY=VALUE`` on top of the recipe.
        hardware: On what.
        overwrite: Begin anew where there is another run.
        tell: Called after every epoch.

    Returns:
        None in all processes but the first.

    Raises:
        ConfigError: the recipe does not fit itself, the data or the model to start from (every problem at
            once), or there is another run in `output`.
        ShardError: the dataset cannot be read.
        OutputError: the run cannot be written.
    """
    from lightning.pytorch import seed_everything
    from lightning.pytorch.utilities import rank_zero_only

    from skelkit.models import save

    job = prepare(recipe, data, settings)
    resumed = getattr(rank_zero_only, "rank", 0) == 0 and _begin(output, job, data, overwrite=overwrite)
    seed_everything(job.recipe.training.seed, verbose=False)
    network = _network(job)
    learn, watch = _clips(job.recipe, data)
    finished = fit(
        network,
        network.classifier,
        job.recipe,
        output,
        train=learn,
        validation=watch,
        hardware=hardware,
        tell=tell,
    )
    if finished is None:
        return None
    last = _figures_of_last_epoch(output)
    result = None
    if finished:
        if split := job.recipe.data.test:
            choices = job.recipe.data.test_clips
            device = _DEVICES.get(hardware.accelerator, hardware.accelerator)
            classes = job.facts.label_names
            scores = measure(
                network, job.recipe, data, classes=classes, split=split, choices=choices, device=device
            )
            result = Result.of(scores)
            write_result(output / RESULTS_FOLDER, split, scores, result)
        save(
            output / MODEL_FOLDER,
            network,
            classes=job.facts.label_names,
            recipe=job.recipe.model_dump(mode="json"),
            metrics=last | ({split: result.figures()} if result else {}),
        )
    return TrainSummary(
        folder=output,
        finished=finished,
        resumed=resumed,
        clips=len(learn.numbers),
        validation_clips=len(watch.numbers) if watch else 0,
        last=last,
        result=result,
    )


def _begin(output: Path, job: Job, data: Path, *, overwrite: bool) -> bool:
    """Make the folder of a run; whether there is something in it to go on with."""
    wanted = {
        "format": RUN_FORMAT,
        "recipe": job.recipe.model_dump(mode="json"),
        "index_sha256": job.index_sha256,
    }
    path = output / RUN_FILE
    try:
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(found, dict) and {**found, DATA: None} == {**wanted, DATA: None}:
                return (output / CHECKPOINT_FILE).exists()
            if not overwrite or not isinstance(found, dict) or found.get("format") != RUN_FORMAT:
                raise ConfigError(
                    f"{output} holds a run with another {_difference(found, wanted)}; choose another folder, "
                    "or begin anew with --overwrite"
                )
            shutil.rmtree(output)
        elif output.exists() and any(output.iterdir()):
            raise ConfigError(f"{output} exists and holds no run; choose another folder")
        output.mkdir(parents=True, exist_ok=True)
        values = {**wanted, DATA: str(data.absolute())}
        path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot begin a run in {output}: {error}", path=output) from error
    return False


def _difference(found: Any, wanted: dict[str, Any]) -> str:
    if not isinstance(found, dict) or not isinstance(found.get("recipe"), dict):
        return "form"
    if found.get("index_sha256") != wanted["index_sha256"]:
        return "dataset"
    old, new = _flat(found["recipe"]), _flat(wanted["recipe"])
    return ", ".join(key for key in {**old, **new} if old.get(key) != new.get(key)) or "form"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


def _network(job: Job) -> SkeletonModel:
    """Fresh, or with the weights to start from; a classifier of other classes is always fresh."""
    from skelkit.models import build, load, read_card

    network = build(job.recipe.model.name, job.config)
    if job.start is not None:
        weights = load(job.start).state_dict()
        if read_card(job.start).classes != job.facts.label_names or job.recipe.start.linear:
            weights |= {k: v for k, v in network.state_dict().items() if k.startswith("classifier.")}
        network.load_state_dict(weights)
    return network


def _clips(recipe: Recipe, data: Path) -> tuple[Clips, Clips | None]:
    """What is learnt from, and what is looked at after every epoch."""
    part = recipe.data
    seed = recipe.training.seed
    learn = SkeletonDataset(
        data, clip_input(recipe, training=True), training=True, split=part.train, seed=seed
    )
    inputs = clip_input(recipe, training=False)
    numbers = _usable(learn)
    watched: Int64 | None = None
    if part.validation:
        watch = SkeletonDataset(data, inputs, training=False, split=part.validation)
        watched = _usable(watch)
    elif part.validation_share:
        watch = SkeletonDataset(data, inputs, training=False, split=part.train)
        held = stratified(learn.labels[numbers], part.validation_share, seed=part.subset_seed, leave=1)
        watched, numbers = numbers[held], np.delete(numbers, held)
    numbers = numbers[stratified(learn.labels[numbers], part.label_share, seed=part.subset_seed)]
    settings = recipe.training
    learnt = Clips(
        dataset=learn,
        numbers=numbers.tolist(),
        collate=collate,
        batch_size=settings.batch_size,
        workers=settings.workers,
    )
    if watched is None:
        return learnt, None
    return learnt, Clips(
        dataset=watch,
        numbers=watched.tolist(),
        collate=collate,
        batch_size=settings.batch_size if part.test_frames else 1,
        workers=settings.workers,
    )


def _usable(dataset: SkeletonDataset) -> Int64:
    """Clips of a split with a label and at least one pose."""
    return np.flatnonzero((dataset.labels >= 0) & (dataset.column("num_rows") > 0))


def _figures_of_last_epoch(output: Path) -> dict[str, float]:
    rows = [row for row in read_curves(output) if "train_loss" in row]
    return {k: v for k, v in rows[-1].items() if k not in {"epoch", "step"}} if rows else {}
