"""A recipe: everything that shapes a training, as data. Checked as a whole before anything starts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from skelkit.errors import ConfigError
from skelkit.registry import unknown

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    """No key that is not known here, no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelPart(_Part):
    """``[model]``: the network."""

    name: str = "unik"
    """Of the registry: unik, stgcn, agcn, msg3d, ..."""
    joints: str = ""
    """Joint set that the data must have; empty = whichever it has."""
    classes: int = Field(default=0, ge=0)
    """Number of classes that the data must have; 0 = as many as it has."""
    options: dict[str, Any] = {}
    """What the architecture itself can be told."""


class DataPart(_Part):
    """``[data]``: which clips, and how a clip becomes a tensor."""

    train: str = "train"
    """Split to learn from."""
    validation: str = ""
    """Split looked at after every epoch; empty = none, or the share of train below."""
    validation_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the train split, of every class, held back as validation part."""
    test: str = "test"
    """Split the finished model is measured on; empty = none."""
    label_share: Share = 1.0
    """Few-shot: share of the train split, of every class, that is learnt from; at least one clip each."""
    subset_seed: int = Field(default=0, ge=0)
    """Another seed is another choice of the shares above."""
    stream: Literal["joint", "bone", "joint_motion", "bone_motion"] = "joint"
    people: Positive = 1
    """M: people of a clip that the network sees."""
    people_by: Literal["presence", "motion", "score"] = "presence"
    """Which, where a clip has more (`skelkit.data.PeopleRule`)."""
    missing: Literal["zero", "previous", "interpolate"] = "zero"
    """What stands where a joint was not seen (`skelkit.data.FillRule`)."""
    sampling: Literal["crop", "segments", "full", "stretch"] = "crop"
    """Which frames: as many consecutive ones; one of each of as many segments; all, played again and cut to
    as many; all, or in training a random window, slowed down or sped up to as many."""
    frames: Positive = 150
    """T of a training clip."""
    window: Share = 1.0
    """``stretch``: the shortest window, as a share of the clip."""
    test_frames: int = Field(default=0, ge=0)
    """T of a test clip, chosen by `sampling`; 0 = the whole clip as it is, whatever its length."""
    test_clips: Positive = 1
    """Choices of frames per test clip, whose probabilities are averaged."""
    test_mirror: bool = False
    """Test clips are also seen in a mirror; probabilities are averaged."""
    normalise: bool = True
    """2-D: in half widths of the picture (X / w * 2 - [1, h / w])."""
    centre: str = ""
    """Joint that is the origin, as it is first; empty = none."""


class AugmentPart(_Part):
    """``[augment]``: random changes of a training clip, one draw for all its frames."""

    rotation: float = Field(default=0.0, ge=0, le=180)
    """Degrees, to either side, in the picture plane."""
    scale: float = Field(default=0.0, ge=0, lt=1)
    """Share by which it may grow or shrink."""
    shift: float = Field(default=0.0, ge=0)
    """Of the normalised coordinates."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability of a mirror."""
    mixup: float = Field(default=0.0, ge=0)
    """Clips of a batch are mixed in pairs, and their labels alike, by shares from Beta(mixup, mixup) (Zhang
    et al., ICLR 2018); 0 = none."""


class OptimizerPart(_Part):
    """``[optimizer]``: SGD with momentum, and its rate over time."""

    lr: float = Field(default=0.1, gt=0)
    """For `batch_size` x `accumulate` clips per step."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = ()
    """Epochs (counted from 0) at whose start the rate is multiplied by `decay`."""
    decay: float = Field(default=0.1, gt=0, le=1)
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs over which the rate rises linearly from 0 to `lr`."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: float = Field(default=0.0, ge=0)
    """Largest norm of the gradient; 0 = any."""

    @field_validator("milestones")
    @classmethod
    def _ascend(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if any(b <= a for a, b in zip((0, *values), values, strict=False)):
            raise ValueError(f"expected ascending epochs above 0, got {list(values)}")
        return values


class TrainingPart(_Part):
    """``[training]``: how long, in what portions, on what."""

    epochs: Positive = 50
    batch_size: Positive = 64
    """Clips per device and pass."""
    accumulate: Positive = 1
    """Passes per step of the optimizer."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    compile: bool = False
    """With torch.compile."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    workers: int = Field(default=0, ge=0)
    """Processes that prepare batches; 0 = the training process itself."""
    log_every: Positive = 20
    """Steps between two points of the loss curve."""


class StartPart(_Part):
    """``[start]``: where the weights come from, and which of them learn."""

    weights: str = ""
    """Folder of a skelkit model (or of a run); empty = from scratch."""
    linear: bool = False
    """Linear evaluation: only the classifier learns, the rest stays as it is to the bit."""


class Recipe(_Part):
    """All of it; every key has a default, so that a file says only what it is about."""

    description: str = ""
    model: ModelPart = ModelPart()
    data: DataPart = DataPart()
    augment: AugmentPart = AugmentPart()
    optimizer: OptimizerPart = OptimizerPart()
    training: TrainingPart = TrainingPart()
    start: StartPart = StartPart()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What a recipe is held against: the facts of a dataset."""

    where: str
    joints: str
    """Name of its joint set."""
    label_names: tuple[str, ...]
    splits: Mapping[str, int]
    """Clips of every split."""
    labelled: Mapping[str, int]
    """Clips of every split that have a label and poses."""


def parse_value(text: str) -> Any:
    """The value of ``--set key=value``: as TOML reads it, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def apply_settings(values: Mapping[str, Any], settings: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Values of a recipe with ``part.key=value`` settings on top, and what was wrong with the settings."""
    out = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    problems = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            problems.append(f"--set: expected PART.KEY=VALUE, such as optimizer.lr=0.05, got {setting!r}")
            continue
        place: Any = out
        for name in path[:-1]:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[path[-1]] = parse_value(text.strip())
        else:
            problems.append(f"--set: {key.strip()} is not a table with keys, got {setting!r}")
    return out, problems


def read_recipe(values: Mapping[str, Any]) -> tuple[Recipe, list[str]]:
    """A recipe from its values, and everything that is wrong with them.

    Where something is, the recipe holds defaults in its place, so that the rest can still be checked.
    """
    problems: list[str] = []
    current = dict(values)
    while True:
        try:
            recipe = Recipe.model_validate(current)
        except ValidationError as error:
            found = error.errors(include_url=False)
            problems += [_sentence(e["loc"], e["type"], e["msg"], e.get("input")) for e in found]
            current = _without(current, [e["loc"] for e in found])
        else:
            return recipe, problems + _disagreements(recipe)


def _disagreements(recipe: Recipe) -> list[str]:
    """Values that are right one by one, but not together."""
    problems = []
    data, epochs = recipe.data, recipe.training.epochs
    if late := [m for m in recipe.optimizer.milestones if m >= epochs]:
        problems.append(f"optimizer.milestones: expected epochs before the end ({epochs}), got {late}")
    if data.validation and data.validation_share:
        problems.append("data.validation and data.validation_share exclude each other: give one of them")
    if data.test_clips > 1 and (not data.test_frames or data.sampling == "full"):
        problems.append(
            "data.test_clips: expected 1 where test clips are whole; try data.test_frames, and another "
            "sampling than full"
        )
    if recipe.start.linear and not recipe.start.weights:
        problems.append("start.linear: expected start.weights, the folder of a pre-trained model, with it")
    return problems


def data_problems(recipe: Recipe, facts: DataFacts) -> list[str]:
    """Everything in which a recipe and a dataset do not fit."""
    problems = []
    model, data = recipe.model, recipe.data
    if model.joints and model.joints != facts.joints:
        problems.append(
            f"model.joints: expected a dataset with the joint set {model.joints!r}, got {facts.joints!r}; "
            f"build or import it with that joint set, or --set model.joints={facts.joints}"
        )
    count = len(facts.label_names)
    if model.classes and model.classes != count:
        problems.append(
            f"model.classes: expected a dataset with {model.classes} classes, got {count}; try another "
            f"dataset, or --set model.classes={count}"
        )
    if not count:
        problems.append("the dataset has no labels; build or import it with labels")
    if len(set(facts.label_names)) != count or not all(facts.label_names):
        problems.append("the dataset has classes without a name, or two of one name; name each once")
    for key in ("train", "validation", "test"):
        split = getattr(data, key)
        if split and split not in facts.splits:
            problems.append(f"data.{key}: {unknown('split', split, facts.splits)}")
        elif split and not facts.labelled.get(split):
            problems.append(f"data.{key}: split {split!r} has no clip with both a label and poses")
    learned_from = {data.train} - {""}
    if not learned_from:
        problems.append("data.train: expected a split to learn from, got ''")
    for key in ("validation", "test"):
        if getattr(data, key) in learned_from:
            problems.append(f"data.{key}: {data.train!r} is the split learnt from, it measures nothing")
    return problems


def complain(problems: Sequence[str], where: str) -> None:
    """Raise what is wrong, all at once; nothing where nothing is.

    Raises:
        ConfigError: `fields["problems"]` has them one by one, `fields["where"]` has `where`.
    """
    if problems:
        told = "; ".join(problems)
        raise ConfigError(f"{where}: {told}", problems=tuple(problems), where=where)


def _without(values: Mapping[str, Any], places: Sequence[tuple[int | str, ...]]) -> dict[str, Any]:
    """Values less those at `places`; a place that names no key is a whole part, or everything."""
    out: dict[str, Any] = dict(values)
    for place in places:
        if not place:
            return {}
        head, *rest = place
        if head not in out:
            continue
        part = out[str(head)]
        if rest and isinstance(part, Mapping) and rest[0] in part:
            out[str(head)] = _without(part, [tuple(rest[:1])])
        else:
            del out[str(head)]
    return out


def _sentence(place: tuple[int | str, ...], kind: str, message: str, got: Any) -> str:
    name = ".".join(map(str, place))
    if kind == "extra_forbidden":
        return f"{name}: {unknown('key', str(place[-1]), _keys_beside(place))}"
    message = message.removeprefix("Value error, ")
    if kind == "value_error":
        return f"{name}: {message}" if name and "." not in message.split(":")[0] else message
    return f"{name}: {message[:1].lower()}{message[1:]}, got {got!r}"


def _keys_beside(place: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Recipe
    for name in place[:-1]:
        kind = model.model_fields[str(name)].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)
