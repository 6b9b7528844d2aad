"""The built-in networks, and reading their answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_networks import CPU
from safetensors.torch import save_file

from skelkit.errors import ConfigError, WeightsError
from skelkit.experts import build_detector, build_expert, builtin
from skelkit.experts.builtin import PeopleExpert
from skelkit.experts.builtin.engine import TorchEngine, fused, load
from skelkit.experts.builtin.networks import PeopleNet, PoseNet
from skelkit.experts.builtin.reading import joint_probabilities, people
from skelkit.experts.cards import Card
from skelkit.experts.lcrnet.network import LCRNet
from skelkit.protocols import Detector, PoseExpert
from skelkit.skeletons import get_skeleton
from skelkit.structures import Detections, FrameBatch

JOINTS = get_skeleton("posetrack17")
K = JOINTS.num_joints


def settled(network: torch.nn.Module) -> torch.nn.Module:
    """A random network whose batch norms have seen something."""
    with torch.no_grad():
        network.train()(255 * torch.rand(4, 3, 64, 64))
    return network.eval()


def test_networks_answer_at_their_strides_for_any_size() -> None:
    with torch.inference_mode():
        assert PoseNet(K).eval()(torch.zeros(2, 3, 96, 128)).shape == (2, K, 24, 32)
        found = PeopleNet(K).eval()(torch.zeros(2, 3, 64, 160))
    assert [v.shape for v in found] == [(2, 1, 8, 20), (2, 4, 8, 20), (2, K, 2, 8, 20), (2, K, 16, 40)]


@pytest.mark.parametrize("kind", [PoseNet, PeopleNet])
def test_fused_network_is_the_same_function(kind: type) -> None:
    torch.manual_seed(0)
    network = settled(kind(K))
    pictures = 255 * torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(pictures)
        after = fused(network)(pictures)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    for a, b in zip(before, after, strict=True) if kind is PeopleNet else [(before, after)]:
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_joint_probabilities_are_the_softmax_summed_over_neighbours() -> None:
    logits = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    found = joint_probabilities(logits)
    for b, k, y, x in np.ndindex(2, 3, 5, 6):
        soft = torch.softmax(logits[b, k].flatten(), 0).reshape(5, 6)
        wanted = soft[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].sum()
        assert found[b, k, y, x] == pytest.approx(float(wanted), abs=1e-5)


def answers(boxes: list[tuple[float, ...]], joints: np.ndarray, size: int) -> tuple[torch.Tensor, ...]:
    """What a perfect `PeopleNet` would say of people; `joints` (P, K, 2), NaN = its heatmap is silent."""
    coarse, fine = size // 8, size // 4
    logits = torch.full((1, 1, coarse, coarse), -10.0)
    sides, ways = torch.ones(1, 4, coarse, coarse), torch.zeros(1, K, 2, coarse, coarse)
    maps = torch.full((1, K, fine, fine), -12.0)
    cells = 4 * np.arange(fine) + 1.5
    for (x0, y0, x1, y1), points in zip(boxes, joints, strict=True):
        i, j = round(((y0 + y1) / 2 - 3.5) / 8), round(((x0 + x1) / 2 - 3.5) / 8)
        x, y = 8 * j + 3.5, 8 * i + 3.5
        logits[0, 0, i, j] = 3.0
        sides[0, :, i, j] = torch.tensor([x - x0, y - y0, x1 - x, y1 - y])
        for k, point in enumerate(points):
            if np.isfinite(point).all():
                bell = np.exp(-((cells[:, None] - point[1]) ** 2 + (cells - point[0]) ** 2) / 50)
                peak = torch.from_numpy(0.9 * bell).float().clamp(1e-6, 1 - 1e-6)
                maps[0, k] = torch.maximum(maps[0, k], torch.logit(peak))
            # the person's own idea is a little off
            way = np.nan_to_num(point + 3 - [x, y]) / max(x1 - x0, y1 - y0)
            ways[0, k, :, i, j] = torch.from_numpy(way).float()
    return logits, sides, ways, maps


def test_people_are_read_off_perfect_answers() -> None:
    rng = np.random.default_rng(0)
    boxes = [(10.0, 20.0, 70.0, 120.0), (90.0, 30.0, 150.0, 140.0)]
    joints = np.stack([rng.uniform(b[:2], b[2:], (K, 2)) for b in np.asarray(boxes).reshape(2, 4)])
    joints[1, 3] = np.nan
    found, read = people(answers(boxes, joints, 160))
    order = np.argsort(found[0, :2, 0].numpy())
    assert (found[0, :2, 4] > 0.9).all() and (found[0, 2:, 4] < 0.1).all()
    np.testing.assert_allclose(found[0, :2, :4].numpy()[order], boxes, atol=0.01)
    seen = np.isfinite(joints).all(axis=2)
    got = read[0, :2].numpy()[order]
    # two people share each map: within 2 pixels where the bells overlap, a fraction elsewhere
    assert np.median(np.abs(got[..., :2] - joints)[seen]) < 0.5
    np.testing.assert_allclose(got[0, 3, :2], joints[0, 3], atol=0.5)
    assert got[1, 3, 2] < 0.1  # its heatmap is silent: where its person says
    np.testing.assert_allclose(got[1, 3, :2], [123.5, 83.5], atol=0.1)


def test_a_joint_of_another_person_far_away_does_not_attract() -> None:
    joints = np.full((2, K, 2), np.nan)
    joints[0, 0] = (40, 60)
    boxes = [(10.0, 20.0, 70.0, 120.0), (200.0, 30.0, 260.0, 140.0)]
    found, read = people(answers(boxes, joints, 288))
    second = int(found[0, :2, 0].argmax())
    assert read[0, second, 0, 2] < 0.01
    assert read[0, second, 0, 0] > 200


def made(folder: Path, name: str) -> Card:
    """A card and random weights in a folder."""
    torch.manual_seed(0)
    network = settled(PoseNet(K) if name == "pose" else PeopleNet(K))
    save_file(network.state_dict(), folder / f"{name}.safetensors")
    fit = (
        {"fit": "crop", "width": 64, "height": 64}
        if name == "pose"
        else {"fit": "height", "width": 96, "height": 96}
    )
    decoder = (
        {"type": "heatmap", "layout": "NCHW", "offset": 0.375}
        if name == "pose"
        else {"type": "one-stage", "min_score": 0.0}
    )
    card = Card.model_validate(
        {
            "name": f"builtin_{name}",
            "kind": "top-down" if name == "pose" else "one-stage",
            "summary": "random",
            "licence": "none",
            "source": "this test",
            "verified": True,
            "joints": "posetrack17",
            "weights": {"file": f"{name}.safetensors"},
            "input": {"layout": "NCHW", "channels": "RGB"} | fit,
            "decoder": decoder,
        }
    )
    written = {"card": card.model_dump(mode="json"), "trained": {}, "measured": {}}
    (folder / f"{name}.json").write_text(json.dumps(written))
    return card


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("pose", "people"):
        made(tmp_path, name)
    monkeypatch.setattr(builtin, "FOLDER", tmp_path)
    return tmp_path


def frames(count: int) -> FrameBatch:
    images = np.random.default_rng(0).integers(0, 256, (count, 90, 70, 3), dtype=np.uint8)
    return FrameBatch(images=images, indices=np.arange(count) + 5, pts_s=np.arange(count) / 30)


@pytest.mark.usefixtures("packaged")
def test_experts_by_name() -> None:
    assert builtin.names() == ["people", "pose"]
    pose = build_expert("builtin:pose", device=CPU)
    both = build_expert("builtin:people", device=CPU)
    assert pose.kind == "top-down" and both.kind == "one-stage"
    assert not isinstance(pose, Detector) and isinstance(both, PoseExpert)
    boxes = Detections(
        frame_indices=np.asarray([5, 6, 6]),
        boxes_xyxy=np.asarray([[5, 5, 40, 80], [0, 0, 60, 60], [30, 20, 69, 89]], np.float32),
        box_scores=np.ones(3, np.float32),
    )
    poses = pose.predict(frames(2), boxes)
    assert poses.keypoints.shape == (3, K, 2)
    people = both.predict(frames(2))
    found = build_detector("builtin:people", device=CPU).detect(frames(2))
    assert len(people) > 0
    np.testing.assert_array_equal(found.boxes_xyxy, people.boxes_xyxy)
    np.testing.assert_array_equal(found.frame_indices, people.frame_indices)


@pytest.mark.usefixtures("packaged")
def test_results_do_not_depend_on_what_else_is_in_the_batch() -> None:
    expert = build_expert("builtin:people", device=CPU)
    assert isinstance(expert, PeopleExpert)
    both = expert.predict(frames(2))
    alone = expert.predict(frames(1))
    first = both.frame_indices == 5
    np.testing.assert_allclose(both.keypoints[first], alone.keypoints, atol=1e-3)


def test_a_mirror_shows_the_same_pose_with_its_sides_exchanged(tmp_path: Path) -> None:
    made(tmp_path, "pose")
    engine = TorchEngine(tmp_path / "pose.safetensors", PoseNet(K), CPU, skeleton=JOINTS, chunk=2)
    crops = np.random.default_rng(0).uniform(0, 255, (2, 3, 64, 64)).astype(np.float32)
    (seen,), (mirrored,) = engine.run(crops), engine.run(crops[..., ::-1].copy())
    np.testing.assert_allclose(mirrored[..., ::-1][:, JOINTS.mirrored], seen, atol=1e-5)
    assert np.abs(mirrored[..., ::-1] - seen).max() > 1e-3  # left and right do differ


@pytest.mark.usefixtures("packaged")
def test_other_networks_begin_with_a_trunk() -> None:
    backbone = LCRNet.new(np.zeros((2, K, 2), np.float32), "small", seed=0).backbone
    backbone.load_state_dict(builtin.weights_of("people", within="trunk"))
    pictures = torch.full((1, 3, 64, 64), 99.0)
    own = load(builtin.fetch("people").path, PeopleNet(K)).trunk(pictures)
    for level, wanted in zip(backbone.eval()(pictures).values(), own, strict=True):
        torch.testing.assert_close(level, wanted)


@pytest.mark.usefixtures("packaged")
def test_unknown_names_are_told() -> None:
    with pytest.raises(ConfigError, match="people"):
        build_expert("builtin:peple", device=CPU)


def test_weights_of_another_network_are_told(tmp_path: Path) -> None:
    made(tmp_path, "pose")
    with pytest.raises(WeightsError, match="PeopleNet"):
        load(tmp_path / "pose.safetensors", PeopleNet(K))
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="damaged"):
        TorchEngine(tmp_path / "damaged.safetensors", PoseNet(K), CPU, skeleton=JOINTS, chunk=1)
