"""What LCR-Net++ learns from, and what changes while it learns (thesis, sections 3.3.3 and 3.6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skelkit.errors import ConfigError
from skelkit.experts.lcrnet.anchors import nearest, pose_boxes, to_boxes
from skelkit.experts.lcrnet.learning import LOSSES, LearningSettings, learn
from skelkit.experts.lcrnet.network import LCRNet
from skelkit.experts.lcrnet.pictures import Labelled, Pictures, degraded, fitted, in_memory, people, varied
from skelkit.skeletons import LCR13
from skelkit.structures import Float32, UInt8

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def dots(points: Float32, height: int = 120, width: int = 160) -> UInt8:
    """A grey picture with a square of its own colour at each of three places."""
    picture = np.full((height, width, 3), 60, np.uint8)
    for (x, y), colour in zip(points, COLOURS, strict=True):
        picture[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4] = colour
    return picture


def place_of(picture: UInt8, colour: tuple[int, int, int]) -> np.ndarray:
    """Middle of what has most of this colour."""
    strength = picture.astype(float) @ np.where(np.asarray(colour) > 0, 1.0, -0.5)
    rows, columns = np.nonzero(strength > 0.5 * strength.max())
    return np.asarray([columns.mean(), rows.mean()])


def pose(rng: np.random.Generator) -> Float32:
    return (rng.random((1, 13, 2)) * (50, 80) + (40, 20)).astype(np.float32)


def test_keypoints_go_where_the_picture_goes() -> None:
    """Left shoulder red, right shoulder green, head blue: in a mirror left and right change their names."""
    rng = np.random.default_rng(0)
    points = np.full((1, 13, 2), np.nan, np.float32)
    at = [LCR13.index(name) for name in ("left_shoulder", "right_shoulder", "head")]
    points[0, at] = [(60, 40), (100, 50), (82, 90)]
    picture, moved = fitted(dots(points[0, at]), points, 128)
    assert picture.shape == (128, 128, 3)
    for colour, joint in zip(COLOURS, at, strict=True):
        np.testing.assert_allclose(moved[0, joint], place_of(picture, colour), atol=1)
    mirrored = inside = 0
    for _ in range(40):
        seen, places = varied(picture, moved, LCR13, rng)
        if not ((places[0, at] > 4) & (places[0, at] < 124)).all():
            continue
        inside += 1
        own = np.linalg.norm(place_of(seen, COLOURS[0]) - places[0, at[0]])
        other = np.linalg.norm(place_of(seen, COLOURS[0]) - places[0, at[1]])
        mirrored += bool(other < own)
        assert min(own, other) < 2.5
        np.testing.assert_allclose(places[0, at[2]], place_of(seen, COLOURS[2]), atol=2.5)
    assert inside > 20 and 0.25 < mirrored / inside < 0.75


def test_degraded_pictures_are_small_and_their_people_partly_hidden() -> None:
    rng = np.random.default_rng(0)
    points = (pose(rng) * 5).astype(np.float32)
    picture = rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    small, places = degraded(picture, points, np.random.default_rng(1))
    assert small.shape == (180, 320, 3)
    np.testing.assert_allclose(places, points / 4, rtol=1e-5)
    untouched, _ = degraded(picture, points[:0], np.random.default_rng(1))
    changed = (small != untouched).any(axis=2)
    left, top, right, bottom = pose_boxes(places)[0]
    rows, columns = np.nonzero(changed)
    assert top - 1 <= rows.min() and rows.max() <= bottom + 1
    assert left - 1 <= columns.min() and columns.max() <= right + 1
    share = changed.sum() / ((right - left) * (bottom - top))
    assert 0.05 < share < 0.3  # sides of a quarter to a half
    tiny, same = degraded(picture[:90, :100], points / 10, rng)
    assert tiny.shape == (90, 100, 3)
    np.testing.assert_allclose(same, points / 10, rtol=1e-6)


def test_pseudo_ground_truth_of_a_picture() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([pose(rng), pose(rng) + 500, pose(rng)])
    points[2, 3:] = np.nan
    anchors = rng.random((4, 13, 2)).astype(np.float32)
    found = people(points, None, anchors, 128)
    assert len(found.boxes) == 2  # one stands outside
    np.testing.assert_array_equal(found.keypoints, points[[0, 2]])
    np.testing.assert_allclose(found.boxes, np.clip(pose_boxes(points[[0, 2]]), 0, 128))
    expected = nearest(to_boxes(points[[0, 2]], pose_boxes(points[[0, 2]])), anchors)
    np.testing.assert_array_equal(found.classes, expected)
    assert len(people(points[:0], None, anchors, 128).classes) == len(found.doubtful) == 0
    in_doubt = people(points, np.asarray([False, False, True]), anchors, 128)
    np.testing.assert_array_equal(in_doubt.boxes, found.boxes[1:])
    np.testing.assert_array_equal(in_doubt.doubtful, found.boxes[:1])  # the one outside is nobody's doubt


def some_pictures(count: int = 4) -> list[Labelled]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        picture = rng.integers(0, 256, (100, 150, 3), dtype=np.uint8)
        made.append(Labelled(read=lambda p=picture: p, keypoints=pose(rng)))
    return made


def test_chance_is_new_in_each_epoch_and_the_same_for_a_seed() -> None:
    anchors = np.random.default_rng(0).random((4, 13, 2)).astype(np.float32)
    kept = [in_memory(one, 75) for one in some_pictures()]
    assert kept[0].read().shape == (50, 75, 3)
    a, b = (Pictures(kept, LCR13, anchors, side=96, seed=3, degrade=0.5) for _ in range(2))
    torch.testing.assert_close(a[1][0], b[1][0], rtol=0, atol=0)
    b.epoch = 1
    assert not torch.equal(a[1][0], b[1][0])
    plain = Pictures(kept, LCR13, anchors, side=96, seed=None)
    torch.testing.assert_close(plain[2][0], plain[2][0], rtol=0, atol=0)


@pytest.mark.parametrize("weak", [False, True])
def test_weak_learning_leaves_the_regression_alone(weak: bool) -> None:
    """Equation 3.5: L = L_loc + L_classif."""
    torch.manual_seed(0)
    network = LCRNet(torch.rand(4, 13, 2), "small", regions=16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pictures = Pictures(some_pictures(), LCR13, network.anchors.numpy(), side=96, seed=0)
    settings = LearningSettings(weak=weak, epochs=2, batch_size=2)
    told = list(learn(network, pictures, settings, torch.device("cpu")))
    assert len(told) == 2 and set(told[0]) == set(LOSSES[:2] if weak else LOSSES)
    changed = {n for n, value in network.state_dict().items() if not torch.equal(before[n], value)}
    for part in ("backbone", "localisation", "shared", "classification"):
        assert any(name.startswith(f"{part}.") for name in changed)
    for name in before:
        if name.startswith("regression.") or "running_" in name:
            assert (name in changed) is not weak, name
    assert not network.training


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_a_backbone_that_has_learnt_before_learns_less(share: float) -> None:
    torch.manual_seed(0)
    network = LCRNet(torch.rand(4, 13, 2), "small", regions=16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pictures = Pictures(some_pictures(), LCR13, network.anchors.numpy(), side=96, seed=0)
    settings = LearningSettings(epochs=1, batch_size=2, weight_decay=0, backbone=share)
    list(learn(network, pictures, settings, torch.device("cpu")))
    moved = {name: (value - before[name]).abs().max().item() for name, value in network.state_dict().items()}
    steps = 2  # of Adam, whose steps are hardly longer than the learning rate
    assert 0.1 * settings.lr < moved["shared.1.weight"] < 2 * steps * settings.lr
    backbone = [name for name in before if name.startswith("backbone.")]
    assert all(moved[name] <= 2 * steps * settings.lr * share for name in backbone)
    assert (max(moved[name] for name in backbone) > 0) == (share > 0)
    assert all(moved[name] == 0 for name in backbone if "running_" in name)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 0, 4"):
        LearningSettings(epochs=0)
    with pytest.raises(ConfigError, match=r"0 to 1, got 1\.5"):
        LearningSettings(backbone=1.5)
