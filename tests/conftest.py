"""Shared fixtures. Tests that need the data pack take the ``pack`` fixture: it skips where there is none."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A shell that runs the tests in the background has SIGINT ignored, and every process they start would too.
signal.signal(signal.SIGINT, signal.default_int_handler)


def find_pack() -> Path | None:
    """The test data pack: SKELKIT_PACK, or shared/pack in or beside the checkout."""
    named = os.environ.get("SKELKIT_PACK")
    candidates = [Path(named)] if named else [ROOT / "shared" / "pack", ROOT.parent / "shared" / "pack"]
    return next((c for c in candidates if (c / "media").is_dir()), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that takes the ``pack`` fixture."""
    for item in items:
        if "pack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.pack)


@pytest.fixture(scope="session")
def pack() -> Path:
    """Folder of the test data pack."""
    found = find_pack()
    if found is None:
        pytest.skip("the test data pack is absent: set SKELKIT_PACK to its folder")
    return found
