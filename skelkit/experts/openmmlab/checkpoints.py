"""Weights of OpenMMLab networks: finding them, and reading them without running what is in them."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from skelkit.errors import WeightsError
from skelkit.experts.cards import Weights
from skelkit.experts.openmmlab.index import Entry
from skelkit.experts.weights import Progress, WeightsFile, ensure_weights

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8})(?:_\d{8})?\.pth$")
"""OpenMMLab puts the first digits of the sha256 into its files' names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The weights an index entry names, as `skelkit.experts.weights` looks for them."""

    name: str
    weights: Weights
    source: str
    folder: Path | None = None

    @classmethod
    def of(cls, package: str, entry: Entry) -> Published:
        """What is published for this entry.

        Raises:
            WeightsError: nothing is.
        """
        name = f"{package}:{entry.name}"
        if not entry.url:
            raise WeightsError(
                f"{name}: {package}'s index names no weights for it; give a file: {name}@FILE.pth"
            )
        file = Path(urlsplit(entry.url).path).name
        digits = _HASH_IN_NAME.search(file)
        weights = Weights(
            file=file,
            sha256=digits.group(1) if digits else None,
            urls=(entry.url.replace("http://", "https://"),),
        )
        return cls(name=name, weights=weights, source=f"{package}'s model zoo")


def published(
    package: str, entry: Entry, explicit: Any = None, progress: Progress | None = None
) -> WeightsFile:
    """An index entry's weights, by the rule for all experts: named folder, SKELKIT_WEIGHTS, cache, download.

    Raises:
        WeightsError: not here and not to be had.
    """
    return ensure_weights(Published.of(package, entry), explicit, progress)


def own(path: Path) -> WeightsFile:
    """A checkpoint the user names.

    Raises:
        WeightsError: there is none.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"expected a checkpoint at {path}, cannot read it: {error.strerror}", path=path
        ) from error
    return WeightsFile(path=path, sha256=digest, checked=False)


def read(path: Path, *, trust_pickle: bool = False) -> dict[str, Any]:
    """A checkpoint's content; numbers, text, plain containers and numpy arrays, unless it is trusted.

    Args:
        path: The file.
        trust_pickle: Read whatever it holds. Such a file may run any code.

    Raises:
        WeightsError: it cannot be read, or holds more.
    """
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            content = torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)|[Uu]nsupported (?:global|class)[^\w]+([\w.]+)", str(error))
        what = next((g for g in asked.groups() if g), "") if asked else ""
        raise WeightsError(
            f"expected numbers and text alone in {path}, it also holds "
            f"{what or 'objects that only running its code would make'}; if you trust whoever made the "
            "file, add @trust-pickle to the expert's name",
            path=path,
            asked=what,
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, ImportError) as error:
        raise WeightsError(
            f"expected a PyTorch checkpoint in {path}, cannot read it: {error}; fetch it again", path=path
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"expected a checkpoint in {path}, it holds a {type(content).__name__}", path=path)
    return content


def load_into(model: torch.nn.Module, content: dict[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into a network.

    Raises:
        WeightsError: they are another network's.
    """
    given = content.get("state_dict", content)
    state = OrderedDict((re.sub(r"^module\.", "", k), v) for k, v in given.items())
    state._metadata = getattr(given, "_metadata", {})  # type: ignore[attr-defined]  # versions, for old files
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
    except (RuntimeError, TypeError, AttributeError) as error:  # shapes; values that are no tensors
        raise WeightsError(
            f"expected weights of this config in {path}, they do not fit: {_first_lines(error)}", path=path
        ) from error
    trained = dict(model.named_parameters())
    if lacking := [k for k in missing if k in trained and "loss" not in k]:
        raise WeightsError(
            f"expected weights of this config in {path}, it lacks {len(lacking)} of {len(trained)}: "
            f"{', '.join(lacking[:4])} ...; it belongs to another config",
            path=path,
            lacking=lacking,
        )


def _numpy_globals() -> list[Any]:
    """What numpy arrays and scalars are made of; official checkpoints carry some beside the weights."""
    multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]
    kinds = {type(np.dtype(code)) for code in (*"?bBhHiIlLqQefdFD", "U1", "S1")}
    return [
        np.ndarray,
        np.dtype,
        *kinds,
        multiarray._reconstruct,
        multiarray.scalar,
        (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # as numpy 1 wrote them
        (multiarray.scalar, "numpy.core.multiarray.scalar"),
    ]


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])
