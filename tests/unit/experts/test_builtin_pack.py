"""The weights in the package, on pictures whose joints are known."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("benchmarks.accuracy")

from made_networks import CPU

from benchmarks.accuracy import coco, lspet, measure
from skelkit.experts import build_expert


def test_pose_in_true_boxes(pack: Path) -> None:
    expert = build_expert("builtin:pose", device=CPU)
    assert measure(expert, list(coco(pack)), None)[0] >= 0.55
    assert measure(expert, list(lspet(pack, 60)), None)[0] >= 0.5


def test_people_are_found(pack: Path) -> None:
    expert = build_expert("builtin:people", device=CPU)
    assert measure(expert, list(coco(pack)), None)[2] >= 10 / 12
