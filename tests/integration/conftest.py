"""Experts and videos that the tests make themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import made_clips
import pytest
from tiny_experts import Cards, make_cards

MakeClip = Callable[..., Path]


@pytest.fixture(scope="session")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Cards:
    return make_cards(tmp_path_factory.mktemp("cards"))


@pytest.fixture(scope="session")
def two_experts(cards: Cards) -> list[str]:
    """Options: a top-down and a one-stage expert."""
    return ["--experts", f"{cards.heat},{cards.grid}", "--detector", cards.blobs]


@pytest.fixture(scope="session")
def one_expert(cards: Cards) -> list[str]:
    """Options: one expert that needs no detector."""
    return ["--experts", cards.grid]


@pytest.fixture(scope="session")
def make_clip() -> MakeClip:
    """Write a video of blobs that move over a dark ground, different for different seeds."""
    return made_clips.make_clip


@pytest.fixture
def videos(tmp_path: Path, make_clip: MakeClip) -> Path:
    """A folder of three short videos: a, b, c."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        make_clip(folder / f"{name}.mp4", seed=seed)
    return folder


@pytest.fixture(scope="session")
def unprivileged() -> list[str]:
    """What to put before a command so that permissions count for it; skips where that cannot be had."""
    if os.geteuid() != 0:
        return []
    rights = "-dac_override,-dac_read_search"  # what root has to pass over permissions
    prefix = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    if shutil.which("setpriv") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("runs as root, for whom permissions do not count, and setpriv does not help")
    return prefix


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A function that sets the size of a small disk and returns its folder; skips where there is none."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small disk cannot be made: {made.stderr.decode().strip()}")

    def resize(size: int) -> Path:
        subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
        return folder

    try:
        yield resize
    finally:
        subprocess.run(["umount", folder], check=True)
