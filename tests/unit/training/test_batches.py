from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelkit.training import stratified
from skelkit.training.batches import EpochBatches, mixed_seed


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_an_epoch_has_every_clip_and_processes_have_as_many_batches(
    count: int, size: int, world: int, epoch: int
) -> None:
    clips = range(100, 100 + count)
    parts = [
        list(EpochBatches(clips, size, seed=5, epoch=epoch, rank=rank, world=world)) for rank in range(world)
    ]
    assert {clip for part in parts for batch in part for clip in batch} == set(clips)
    assert len({len(part) for part in parts}) == 1
    assert len(parts[0]) == len(EpochBatches(clips, size, seed=5, world=world))
    assert sum(len(batch) for part in parts for batch in part) < count + world


def test_an_epoch_goes_on_where_it_stopped_and_the_next_is_whole() -> None:
    whole = EpochBatches(range(10), 3, seed=1, epoch=2)
    rest = EpochBatches(range(10), 3, seed=1, epoch=2, skip=3)
    assert list(rest) == list(whole)[3:]
    for batches in (whole, rest):
        batches.set_epoch(3)
    assert list(rest) == list(whole)
    assert len(list(rest)) == len(rest)


def test_seed_and_epoch_change_the_order() -> None:
    orders = {
        str(list(EpochBatches(range(20), 4, seed=seed, epoch=epoch))) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_the_dataset_is_told_of_the_epoch_before_its_clips_are_drawn() -> None:
    told: list[int] = []
    batches = EpochBatches(range(4), 2, seed=0, epoch=7, begin=told.append)
    next(iter(batches))
    assert told == [7]


def test_seeds_do_not_meet() -> None:
    seeds = {mixed_seed(a, b, c) for a in range(20) for b in range(20) for c in range(20)}
    assert len(seeds) == 8000
    assert all(0 <= seed < 2**63 for seed in seeds)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.01, 1), st.integers(0, 3))
def test_a_share_of_every_class(labels: list[int], share: float, seed: int) -> None:
    array = np.asarray(labels)
    chosen = stratified(array, share, seed=seed)
    assert len(set(chosen.tolist())) == len(chosen)
    for label in set(labels):
        have = labels.count(label)
        assert (array[chosen] == label).sum() == max(1, round(share * have))
    kept = stratified(array, share, seed=seed, leave=1)
    assert all((array[kept] == label).sum() < labels.count(label) for label in set(labels))
    larger = stratified(array, min(1.0, share * 2), seed=seed)
    assert set(chosen) <= set(larger)


def test_seeds_choose_differently() -> None:
    labels = np.zeros(100, int)
    assert stratified(labels, 0.1, seed=0).tolist() != stratified(labels, 0.1, seed=1).tolist()
    assert stratified(labels, 0.1, seed=0).tolist() == pytest.approx(stratified(labels, 0.1, seed=0).tolist())
