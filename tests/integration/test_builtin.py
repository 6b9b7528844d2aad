"""The built-in experts on the clip of `make demo`: nothing but the repository is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import skelkit

from skelkit.data import ShardReader
from skelkit.experts import builtin

CLIP = Path(__file__).resolve().parents[2] / "examples" / "people.mp4"
ASTRONAUT, PHOTOGRAPHER = (10, 0, 300, 384), (384, 40, 650, 384)
"""Where they are in the first frame: x1, y1, x2, y2."""


@pytest.fixture(autouse=True)
def nothing_else_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SKELKIT_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SKELKIT_OFFLINE", "1")


def test_people_of_the_clip_have_skeletons(tmp_path: Path) -> None:
    skelkit("extract", CLIP, tmp_path / "out.h5", "--stride", "10")
    with ShardReader(tmp_path / "out.h5") as shard:
        poses = shard[0]
    seen = np.isfinite(poses.keypoints).all(axis=-1)  # (M, T, K)
    lasting = poses.keypoints[seen.any(axis=-1).mean(axis=1) > 0.8]
    assert len(lasting) == 2
    on = []
    for person in lasting[:, 0]:
        inside = [
            ((person >= (x1, y1)) & (person <= (x2, y2))).all(axis=-1).mean()
            for x1, y1, x2, y2 in (ASTRONAUT, PHOTOGRAPHER)
        ]
        assert max(inside) > 0.8
        on.append(int(np.argmax(inside)))
    assert sorted(on) == [0, 1]


def test_the_weights_are_small_and_their_cards_whole() -> None:
    assert builtin.names() == ["people", "pose"]
    for name in builtin.names():
        said = builtin.show(name)
        assert said["trained"]["steps"] > 0 and said["measured"]["pck_0.2_torso"] > 0.2
        assert said["card"]["calibration"]["score"]
    assert sum(path.stat().st_size for path in builtin.FOLDER.glob("*.safetensors")) < 12e6
