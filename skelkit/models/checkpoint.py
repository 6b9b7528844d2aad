"""A trained network as a folder: ``model.safetensors`` with the weights, ``model.json`` with all the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from skelkit.errors import CheckpointError, ConfigError, OutputError
from skelkit.models.base import ModelConfig, SkeletonModel
from skelkit.models.registry import MODELS, configure

FORMAT = "skelkit-model"
VERSION = 1
WEIGHTS = "model.safetensors"
CARD = "model.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model's folder says about it."""

    architecture: str
    """Name in the registry."""
    config: ModelConfig
    """Its settings, the joint set among them."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the logits; empty = not known."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained; for an imported one where it comes from."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What was measured."""


def save(
    folder: str | os.PathLike[str],
    model: SkeletonModel,
    *,
    classes: Sequence[str] = (),
    recipe: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Write a network; one that is there already is replaced.

    Args:
        folder: Created where it is missing.
        model: The network.
        classes: Names of the classes, in the order of the logits.
        recipe: How it was trained, ready for JSON.
        metrics: What was measured, ready for JSON.

    Returns:
        The folder.

    Raises:
        ConfigError: not as many class names as classes.
        OutputError: the operating system refuses.
    """
    folder = Path(folder)
    if classes and len(classes) != model.config.num_classes:
        raise ConfigError(
            f"expected {model.config.num_classes} class names for this model, got {len(classes)}",
            expected=model.config.num_classes,
            got=len(classes),
        )
    card = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": model.name,
        "config": model.config.model_dump(mode="json"),
        "classes": list(classes),
        "recipe": dict(recipe or {}),
        "metrics": dict(metrics or {}),
    }
    text = json.dumps(card, indent=2) + "\n"
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{WEIGHTS}.part"
        save_file(weights, part)
        part.replace(folder / WEIGHTS)
        part = folder / f".{CARD}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / CARD)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write a model to {folder}: {error}", path=folder) from error
    return folder


def read_card(folder: str | os.PathLike[str]) -> ModelCard:
    """What is known of a network, without loading it.

    Raises:
        CheckpointError: not a folder that `save` wrote.
    """
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"expected a folder with a skelkit model, cannot read {path}: {error}; "
            "try one that training or `skelkit models import` wrote",
            path=path,
        ) from error
    if not isinstance(card, dict) or (card.get("format"), card.get("version")) != (FORMAT, VERSION):
        raise CheckpointError(
            f"expected {path} in the format {FORMAT!r}, version {VERSION}; it is another",
            path=path,
        )
    try:
        architecture = str(card["architecture"])
        return ModelCard(
            architecture=architecture,
            config=configure(architecture, card["config"]),
            classes=tuple(map(str, card["classes"])),
            recipe=dict(card["recipe"]),
            metrics=dict(card["metrics"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}", path=path) from error
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.message}", path=path) from error


def load(folder: str | os.PathLike[str]) -> SkeletonModel:
    """A network that `save` wrote, in evaluation mode.

    Raises:
        CheckpointError: it cannot be read, or its parts do not belong together.
    """
    card = read_card(folder)
    path = Path(folder) / WEIGHTS
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"cannot read the weights {path}: {error}", path=path) from error
    model: SkeletonModel = MODELS.load(card.architecture)(card.config)
    put(weights, model, path)
    return model.eval()


def put(weights: Mapping[str, Tensor], model: SkeletonModel, path: Path) -> None:
    """Set all weights of a network.

    Raises:
        CheckpointError: names or shapes are not the network's.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # torch's only way to say so
        raise CheckpointError(
            f"the weights in {path} are not those of this {model.name}: {error}", path=path
        ) from error
