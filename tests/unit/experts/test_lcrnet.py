"""LCR-Net++ part by part, against obvious slow versions (thesis, section 3.3.3)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchvision.ops import box_iou

from skelkit.errors import ConfigError, WeightsError
from skelkit.experts import Device, build_expert, describe
from skelkit.experts.lcrnet.anchors import cluster, from_boxes, nearest, pose_boxes, to_boxes
from skelkit.experts.lcrnet.expert import LCRNetExpert, fit
from skelkit.experts.lcrnet.files import load_network, save_network
from skelkit.experts.lcrnet.integration import integrate
from skelkit.experts.lcrnet.network import BACKBONES, Candidates, LCRNet
from skelkit.experts.lcrnet.targets import (
    People,
    choose_regions,
    classification_loss,
    regression_loss,
    shaken,
)
from skelkit.skeletons import LCR13
from skelkit.structures import Float32, FrameBatch

K = 5
places = st.floats(-50, 300, width=32)


@st.composite
def some_poses(draw: st.DrawFn, least: int = 0) -> Float32:
    """(P, K, 2) px, some joints unknown."""
    people = draw(st.integers(least, 6))
    points = draw(arrays(np.float32, (people, K, 2), elements=places))
    points[draw(arrays(bool, (people, K)))] = np.nan
    return points


# Anchor poses and boxes


@given(some_poses())
def test_pseudo_boxes_are_the_extent_and_a_tenth_more(points: Float32) -> None:
    for pose, box in zip(points, pose_boxes(points), strict=True):
        known = [(float(x), float(y)) for x, y in pose if not math.isnan(x)]
        if not known:
            assert np.isnan(box).all()
            continue
        expected = []
        for axis in range(2):
            low, high = min(p[axis] for p in known), max(p[axis] for p in known)
            length = max(1.1 * (high - low), 1.0)
            expected.append(((low + high) / 2 - length / 2, (low + high) / 2 + length / 2))
        (left, right), (top, bottom) = expected
        np.testing.assert_allclose(box, [left, top, right, bottom], rtol=1e-4, atol=1e-3)


@given(some_poses())
def test_poses_go_into_boxes_and_back(points: Float32) -> None:
    boxes = pose_boxes(points)
    np.testing.assert_allclose(from_boxes(to_boxes(points, boxes), boxes), points, atol=1e-2)


@given(some_poses(), arrays(np.float32, (4, K, 2), elements=st.floats(0, 1, width=32)))
def test_class_of_a_pose_is_the_nearest_anchor(points: Float32, anchors: Float32) -> None:
    poses = to_boxes(points, pose_boxes(points))
    for pose, number in zip(poses, nearest(poses, anchors), strict=True):
        means = []
        for anchor in anchors:
            away = [math.dist(a, b) for a, b in zip(pose, anchor, strict=True) if not math.isnan(a[0])]
            means.append(sum(away) / len(away) if away else math.inf)
        if math.isinf(means[0]):
            assert number == 0
        else:
            assert means[number - 1] == pytest.approx(min(means), abs=1e-5)


def test_anchors_are_the_centres_of_clusters() -> None:
    rng = np.random.default_rng(0)
    true = rng.random((3, K, 2)).astype(np.float32)
    poses = np.concatenate([c + rng.normal(0, 0.01, (40, K, 2)) for c in true]).astype(np.float32)
    poses[5, 2] = np.nan  # left out
    found = cluster(poses, 3)
    whole = np.isfinite(poses).all(axis=(1, 2))
    wanted = [poses[40 * i : 40 * i + 40][whole[40 * i : 40 * i + 40]].mean(axis=0) for i in range(3)]
    wanted.sort(key=lambda pose: pose[0, 1])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_array_equal(found, cluster(poses, 3))


def test_more_anchors_than_whole_poses_are_refused() -> None:
    poses = np.full((9, K, 2), np.nan, np.float32)
    with pytest.raises(ConfigError, match="at least 4 poses"):
        cluster(poses, 4)


# Losses


@given(seed=st.integers(0, 999), rows=st.integers(1, 8))
def test_equation_3_7_classification(seed: int, rows: int) -> None:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 4, generator=g, dtype=torch.float64)
    classes = torch.randint(4, (rows,), generator=g)
    slow = 0.0
    for row, wanted in zip(logits.tolist(), classes.tolist(), strict=True):
        u = math.exp(row[wanted]) / sum(math.exp(value) for value in row)
        slow -= math.log(u) / rows
    assert float(classification_loss(logits, classes)) == pytest.approx(slow, rel=1e-9)


@given(seed=st.integers(0, 999))
def test_regression_is_of_the_own_class_and_of_known_joints(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    deformed = torch.rand(6, 3, K, 2, generator=g)
    wanted = torch.rand(6, K, 2, generator=g)
    wanted[torch.rand(6, K, generator=g) < 0.3] = torch.nan
    classes = torch.randint(4, (6,), generator=g)
    slow, people = 0.0, 0
    for poses, truth, number in zip(deformed.tolist(), wanted.tolist(), classes.tolist(), strict=True):
        if number == 0:
            continue
        people += 1
        for a, b in zip(poses[number - 1], truth, strict=True):
            for x, y in zip(a, b, strict=True):
                if not math.isnan(y):
                    d = abs(x - y)
                    slow += d * d / 0.1 if d < 0.05 else d - 0.025
    assert float(regression_loss(deformed, wanted, classes)) == pytest.approx(slow / max(people, 1), rel=1e-4)


def some_people(count: int, seed: int = 0) -> People:
    rng = np.random.default_rng(seed)
    points = (rng.random((count, 13, 2)) * (60, 90) + rng.random((count, 1, 2)) * 100).astype(np.float32)
    return People(
        boxes=torch.from_numpy(pose_boxes(points)),
        classes=torch.arange(count) % 3 + 1,
        keypoints=torch.from_numpy(points),
    )


@given(seed=st.integers(0, 99), count=st.integers(0, 3), wanted=st.integers(4, 60))
@settings(deadline=None)
def test_regions_are_people_or_background(seed: int, count: int, wanted: int) -> None:
    people, g = some_people(count, seed), torch.Generator().manual_seed(seed)
    corner = torch.rand(40, 2, generator=g) * 150
    regions = torch.cat([corner, corner + 1 + torch.rand(40, 2, generator=g) * 120], dim=1)
    taken, whose = choose_regions(regions, people, wanted, g)
    assert len(taken) == len(whose) <= wanted
    assert (whose >= 0).sum() <= max(1, wanted // 4)
    for box, person in zip(taken.tolist(), whose.tolist(), strict=True):
        overlaps = []
        for other in people.boxes.tolist():
            w = min(box[2], other[2]) - max(box[0], other[0])
            h = min(box[3], other[3]) - max(box[1], other[1])
            inner = max(w, 0) * max(h, 0)
            areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
            overlaps.append(inner / (areas - inner))
        if person >= 0:
            assert overlaps[person] == max(overlaps) >= 0.5 - 1e-6
        else:
            assert max(overlaps, default=0) < 0.5 + 1e-6


def test_of_every_person_there_are_boxes_to_learn_from() -> None:
    boxes = torch.tensor([[10.0, 20, 60, 120], [80.0, 0, 180, 50]])
    around = shaken(boxes, torch.Generator().manual_seed(0))
    assert (around[:, 2:] > around[:, :2]).all() and len(around.unique(dim=0)) == len(around) == 16
    overlap = box_iou(around, boxes)
    assert ((overlap >= 0.5).sum(dim=0) >= 4).all() and overlap.max() < 1
    people = People(boxes=boxes, classes=torch.tensor([1, 2]), keypoints=torch.rand(2, K, 2))
    _, whose = choose_regions(around, people, 64)
    assert {0, 1} <= set(whose.tolist())
    assert shaken(torch.empty(0, 4)).shape == (0, 4)


def test_nothing_is_learnt_where_somebody_may_be() -> None:
    person, doubtful = torch.tensor([[0.0, 0, 40, 40]]), torch.tensor([[100.0, 100, 160, 160]])
    people = People(
        boxes=person, classes=torch.tensor([1]), keypoints=torch.rand(1, 13, 2) * 40, doubtful=doubtful
    )
    at, beside, elsewhere = [105.0, 105, 160, 160], [100.0, 140, 160, 200], [40.0, 100, 80, 160]
    taken, whose = choose_regions(torch.tensor([at, beside, elsewhere]), people, 64)
    assert sorted(zip(taken.tolist(), whose.tolist(), strict=True)) == [
        (person[0].tolist(), 0), (elsewhere, -1), (beside, -1)
    ]  # fmt: skip
    proposals = LCRNet(torch.rand(2, 13, 2), "small").localisation
    anchors = torch.tensor([person[0].tolist(), at, beside, elsewhere])
    targets = {"boxes": person, "doubtful": doubtful}
    (labels,), _ = proposals.assign_targets_to_anchors([anchors], [targets])
    assert labels.tolist() == [1, -1, 0, 0]
    (labels,), _ = proposals.assign_targets_to_anchors([anchors], [targets | {"doubtful": torch.empty(0, 4)}])
    assert labels.tolist() == [1, 0, 0, 0]


# Pose proposal integration


def slow_integrate(poses: Float32, scores: Float32, regions: list[int]) -> list[tuple[np.ndarray, float]]:
    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        low, high = np.maximum(a.min(axis=0), b.min(axis=0)), np.minimum(a.max(axis=0), b.max(axis=0))
        inner = float(np.prod((high - low).clip(0)))
        areas = sum(float(np.prod(p.max(axis=0) - p.min(axis=0))) for p in (a, b))
        return inner / (areas - inner) if inner > 0 else 0.0

    left, found = list(range(len(poses))), []
    while left:
        best = max(left, key=lambda i: scores[i])
        members = [i for i in left if i == best or overlap(poses[best], poses[i]) > 0.5]
        left = [i for i in left if i not in members]
        size = math.dist(poses[best].min(axis=0), poses[best].max(axis=0))
        alike = [
            i
            for i in members
            if sum(math.dist(a, b) for a, b in zip(poses[best], poses[i], strict=True)) / K <= 0.1 * size
        ]
        weight = sum(float(scores[i]) for i in alike)
        pose = sum(float(scores[i]) * poses[i] for i in alike) / weight
        by_region: dict[int, float] = {}
        for i in members:
            by_region[regions[i]] = by_region.get(regions[i], 0.0) + float(scores[i])
        found.append((pose, min(1.0, max(by_region.values()))))
    return sorted(found, key=lambda person: -person[1])


@given(seed=st.integers(0, 9999), count=st.integers(0, 14))
def test_pose_proposal_integration(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    people = rng.random((3, K, 2)) * 60 + rng.random((3, 1, 2)) * 100
    poses = (people[rng.integers(3, size=count)] + rng.normal(0, 5, (count, K, 2))).astype(np.float32)
    scores = rng.uniform(0.05, 0.5, count).astype(np.float32)
    regions = rng.integers(0, 5, count)
    got, sure = integrate(poses, scores, regions)
    expected = slow_integrate(poses, scores, regions.tolist())
    assert got.shape == (len(expected), K, 2)
    np.testing.assert_allclose(sure, [s for _, s in expected], rtol=1e-5)
    for pose, (wanted, _) in zip(got, expected, strict=True):
        np.testing.assert_allclose(pose, wanted, rtol=1e-4, atol=1e-3)


# The network


@pytest.fixture(scope="module")
def network() -> LCRNet:
    torch.manual_seed(0)
    return LCRNet(torch.rand(3, 13, 2), "small", regions=32)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_part_learns(name: str) -> None:
    torch.manual_seed(0)
    net = LCRNet(torch.rand(3, 13, 2), name, regions=16).train()
    losses = net.losses(torch.rand(2, 3, 128, 128) * 255, [some_people(2), some_people(0)])
    assert set(losses) == {"localisation", "classification", "regression"}
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    still = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # batch norm forgets what a constant adds; only maps that regions fall into are pooled
    assert not [n for n in still if n.startswith(("localisation", "shared", "classification", "regression"))]


def test_a_deformed_anchor_lies_in_its_region(network: LCRNet) -> None:
    net = network.eval()
    with torch.no_grad():
        net.regression.weight.zero_()
        net.regression.bias.zero_()
        (found,) = net(torch.rand(1, 3, 128, 128) * 255)
    for region, poses in zip(found.regions.numpy(), found.poses.numpy(), strict=True):
        boxes = np.repeat(region[None], 3, axis=0)
        np.testing.assert_allclose(poses, from_boxes(net.anchors.numpy(), boxes), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.probabilities.sum(dim=1), 1, rtol=1e-5)


def test_learns_one_picture_by_heart() -> None:
    """All parts together: after some steps the people are found, at their joints."""
    torch.manual_seed(1)
    people = some_people(1, seed=8)
    poses = to_boxes(people.keypoints.numpy(), people.boxes.numpy())
    anchors = np.concatenate([poses + 0.05, np.random.default_rng(0).random((2, 13, 2))]).astype(np.float32)
    classes = torch.from_numpy(nearest(poses, anchors))
    people = People(boxes=people.boxes, classes=classes, keypoints=people.keypoints)
    picture = torch.full((1, 3, 160, 160), 90.0)
    left, top, right, bottom = (int(v) for v in people.boxes[0])
    picture[0, :, top:bottom, left:right] = torch.rand(3, bottom - top, right - left) * 255
    net = LCRNet(torch.from_numpy(anchors), "small", regions=32).train()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    for _ in range(80):
        optimizer.zero_grad()
        torch.stack(list(net.losses(picture, [people]).values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    expert = LCRNetExpert("lcr", net, LCR13, side=160, device=torch.device("cpu"), batch_size=1)
    images = picture.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    found = expert.predict(FrameBatch(images=images, indices=np.arange(1), pts_s=np.zeros(1)))
    assert len(found) >= 1 and found.box_scores[0] > 0.5
    away = np.linalg.norm(found.keypoints[0] - people.keypoints[0].numpy(), axis=1)
    assert away.mean() < 8


def test_people_are_read_in_pixels_of_the_frame(network: LCRNet) -> None:
    expert = LCRNetExpert("lcr", network, LCR13, side=96, device=torch.device("cpu"), batch_size=1)
    poses = torch.arange(26.0).view(1, 1, 13, 2).repeat(2, 3, 1, 1)
    candidates = Candidates(
        regions=torch.zeros(2, 4),
        probabilities=torch.tensor([[0.1, 0.8, 0.1, 0.0], [0.98, 0.01, 0.01, 0.0]]),
        poses=poses,
    )
    found, scores = expert.read(candidates, 0.5)
    np.testing.assert_allclose(found, poses[:1, 0].numpy() * 2)
    np.testing.assert_allclose(scores, [0.9], rtol=1e-6)


def test_pictures_are_fitted_without_distortion() -> None:
    picture = torch.zeros(1, 3, 40, 80, dtype=torch.uint8)
    picture[..., 40:] = 200
    small = fit(picture, 20)
    assert small.shape == (1, 3, 20, 20)
    assert (small[:, :, 10:] == 127.5).all() and float(small[0, 0, 5, 15]) == pytest.approx(200, abs=1)


def test_kept_and_built_by_name(network: LCRNet, tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    save_network(path, network, LCR13, {"side": 96})
    loaded, skeleton, facts = load_network(path)
    assert skeleton is LCR13 and facts == {"side": 96}
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
    device = Device(kind="cpu", index=0, threads=1)
    expert = build_expert(f"lcrnet:{path}", device=device)
    frames = FrameBatch(
        images=np.zeros((2, 60, 80, 3), np.uint8), indices=np.arange(2), pts_s=np.arange(2) / 30
    )
    assert expert.predict(frames).keypoints.shape[1:] == (13, 2)
    assert describe("lcrnet:student.safetensors", tmp_path)["anchor_poses"] == 3


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(WeightsError, match="found nothing"):
        load_network(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="no LCR-Net"):
        load_network(path)
    with pytest.raises(ConfigError, match="unknown backbone"):
        LCRNet(torch.rand(2, 13, 2), "vgg")
