"""A real Slurm for the tests that take the ``slurm`` fixture; they are run by ``make test-cluster``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))  # command_line and others

from real_slurm import NoSlurmError, Slurm, running
from tiny_experts import make_cards

WANTED = "SKELKIT_TEST_CLUSTER"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that takes the ``slurm`` fixture, and skip it where none is wanted."""
    skip = pytest.mark.skip(reason="starts a real Slurm: make test-cluster")
    for item in items:
        if {"slurm", "whole_slurm"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slurm)
            if not os.environ.get(WANTED):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def whole_slurm() -> Iterator[Slurm]:
    """Two nodes of two processors each; skips where there can be none."""
    try:
        with running() as slurm:
            yield slurm
    except NoSlurmError as error:
        pytest.skip(f"no Slurm here: {error}")


@pytest.fixture
def slurm(whole_slurm: Slurm) -> Iterator[Slurm]:
    """The same, with no jobs and all its nodes."""
    yield whole_slurm
    whole_slurm.clean()


@pytest.fixture(scope="session")
def one_expert(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options: one tiny expert that needs no detector."""
    return ["--experts", make_cards(tmp_path_factory.mktemp("cards")).grid]
