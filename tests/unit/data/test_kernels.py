"""Compiled loops: kept on disk where that goes, and never outside their arrays."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import get_args

import h5py
import numba
import numpy as np
import pytest
from numba.core import caching
from shard_samples import random_sequence

from skelkit.data import ShardReader, ShardWriter, fixed_point, kernels
from skelkit.data.choosing import PeopleRule, PersonSelection
from skelkit.errors import ShardError
from skelkit.skeletons import COCO17


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shard") / "a.h5"
    with ShardWriter(path, skeleton=COCO17, recipe={}) as writer:
        for seed in range(6):
            writer.write(random_sequence(seed, people=seed % 4, frames=150))
    return path


def test_numbers_of_the_format_are_those_of_the_format() -> None:
    assert kernels.MISSING == fixed_point.MISSING
    assert np.float32(1 / fixed_point.SCORE_LEVELS) == kernels.SCORE_STEP
    assert get_args(PeopleRule) == kernels.RULES


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError):
        kernels.read(*[np.zeros((1, 1), np.float32)] * 12)


def total(values):  # type: ignore[no-untyped-def]
    for i in range(1, len(values)):
        values[0] += values[i]


@pytest.mark.parametrize("full", [False, True])
def test_nothing_is_kept_where_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, full: bool
) -> None:
    """No folder that could be written; a disk without room."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    if full:

        def save(*_: object) -> None:
            raise OSError(errno.ENOSPC, "no room")

        monkeypatch.setattr(caching.IndexDataCacheFile, "save", save)
    else:
        monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    compiled = kernels._compiled("i8[::1]")(total)
    values = np.arange(5)
    compiled(values)
    assert values[0] == 10 and not list(tmp_path.rglob("*.nbc"))


RULES = get_args(PeopleRule)
COLUMNS = (
    "clips/first_row",
    "clips/num_rows",
    "clips/num_people",
    "clips/num_frames",
    "clips/first_frame",
    "poses/frame",
    "poses/track",
    "poses/step",
    "poses/origin",
)


@pytest.mark.parametrize("column", COLUMNS)
def test_damaged_columns_are_an_error_or_change_numbers_only(
    shard: Path, tmp_path: Path, column: str
) -> None:
    """Numbers at random, the largest and the smallest among them, in each column."""
    rng = np.random.default_rng(len(column))
    for attempt in range(12):
        path = tmp_path / f"{attempt}.h5"
        path.write_bytes(shard.read_bytes())
        with h5py.File(path, "r+") as h5:
            data = h5[column]
            values = data[:]
            at = tuple(rng.integers(size) for size in values.shape)
            if values.dtype.kind == "f":
                values[at] = rng.choice([np.nan, np.inf, -1.0, 0.0, 1e300])
            else:
                limits = np.iinfo(values.dtype)
                near = values[at] + rng.choice([-1, 1, 5])
                values[at] = rng.choice([limits.min, limits.max, -1, 0, near])
            data[:] = values
        people = PersonSelection(people=3, by=RULES[attempt % 3]) if attempt % 2 else 3
        with ShardReader(path) as reader:
            try:
                dense = reader.read_dense(range(6), people=people, frames=160)
            except ShardError as error:
                assert "damaged" in str(error)
            else:
                assert dense.keypoints.shape == (6, 3, 160, 17, 2)


def test_damaged_bytes_are_an_error_or_change_numbers_only(shard: Path, tmp_path: Path) -> None:
    """The file's structure included: where chunks lie, and how long tables are."""
    rng = np.random.default_rng(0)
    whole = np.frombuffer(shard.read_bytes(), np.uint8)
    for attempt in range(150):
        data = whole.copy()
        at = rng.integers(0, len(data), 40)
        data[at] = rng.integers(0, 256, len(at))
        path = tmp_path / f"{attempt}.h5"
        path.write_bytes(data.tobytes()[: len(data) if attempt % 3 else rng.integers(len(data))])
        try:
            with ShardReader(path) as reader:
                count = len(reader)
                people = PersonSelection(people=3, by=RULES[attempt % 3]) if attempt % 2 else 3
                dense = reader.read_dense(range(count), people=people, frames=160)
        except ShardError:
            continue
        assert dense.keypoints.shape == (count, 3, 160, 17, 2)
