"""skelkit train-expert, from labelled scenes to experts that run by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from skelkit.cli import app
from skelkit.errors import InputError
from skelkit.experts import build_expert, builtin, choose_device
from skelkit.experts.builtin.training import JOINTS, Scene, write_scenes
from skelkit.experts.builtin.training.teaching import lspet
from skelkit.pipelines.experts import fetch_expert, list_experts, show_expert
from skelkit.pipelines.train_builtin import calibration
from skelkit.structures import Detections, FrameBatch


def scene(rng: np.random.Generator) -> Scene:
    """Noise, and a person in it whose joints are everywhere."""
    picture = rng.integers(0, 256, (100, 80, 3), dtype=np.uint8)
    points = rng.uniform((15, 15), (65, 85), (1, JOINTS.num_joints, 2))
    joints = np.concatenate([points, np.ones((1, JOINTS.num_joints, 1))], axis=2).astype(np.float32)
    box = np.asarray([[10, 10, 70, 90, 1]], np.float32)
    return Scene(picture=picture, boxes=box, joints=joints, taught=0.9 * joints)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Labelled scenes, so that no teacher is needed."""
    rng = np.random.default_rng(0)
    for name, count in (("marked", 6), ("held", 4), ("more", 3)):
        write_scenes(tmp_path / "work" / name, [scene(rng) for _ in range(count)])
    return tmp_path / "work"


def test_both_experts_are_trained_written_and_run(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for net, epochs in (("pose", "10"), ("people", "4")):  # two steps each
        command = ["train-expert", net, str(work), str(out), "--lspet", "none", "--device", "cpu"]
        done = CliRunner().invoke(app, [*command, "--epochs", epochs, "--json"])
        assert done.exit_code == 0, done.output
        measured = json.loads(done.stdout.splitlines()[-1])
        written = json.loads((out / f"{net}.json").read_text())
        assert written["measured"] == measured and written["trained"]["steps"] == 2
        assert 0 <= measured["pck_0.2_torso"] <= 1
    monkeypatch.setattr(builtin, "FOLDER", out)
    monkeypatch.delenv("SKELKIT_WEIGHTS", raising=False)
    assert [row["name"] for row in list_experts(None)][:2] == ["builtin:people", "builtin:pose"]
    assert fetch_expert("builtin:pose") | {"sha256": ""} == {
        "name": "builtin:pose",
        "path": str(out / "pose.safetensors"),
        "sha256": "",
        "checked": True,
    }
    assert show_expert("builtin:pose", None)["trained"]["marked_pictures"] == 6
    expert = build_expert("builtin:pose", device=choose_device("cpu", 1))
    frames = FrameBatch(
        images=np.zeros((1, 60, 60, 3), np.uint8), indices=np.zeros(1, np.int64), pts_s=np.zeros(1)
    )
    person = Detections(
        frame_indices=np.zeros(1, np.int64),
        boxes_xyxy=np.asarray([[5, 5, 50, 50]], np.float32),
        box_scores=np.ones(1, np.float32),
    )
    assert len(expert.predict(frames, person)) == 1


def test_calibration_never_falls_and_says_what_is_right() -> None:
    rng = np.random.default_rng(0)
    raw = rng.uniform(0, 1, 4000)
    curve = calibration(raw, rng.random(4000) < 0.8 * raw)
    found = np.interp([0.2, 0.5, 0.8], curve.raw, curve.score)
    np.testing.assert_allclose(found, [0.16, 0.4, 0.64], atol=0.08)


def test_lspet_is_read_and_its_absence_told(tmp_path: Path) -> None:
    joints = np.zeros((2, 14, 3), np.float32)
    joints[0, 13] = (7, 8, 1)  # head top
    names, ids = np.asarray(["a.jpg", "b.jpg"]), np.asarray([7, 12])
    np.savez(tmp_path / "joints.npz", names=names, ids=ids, joints=joints)
    paths, marked, numbers = lspet(tmp_path)
    assert paths[0] == tmp_path / "images" / "a.jpg" and numbers.tolist() == [7, 12]
    assert marked.shape == (2, JOINTS.num_joints, 3) and marked[..., 2].sum() == 1
    assert marked[0, JOINTS.index("head_top")].tolist() == [7, 8, 1]
    with pytest.raises(InputError, match="LSP-extended"):
        lspet(tmp_path / "none")
