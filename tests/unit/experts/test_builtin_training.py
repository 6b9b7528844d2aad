"""How the built-in experts are trained: labels, augmentation, targets, losses, the loop."""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skelkit.errors import CheckpointError, InputError
from skelkit.experts.builtin.training.fit import Fit, fit
from skelkit.experts.builtin.training.mosaics import mosaic
from skelkit.experts.builtin.training.people_loss import (
    Targets,
    centre_loss,
    generalised_iou,
    people_loss,
    quality_focal_loss,
    targets,
)
from skelkit.experts.builtin.training.pose_loss import certainty, gaussians, pose_loss
from skelkit.experts.builtin.training.scenes import JOINTS, Scene, Scenes, write_scenes
from skelkit.experts.builtin.training.teaching import Teachers, upright
from skelkit.experts.builtin.training.views import (
    CROP_SCALE,
    View,
    coloured,
    covered,
    cut,
    plain_view,
    random_view,
)
from skelkit.structures import Detections, FrameBatch, Poses

K = JOINTS.num_joints


def scene(seed: int = 0, size: tuple[int, int] = (120, 90)) -> Scene:
    """A dark picture with one person, whose joint k is a square of brightness 100 + 8 k."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((*size, 3), np.uint8)
    cells = np.stack(np.meshgrid(np.arange(5) * 12 + 22, np.arange(6) * 12 + 30), axis=-1).reshape(-1, 2)
    points = cells[rng.permutation(len(cells))[:K]].astype(np.float32)
    for k, (x, y) in enumerate(points.astype(int)):
        picture[y - 2 : y + 3, x - 2 : x + 3] = 100 + 8 * k
    joints = np.concatenate([points, np.ones((K, 1), np.float32)], axis=1)[None]
    box = np.asarray([[10, 20, 80, 100, 1]], np.float32)
    return Scene(picture=picture, boxes=box, joints=joints, taught=np.zeros_like(joints))


def test_scenes_come_back_as_they_were_written(tmp_path: Path) -> None:
    scenes = [scene(0), scene(1, (100, 130))]
    write_scenes(tmp_path, scenes)
    read = Scenes.read(tmp_path)
    assert len(read) == 2
    for i, wanted in enumerate(scenes):
        for field in ("picture", "boxes", "joints", "taught"):
            np.testing.assert_array_equal(getattr(read[i], field), getattr(wanted, field))
    with pytest.raises(InputError, match="labelled scenes"):
        Scenes.read(tmp_path / "none")


def test_no_scenes_are_scenes_too(tmp_path: Path) -> None:
    write_scenes(tmp_path, [])
    assert len(Scenes.read(tmp_path)) == 0


def test_shrunk_scenes_keep_their_joints_in_place() -> None:
    small = scene().shrunk(60)
    assert small.picture.shape == (60, 45, 3)
    np.testing.assert_allclose(small.joints[..., :2], (scene().joints[..., :2] + 0.5) / 2 - 0.5)
    np.testing.assert_allclose(small.boxes[0], [4.75, 9.75, 39.75, 49.75, 1])
    assert scene().shrunk(500).picture.shape == (120, 90, 3)


@given(
    angle=st.floats(-3, 3), side=st.floats(60, 150), mirrored=st.booleans(), size=st.sampled_from([96, 128])
)
def test_joints_follow_the_pixels(angle: float, side: float, mirrored: bool, size: int) -> None:
    view = View(middle=np.asarray([45.0, 60.0]), side=side, angle=angle, mirrored=mirrored)
    crop, joints, taught = cut(scene(), 0, view, size)
    assert crop.shape == (size, size, 3) and not taught[:, 2].any()
    for k, (x, y, there) in enumerate(joints):
        if there and 1 <= x < size - 2 and 1 <= y < size - 2:
            shown = JOINTS.mirrored[k] if mirrored else k
            assert abs(int(crop[round(y), round(x), 0]) - (100 + 8 * shown)) <= 8


def test_mirrored_people_swap_left_and_right() -> None:
    left, right, nose = (JOINTS.index(j) for j in ("left_knee", "right_knee", "nose"))
    assert JOINTS.mirrored[left] == right and JOINTS.mirrored[right] == left and JOINTS.mirrored[nose] == nose
    np.testing.assert_array_equal(JOINTS.mirrored[JOINTS.mirrored], np.arange(K))


def test_the_plain_view_is_the_experts_own() -> None:
    view = plain_view(scene().boxes[0])
    np.testing.assert_allclose(view.middle, [45, 60])
    assert view.side == pytest.approx(CROP_SCALE * 80)
    np.testing.assert_allclose(view.matrix(92) @ [45.5, 45.5, 1], [45, 60])


def test_random_views_show_the_person() -> None:
    rng = np.random.default_rng(0)
    shown = [cut(scene(), 0, random_view(scene(), 0, rng), 96)[1][:, 2].mean() for _ in range(200)]
    assert np.mean(shown) > 0.85 and min(shown) > 0.2
    assert len({round(s, 3) for s in shown}) > 3


def test_light_and_covers_leave_pictures_pictures() -> None:
    rng = np.random.default_rng(0)
    pictures = 255 * torch.rand(16, 3, 40, 40)
    lit = coloured(pictures, rng)
    assert lit.shape == pictures.shape and float(lit.min()) >= 0 and float(lit.max()) <= 255
    assert not torch.equal(lit, pictures)
    hidden = covered(pictures.clone(), rng)
    changed = (hidden != pictures).flatten(1).any(dim=1)
    assert 0 < int(changed.sum()) < 16


def test_gaussians_are_gaussians_over_cells() -> None:
    found = gaussians(torch.tensor([[9.5, 5.5]]), (4, 5), 1.3)[0].reshape(4, 5)
    wanted = np.empty((4, 5))
    for y, x in np.ndindex(4, 5):
        away = (4 * x + 1.5 - 9.5) ** 2 + (4 * y + 1.5 - 5.5) ** 2
        wanted[y, x] = math.exp(-away / (2 * (4 * 1.3) ** 2))
    np.testing.assert_allclose(found, wanted / wanted.sum(), atol=1e-6)


def slow_pose_loss(logits: np.ndarray, joints: np.ndarray, taught: np.ndarray, sigma: float) -> float:
    total, weights = 0.0, 0.0
    for b, k in np.ndindex(logits.shape[:2]):
        marked = float(joints[b, k, 2] > 0)
        teacher = min(max((taught[b, k, 2] - 0.25) / 0.5, 0), 1) * (0.4 if marked else 0.8)
        if marked + teacher == 0:
            continue
        bells = [
            gaussians(torch.from_numpy(p[b, k, :2])[None], logits.shape[2:], sigma)[0].numpy()
            for p in (joints, taught)
        ]
        target = (marked * bells[0] + teacher * bells[1]) / (marked + teacher)
        flat = logits[b, k].ravel().astype(np.float64)
        entropy = -(target * (flat - np.log(np.exp(flat).sum()))).sum()
        weight = min(marked + teacher, 1)
        total, weights = total + weight * entropy, weights + weight
    return total / max(weights, 1)


def test_pose_loss_is_the_mean_cross_entropy_to_mixed_labels() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, K, 6, 6)).astype(np.float32)
    joints, taught = (rng.uniform(0, 24, (2, K, 3)).astype(np.float32) for _ in range(2))
    joints[..., 2] = rng.random((2, K)) < 0.6
    taught[..., 2] = rng.random((2, K))
    found = pose_loss(*(torch.from_numpy(v) for v in (logits, joints, taught)), 1.5)
    assert float(found) == pytest.approx(slow_pose_loss(logits, joints, taught, 1.5), rel=1e-4)


def test_nothing_labelled_costs_nothing() -> None:
    nothing = torch.zeros(1, K, 3)
    assert float(pose_loss(torch.randn(1, K, 4, 4), nothing, nothing, 1.5)) == 0


def test_teachers_are_believed_by_their_scores() -> None:
    np.testing.assert_allclose(certainty(torch.tensor([0.1, 0.25, 0.5, 0.75, 1.0])), [0, 0, 0.5, 1, 1])


def test_targets_of_a_person() -> None:
    boxes = np.asarray([[20, 30, 60, 110, 1.0]], np.float32)
    joints = np.zeros((1, K, 3), np.float32)
    joints[0, 4] = (45.5, 61.5, 1)
    wanted = targets(boxes, joints, 128)
    assert float(wanted.centre.max()) == 1
    i, j = np.unravel_index(int(wanted.centre.argmax()), wanted.centre.shape)
    assert abs(8 * j + 3.5 - 40) <= 4 and abs(8 * i + 3.5 - 70) <= 4
    x, y = 8 * j + 3.5, 8 * i + 3.5
    np.testing.assert_allclose(wanted.sides[:, i, j], [x - 20, y - 30, 60 - x, 110 - y])
    np.testing.assert_allclose(wanted.ways[4, :, i, j], [(45.5 - x) / 80, (61.5 - y) / 80], rtol=1e-5)
    assert wanted.ways_weight[4, i, j] > 0.9 and not wanted.ways_weight[3].any()
    assert float(wanted.maps[4, 15, 11]) == 1 and float(wanted.maps_weight[4, 15, 11]) == 1
    inside = wanted.maps_weight[3, 8:28, 5:15]
    assert not inside.any() and wanted.maps_weight[3].sum() == 32 * 32 - inside.numel()
    assert wanted.centre_weight.all()


def test_people_in_doubt_are_neither_people_nor_background() -> None:
    boxes = np.asarray([[20, 30, 60, 110, 0.2]], np.float32)
    wanted = targets(boxes, np.zeros((1, K, 3), np.float32), 128)
    assert not wanted.centre.any() and not wanted.person.any()
    assert not wanted.centre_weight[4:13, 3:7].any() and wanted.centre_weight[:3].all()


def test_generalised_iou_is_that_of_corners() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(1, 9, (50, 4)) for _ in range(2))
    found = generalised_iou(torch.from_numpy(a), torch.from_numpy(b))
    for p, q, value in zip(a, b, found, strict=True):
        low, high = np.maximum(-p[:2], -q[:2]), np.minimum(p[2:], q[2:])
        inner = (high - low).prod()
        area = [(v[:2] + v[2:]).prod() for v in (p, q)]
        hull = (np.maximum(p[2:], q[2:]) - np.minimum(-p[:2], -q[:2])).prod()
        union = sum(area) - inner
        assert float(value) == pytest.approx(inner / union - (hull - union) / hull)


def test_centre_loss_is_equation_1_of_centernet() -> None:
    rng = np.random.default_rng(0)
    logits, wanted = rng.normal(size=(2, 5, 5)), rng.uniform(0, 0.9, (2, 5, 5))
    wanted[0, 2, 2] = wanted[1, 1, 3] = 1
    total = 0.0
    for at in np.ndindex(2, 5, 5):
        p = 1 / (1 + math.exp(-logits[at]))
        y = wanted[at]
        total += (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
    found = centre_loss(torch.from_numpy(logits), torch.from_numpy(wanted), torch.ones(2, 5, 5))
    assert float(found) == pytest.approx(-total / 2)


def test_quality_focal_loss_is_zero_only_for_the_right_answer() -> None:
    wanted = torch.tensor([0.3, 0.9, 0.5])
    weight = torch.ones(3)
    assert float(quality_focal_loss(torch.logit(wanted), wanted, weight)) == pytest.approx(0, abs=1e-6)
    assert float(quality_focal_loss(torch.zeros(3), wanted, weight)) > 0.01


def test_a_perfect_answer_costs_less_than_any_other() -> None:
    boxes = np.asarray([[20, 30, 60, 110, 1.0]], np.float32)
    joints = np.concatenate([np.random.default_rng(0).uniform(30, 60, (1, K, 2)), np.ones((1, K, 1))], axis=2)
    wanted = Targets.stack([targets(boxes, joints.astype(np.float32), 128)])
    right = (
        torch.logit(wanted.centre[:, None].clamp(1e-4, 1 - 1e-4)),
        wanted.sides,
        wanted.ways,
        torch.logit(wanted.maps.clamp(1e-4, 1 - 1e-4)),
    )
    best = people_loss(right, wanted)
    assert float(best["box"]) == pytest.approx(0, abs=1e-5) and float(best["way"]) == 0
    for part, name in enumerate(("centre", "box", "way", "map")):
        other = list(right)
        other[part] = right[part] + 1.5
        assert float(people_loss(tuple(other), wanted)[name]) > float(best[name]) + 0.01


def test_mosaics_show_people_where_they_say(tmp_path: Path) -> None:
    write_scenes(tmp_path / "a", [scene(i) for i in range(4)])
    write_scenes(tmp_path / "b", [])
    marked, none = Scenes.read(tmp_path / "a"), Scenes.read(tmp_path / "b")
    rng = np.random.default_rng(0)
    counts, seen = [], []
    for _ in range(40):
        canvas, boxes, joints = mosaic(marked, none, 160, rng)
        assert canvas.shape == (160, 160, 3) and len(boxes) == len(joints)
        assert (boxes[:, :4] >= 0).all() and (boxes[:, :4] <= 160).all()
        counts.append(len(boxes))
        for x, y, there in joints.reshape(-1, 3):
            if there:
                seen.append(int(canvas[min(round(float(y)), 159), min(round(float(x)), 159), 0]) > 60)
    assert set(counts) >= {1, 2, 4}
    assert np.mean(seen) > 0.95  # all but those at a tile's very edge


def test_views_for_the_teacher_are_upright() -> None:
    joints = np.zeros((K, 3), np.float32)
    joints[JOINTS.index("neck")] = (80, 50, 1)  # a person lying with the head to the right
    joints[JOINTS.index("left_hip")] = (20, 45, 1)
    joints[JOINTS.index("right_hip")] = (20, 55, 1)
    box = np.asarray([0, 30, 100, 70], np.float32)
    matrix = upright(box, joints)
    there = np.linalg.inv(np.vstack([matrix, [0, 0, 1]])) @ np.asarray([[80, 20], [50, 50], [1, 1]])
    neck, hips = there[:2].T
    assert neck[1] < hips[1] and neck[0] == pytest.approx(hips[0])
    np.testing.assert_allclose(matrix @ [111.5, 111.5, 1], [50, 50])
    straight = upright(box, np.zeros((K, 3), np.float32))
    assert straight[0, 1] == 0 and straight[0, 0] > 0


class OnePerson:
    """A detector that finds one box, and a pose expert that finds every joint at the view's middle."""

    name, kind, skeleton = "one", "top-down", JOINTS

    def detect(self, frames: FrameBatch) -> Detections:
        return Detections(
            frame_indices=np.zeros(2, np.int64),
            boxes_xyxy=np.asarray([[12, 22, 78, 98], [60, 2, 88, 18]], np.float32),
            box_scores=np.asarray([0.9, 0.2], np.float32),
        )

    def predict(self, frames: FrameBatch, people: Detections | None = None) -> Poses:
        assert people is not None
        count, size = len(people), frames.images.shape[1]
        return Poses(
            skeleton=JOINTS,
            frame_indices=people.frame_indices,
            boxes_xyxy=people.boxes_xyxy,
            box_scores=people.box_scores,
            keypoints=np.full((count, K, 2), (size - 1) / 2, np.float32),
            scores=np.full((count, K), 0.5, np.float32),
        )


def test_teachers_label_scenes() -> None:
    teachers = Teachers(detector=OnePerson(), poses=OnePerson())
    own = scene()
    labelled = teachers.marked_scene(own.picture, own.joints[0])
    assert len(labelled.boxes) == 2  # the detection of the marked person is that person
    np.testing.assert_array_equal(labelled.joints[0], own.joints[0])
    middle = (labelled.boxes[0, :2] + labelled.boxes[0, 2:4]) / 2
    np.testing.assert_allclose(labelled.taught[0, :, :2], np.tile(middle, (K, 1)), atol=1e-3)
    assert not labelled.joints[1].any() and not labelled.taught[1].any()
    alone = teachers.scene(own.picture)
    np.testing.assert_allclose(alone.taught[0, :, :2], np.tile([45, 60], (K, 1)), atol=1e-3)
    assert len(alone.boxes) == 2 and not alone.taught[1].any()  # unsure of the second


def line(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Linear(2, 1)


def line_losses(network: torch.nn.Module, step: int, done: float) -> dict[str, torch.Tensor]:
    x = torch.from_numpy(np.random.default_rng(step).normal(size=(8, 2))).float()
    return {"square": ((network(x)[:, 0] - x @ torch.tensor([1.0, -2.0])) ** 2).mean()}


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = Fit(steps=60, checkpoint=tmp_path / "a.pt", every=20, rate=0.05)
    told: list[int] = []
    first, steps = fit(line(0), line_losses, whole, lambda step, _: told.append(step))
    assert steps == 60 and told == [20, 40, 60]

    def stops(network: torch.nn.Module, step: int, done: float) -> dict[str, torch.Tensor]:
        if step == 45:
            raise KeyboardInterrupt
        return line_losses(network, step, done)

    broken = Fit(steps=60, checkpoint=tmp_path / "b.pt", every=20, rate=0.05)
    with pytest.raises(KeyboardInterrupt):
        fit(line(0), stops, broken, lambda *_: None)
    second, steps = fit(line(7), line_losses, broken, lambda *_: None)
    assert steps == 60
    torch.testing.assert_close(first.weight, second.weight)
    # done already: nothing is trained any more
    again, steps = fit(line(7), stops, whole, lambda *_: None)
    torch.testing.assert_close(first.weight, again.weight)


def test_a_budget_of_time_runs_through_the_whole_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))  # a second at every look
    plan = Fit(steps=10**9, checkpoint=tmp_path / "a.pt", minutes=0.5)
    seen: list[float] = []

    def watched(network: torch.nn.Module, step: int, done: float) -> dict[str, torch.Tensor]:
        seen.append(done)
        return line_losses(network, step, done)

    _, steps = fit(line(0), watched, plan, lambda *_: None)
    np.testing.assert_allclose(seen, np.arange(1, 30) / 30, rtol=1e-6)
    assert steps == 29
    assert plan.rate_at(1000, 1.0) == pytest.approx(0.01 * plan.rate)


def test_checkpoints_of_another_network_are_told(tmp_path: Path) -> None:
    plan = Fit(steps=2, checkpoint=tmp_path / "a.pt")
    fit(line(0), line_losses, plan, lambda *_: None)
    with pytest.raises(CheckpointError, match="begin anew"):
        fit(torch.nn.Linear(3, 1), line_losses, plan, lambda *_: None)
