"""The model index that mmpose and mmdet ship: names -> configs and published weights.

Read from the packages' files, without importing them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from skelkit.errors import ConfigError, MissingExtraError
from skelkit.experts.openmmlab.environment import INSTALL, package_folder

_TRAINING = re.compile(r"_[0-9]+xb[0-9]+-")
"""Where the part of a name begins that tells of the training: ``td-hm_hrnet-w48_8xb32-210e_coco-256x192``."""
_ADDRESS = re.compile(r"https?://\S+\.pth")
"""Of weights; mmpose 1.3.2 has one with a bracket before it."""
_DATASETS = ("body8", "body7", "coco")
"""What is meant where a name ends before the data set: the first of these that there is."""
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model of the index."""

    name: str
    aliases: tuple[str, ...]
    config: Path
    """Its config file, in the package."""
    url: str | None
    """Its published weights."""


@cache
def entries(package: str) -> tuple[Entry, ...]:
    """All models of ``mmpose`` or ``mmdet`` whose config is there.

    Raises:
        MissingExtraError: the package is not installed, or without its configs.
    """
    folder = package_folder(package) / ".mim"
    if not (folder / "model-index.yml").is_file():
        raise MissingExtraError(
            f"{package} in {folder.parent} has no model index (one installed with --editable has none): name "
            f"the path of a config instead, or: {INSTALL}",
            extra="openmmlab",
        )
    found: dict[str, Entry] = {}
    for path in _load(folder / "model-index.yml")["Import"]:
        listed = _load(folder / path)
        for model in listed["Models"] if isinstance(listed, dict) else listed:
            config = folder / model["Config"]
            if not config.is_file():
                continue
            aliases = model.get("Alias", [])
            address = _ADDRESS.search(str(model.get("Weights")))
            found[config.stem] = Entry(
                name=config.stem,
                aliases=(aliases,) if isinstance(aliases, str) else tuple(aliases),
                config=config,
                url=address[0] if address else None,
            )
    return tuple(found.values())


def resolve(package: str, name: str) -> Entry:
    """The model a name means; ``-`` and ``_`` are one, and so are large and small letters.

    A whole name or alias; else a name's part before its training, on body8, body7 or COCO in the smallest
    size; else the beginning of exactly one name.

    Raises:
        ConfigError: no model, or several; they are listed.
    """
    wanted = _plain(name)
    every = entries(package)
    by_alias = [e for e in every if wanted in {_plain(e.name), *map(_plain, e.aliases)}]
    by_model = [e for e in every if wanted == _plain(_TRAINING.split(e.name)[0])]
    by_start = [e for e in every if _plain(e.name).startswith(wanted)]
    for candidates in (by_alias, _standard(by_model), by_start):
        if len(candidates) == 1:
            return candidates[0]
    several = by_alias or by_model or by_start
    if several:
        raise ConfigError(
            f"{package}:{name}: expected the name of one model, {len(several)} begin like this: "
            f"{_listed(sorted(e.name for e in several))}; write more of it",
            candidates=[e.name for e in several],
        )
    names = [e.name for e in every] + [a for e in every for a in e.aliases]
    close = [n for n in names if wanted in _plain(n)] or difflib.get_close_matches(name, names, n=5)
    hint = f"did you mean {' or '.join(close[:5])}?" if close else "see the model zoo of its documentation"
    raise ConfigError(f"unknown {package} model: {name!r}; {hint} (or give the path of a config, .py)")


def _standard(found: Sequence[Entry]) -> list[Entry]:
    """Those on the data set one expects, in the smallest size."""
    for dataset in _DATASETS:
        there = [e for e in found if re.search(rf"_{dataset}-\d+x\d+$", e.name)]
        if there:
            smallest = min(_area(e.name) for e in there)
            return [e for e in there if _area(e.name) == smallest]
    return list(found)


def _area(name: str) -> int:
    height, width = re.findall(r"\d+", name)[-2:]
    return int(height) * int(width)


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _load(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text("utf-8"), loader)
