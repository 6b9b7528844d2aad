"""The shards a dataset is made of, and what they say of their clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.data import ShardReader
from skelkit.data.dataset import INFO_FILE, DatasetInfo
from skelkit.data.folder import DROPPED_COLUMNS, DROPPED_FILE, plain_text, sha256_of
from skelkit.data.layout import Header
from skelkit.data.tables import read_csv, read_text
from skelkit.errors import InputError, ShardError

CLIP_COLUMNS = (
    *("video_id", "source", "sha256", "label", "label_index", "split", "num_rows", "num_frames"),
    *("fps", "width", "height", "status", "detail"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """All clips of several shards, one shard after the other."""

    paths: list[Path]
    sha256: list[str]
    """Of every shard."""
    headers: list[Header]
    """Of every shard."""
    part: npt.NDArray[np.int64]
    """(n,) which shard each clip is in."""
    clip: npt.NDArray[np.int64]
    """(n,) its number there."""
    columns: Mapping[str, npt.NDArray[Any]]
    """`CLIP_COLUMNS`, (n,) each."""
    datasets: list[DatasetInfo]
    """Those that inputs are part of."""
    history: list[dict[str, str]]
    """Where one dataset is all there is: what was dropped when it was made, a line per clip."""

    def __len__(self) -> int:
        """n."""
        return len(self.part)

    def recipe(self) -> dict[str, Any]:
        """The shards by name and content, and the recipes they were made by, each told once."""
        recipes: list[Any] = []
        shards = []
        for path, digest, header in zip(self.paths, self.sha256, self.headers, strict=True):
            if header.recipe not in recipes:
                recipes.append(header.recipe)
            shards.append(
                {"name": plain_text(path.name), "sha256": digest, "recipe": recipes.index(header.recipe)}
            )
        return {"inputs": shards, "input_recipes": recipes}


def find_shards(inputs: Sequence[Path]) -> tuple[list[Path], list[DatasetInfo]]:
    """Shards, those in folders, and those of datasets, in the order given; folders by name.

    Raises:
        InputError: nothing there, or one shard named twice.
        ShardError: a damaged ``dataset.json``.
    """
    paths: list[Path] = []
    datasets = []
    for given in inputs:
        if not given.is_dir():
            found = [given]
        elif (given / INFO_FILE).exists():
            datasets.append(DatasetInfo.read(given))
            found = [given / shard.name for shard in datasets[-1].shards]
        else:
            found = sorted(given.glob("*.h5"))
        if not found or not all(path.is_file() for path in found):
            raise InputError(
                f"expected a shard (.h5), a folder of shards or a dataset, got {given}; make shards with "
                "`skelkit extract` or `skelkit import`",
                path=given,
            )
        paths += found
    names = [path.resolve() for path in paths]
    if doubles := sorted({str(name) for name in names if names.count(name) > 1}):
        raise InputError(f"expected every shard once, got {', '.join(doubles)} twice")
    return paths, datasets


def read_inputs(given: Sequence[Path]) -> Inputs:
    """Read what is known of every clip; no pose is read.

    Raises:
        InputError: see `find_shards`.
        ShardError: a damaged shard, shards in different units, or a video_id that comes twice.
    """
    paths, datasets = find_shards(given)
    with ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter
        digests = list(pool.map(_digest, paths))
    headers, lots = [], []
    for path in paths:
        with ShardReader(path) as reader:
            headers.append(reader.header)
            lots.append({name: reader.column(name) for name in CLIP_COLUMNS})
    for path, header in zip(paths, headers, strict=True):
        mine, first = ((h.dimensions, h.coordinate_unit) for h in (header, headers[0]))
        if mine != first:
            raise ShardError(
                f"expected {first[0]} dimensions in {first[1]} as in {paths[0]}, got {mine[0]} in {mine[1]} "
                f"in {path}; build them apart",
                path=path,
            )
    counts = [len(lot["video_id"]) for lot in lots]
    found = Inputs(
        paths=paths,
        sha256=digests,
        headers=headers,
        part=np.repeat(np.arange(len(paths)), counts),
        clip=np.concatenate([np.arange(count) for count in counts]),
        columns={name: np.concatenate([lot[name] for lot in lots]) for name in CLIP_COLUMNS},
        datasets=datasets,
        history=_history(given[0]) if len(given) == len(datasets) == 1 else [],
    )
    _check_names(found)
    return found


def _check_names(inputs: Inputs) -> None:
    seen: dict[str, int] = {}
    for i, name in enumerate(inputs.columns["video_id"].tolist()):
        if name in seen:
            first, second = inputs.paths[inputs.part[seen[name]]], inputs.paths[inputs.part[i]]
            raise ShardError(
                f"expected every clip once, got {name!r} in {first} and in {second}; leave one of them out",
                video_id=name,
            )
        seen[name] = i


def _history(dataset: Path) -> list[dict[str, str]]:
    path = dataset / DROPPED_FILE
    if not path.is_file():
        return []
    return [line for _, line in read_csv(read_text(path), str(path), *DROPPED_COLUMNS)]


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", path=path) from error
