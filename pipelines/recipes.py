"""Recipes by name or file, held against a dataset and the networks there are."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skelkit.data.choosing import PersonSelection
from skelkit.data.dataset import DatasetReader
from skelkit.data.sampling import FrameSampler, FullClip, RandomCrop, Stretch, UniformSegments
from skelkit.data.torch_dataset import ClipInput
from skelkit.data.transforms import Augmentation, RandomFlip, RandomRotation, RandomScale, RandomShift
from skelkit.errors import ConfigError, SkelkitError
from skelkit.registry import unknown
from skelkit.structures import Skeleton
from skelkit.training import DataFacts, Recipe, apply_settings, complain, data_problems, read_recipe

if TYPE_CHECKING:
    from skelkit.models import ModelCard, ModelConfig

MODEL_FOLDER = "model"
"""Of a run: the trained network."""
_OURS = ("skeleton", "num_classes", "in_channels", "num_people", "head")
"""Settings of networks that follow from the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A recipe that fits the data."""

    recipe: Recipe
    facts: DataFacts
    index_sha256: str
    """Of the dataset."""
    config: ModelConfig
    start: Path | None
    """Folder of the model whose weights are the beginning."""


def preset_names() -> list[str]:
    """The recipes that come with skelkit."""
    folder = files("skelkit.pipelines") / "presets"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def read_values(recipe: str) -> dict[str, Any]:
    """The values of a recipe, on top of those of the one it extends.

    Args:
        recipe: Name of a preset, or a TOML file; ``extends`` in it is either.

    Raises:
        ConfigError: no such recipe, not TOML, or recipes that extend each other in a circle.
    """
    return _read(recipe, ())


def prepare(recipe: str, data: Path, settings: Sequence[str] = ()) -> Job:
    """Read a recipe and hold it against a dataset and the network it names.

    Args:
        recipe: See `read_values`.
        data: The dataset.
        settings: ``PART.KEY=VALUE`` on top.

    Raises:
        ConfigError: everything that is wrong, at once, in `fields["problems"]` one by one.
        ShardError: no readable dataset.
    """
    values, problems = apply_settings(read_values(recipe), settings)
    checked, more = read_recipe(values)
    with DatasetReader(data) as reader:
        info = reader.info
        facts = facts_of(reader)
    problems += [*more, *data_problems(checked, facts)]
    problems += _problems(lambda: clip_input(checked, training=True).check(info.skeleton, info.dimensions))
    start = model_folder(Path(checked.start.weights)) if checked.start.weights else None
    wanted = {
        "skeleton": info.skeleton,
        "num_classes": max(len(info.label_names), 1),
        "in_channels": info.dimensions,
        "num_people": checked.data.people,
    }
    config: ModelConfig | None = None
    try:
        if start is None:
            config = _configure(checked.model.name, {**checked.model.options}, wanted)
        else:
            config = _continued(start, checked, wanted)
    except SkelkitError as error:
        problems += error.fields.get("problems", (error.message,))
    complain(problems, f"recipe {recipe} with {data}")
    assert config is not None  # noqa: S101  # else there was a problem
    return Job(recipe=checked, facts=facts, index_sha256=info.index_sha256, config=config, start=start)


def facts_of(reader: DatasetReader) -> DataFacts:
    """What a recipe is held against."""
    usable = (reader.column("label_index") >= 0) & (reader.column("num_rows") > 0)
    splits, counts = np.unique(reader.column("split")[usable], return_counts=True)
    return DataFacts(
        where=str(reader.folder),
        joints=reader.info.skeleton.name,
        label_names=reader.info.label_names,
        splits=reader.info.splits,
        labelled=dict(zip(splits.tolist(), counts.tolist(), strict=True)),
    )


def clip_input(recipe: Recipe, *, training: bool, choices: int = 1, mirror: bool = False) -> ClipInput:
    """How the recipe's clips become arrays.

    Args:
        recipe: Which.
        training: Whether for training or for testing.
        choices: Choices of frames per test clip.
        mirror: Whether test clips are also seen in a mirror.
    """
    data, augment = recipe.data, recipe.augment
    changes: list[tuple[float, Augmentation]] = [
        (augment.flip, RandomFlip(probability=augment.flip)),
        (augment.rotation, RandomRotation(degrees=augment.rotation)),
        (augment.scale, RandomScale(share=augment.scale)),
        (augment.shift, RandomShift(distance=augment.shift)),
    ]
    return ClipInput(
        people=PersonSelection(people=data.people, by=data.people_by),
        missing=data.missing,
        frames=_frames(recipe, data.frames if training else data.test_frames, 1 if training else choices),
        centre=data.centre or None,
        normalise=data.normalise,
        augment=tuple(change for amount, change in changes if amount),
        mirror=mirror,
        stream=data.stream,
    )


def model_folder(path: Path) -> Path:
    """Where the model of a run, or the model itself, is."""
    return path / MODEL_FOLDER if (path / MODEL_FOLDER).is_dir() else path


def recipe_of(card: ModelCard) -> Recipe:
    """The recipe that a model was trained by; for an imported model that of its input, as far as known.

    Raises:
        ConfigError: it is of another version of skelkit.
    """
    if "training" not in card.recipe:
        return Recipe.model_validate({"data": {"people": card.config.num_people}})
    recipe, problems = read_recipe(card.recipe)
    complain(problems, "the recipe in the model's folder")
    return recipe


def same_joints(a: Skeleton, b: Skeleton) -> bool:
    """Whether arrays of one mean the same as of the other."""
    return a.joints == b.joints


def _frames(recipe: Recipe, length: int, choices: int) -> FrameSampler:
    data = recipe.data
    if not length or data.sampling == "full":
        return FullClip(length=length or None)
    if data.sampling == "crop":
        return RandomCrop(length=length, num_clips=choices)
    if data.sampling == "segments":
        return UniformSegments(length=length, num_clips=choices)
    return Stretch(length=length, window=data.window, num_clips=choices)


def _configure(name: str, options: dict[str, Any], wanted: Mapping[str, Any]) -> ModelConfig:
    from skelkit.models import build, configure

    problems = [f"model.options.{key}: follows from the data" for key in _OURS if key in options]
    try:
        config = configure(name, {k: v for k, v in options.items() if k not in _OURS} | dict(wanted))
        build(name, config)  # some joint sets have no graph that an architecture could use
    except ConfigError as error:
        problems += [f"model: {p}" for p in error.fields.get("problems", (error.message,))]
    complain(problems, f"model {name}")
    return config


def _continued(start: Path, recipe: Recipe, wanted: Mapping[str, Any]) -> ModelConfig:
    """The network of a folder for other classes."""
    from skelkit.models import read_card

    card = read_card(start)
    problems = []
    if card.architecture != recipe.model.name:
        problems.append(
            f"start.weights: expected a model {recipe.model.name!r}, {start} is {card.architecture!r}; "
            f"try --set model.name={card.architecture}"
        )
    if not same_joints(card.config.skeleton, wanted["skeleton"]):
        problems.append(
            f"start.weights: trained on the joint set {card.config.skeleton.name!r}, the data has "
            f"{wanted['skeleton'].name!r}"
        )
    for name, key in (("num_people", "data.people"), ("in_channels", "coordinates")):
        if getattr(card.config, name) != wanted[name]:
            problems.append(
                f"start.weights: trained with {key} = {getattr(card.config, name)}, got {wanted[name]}"
            )
    values = card.config.model_dump(mode="json")
    for key, value in recipe.model.options.items():
        if key not in values:
            problems.append(f"model.options.{unknown('setting', key, values)}")
        elif json.dumps(values[key]) != json.dumps(value) and key != "dropout":
            problems.append(f"model.options.{key}: the model in {start} has {values[key]}, got {value}")
    complain(problems, str(start))
    return _configure(
        card.architecture,
        {k: v for k, v in (values | recipe.model.options).items() if k not in _OURS},
        wanted,
    )


def _problems(check: Any) -> list[str]:
    try:
        check()
    except ConfigError as error:
        return [f"data: {error.message}"]
    return []


def _read(recipe: str, asked: tuple[str, ...]) -> dict[str, Any]:
    path = Path(recipe)
    if path.suffix == ".toml":
        name = str(path.resolve())
        source: Any = path
    elif recipe in preset_names():
        name, source = recipe, files("skelkit.pipelines") / "presets" / f"{recipe}.toml"
    else:
        raise ConfigError(f"{unknown('recipe', recipe, preset_names())}; or give a file ending in .toml")
    if name in asked:
        raise ConfigError(f"recipes extend each other in a circle: {' -> '.join((*asked, name))}")
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the recipe {recipe}: {error}") from error
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{recipe}: extends: expected the name of a recipe, got {base!r}")
    if base.endswith(".toml"):
        base = str(path.parent / base)
    below = _read(base, (*asked, name))
    if _another_network(below.get("model"), values.get("model")):
        below["model"] = {k: v for k, v in below["model"].items() if k != "options"}
    return _merged(below, values)


def _another_network(below: Any, above: Any) -> bool:
    """Whether a recipe names another network than the one it extends, whose options are then not its own."""
    both = isinstance(below, Mapping) and isinstance(above, Mapping)
    return both and above.get("name", below.get("name")) != below.get("name")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        out[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return out
