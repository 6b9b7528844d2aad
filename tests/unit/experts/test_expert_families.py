"""Experts of other packages, found through entry points."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from made_networks import CPU, batch, people

from skelkit.errors import ConfigError
from skelkit.experts import FAMILIES, build_detector, build_expert, describe
from skelkit.protocols import PoseExpert

PLUGIN = '''
import numpy as np
from skelkit.skeletons import COCO17
from skelkit.structures import Poses

def describe(name, weights):
    return {"name": name, "weights": str(weights)}

def build(name, weights, device, batch_size):
    return Centre(name)

class Centre:
    """Every joint in the middle of the box."""
    kind = "top-down"
    skeleton = COCO17
    def __init__(self, name):
        self.name = name
    def predict(self, frames, people=None):
        middle = (people.boxes_xyxy[:, :2] + people.boxes_xyxy[:, 2:]) / 2
        return Poses(
            skeleton=COCO17, frame_indices=people.frame_indices, boxes_xyxy=people.boxes_xyxy,
            box_scores=people.box_scores, keypoints=np.repeat(middle[:, None], 17, axis=1),
            scores=np.ones((len(middle), 17), np.float32),
        )
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with two families, one of which cannot be imported."""
    (tmp_path / "made_plugin.py").write_text(PLUGIN)
    info = tmp_path / "made_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[skelkit.experts]\nmade = made_plugin\nbroken = made_plugin_none\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "made_plugin", None)
    monkeypatch.delitem(sys.modules, "made_plugin")


@pytest.mark.usefixtures("plugin")
def test_a_family_of_another_package() -> None:
    assert {"broken", "made", "onnx"} <= set(FAMILIES.names())
    assert describe("made:large", "w") == {"name": "large", "weights": "w"}
    expert = build_expert("made:large", device=CPU)
    assert isinstance(expert, PoseExpert) and expert.name == "large"
    poses = expert.predict(batch(np.zeros((9, 9, 3), np.uint8)), people([0], [(0, 2, 4, 8)]))
    np.testing.assert_array_equal(poses.keypoints[0], [[2, 5]] * 17)
    with pytest.raises(ConfigError, match="expected a detector, 'made:large' is a pose expert"):
        build_detector("made:large", device=CPU)


@pytest.mark.usefixtures("plugin")
def test_a_family_that_cannot_be_imported() -> None:
    with pytest.raises(ConfigError, match="registered as 'made_plugin_none' but cannot be imported"):
        build_expert("broken:x", device=CPU)


def test_an_unknown_family() -> None:
    with pytest.raises(ConfigError, match=r"unknown experts?: 'onxn'; did you mean onnx"):
        build_expert("onxn:movenet", device=CPU)
    with pytest.raises(ConfigError, match="unknown expert: 'movnet'; did you mean movenet"):
        describe("onnx:movnet")
