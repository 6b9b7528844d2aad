"""From a dataset to a model that tells actions, through the command line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import PATIENCE_S, SKELKIT, at_once, environment
from made_actions import make_dataset
from safetensors.numpy import load_file

from skelkit.data import ShardReader, ShardWriter
from skelkit.metrics import top_k_accuracy
from skelkit.pipelines.recipes import preset_names, read_values
from skelkit.skeletons import COCO17, remap
from skelkit.training import read_curves

SMALL = {
    "unik": ["channels=[8,8]", "dilations=[1,1]"],
    "stgcn": ["channels=[8,8]"],
    "agcn": ["channels=[8,8]"],
    "msg3d": ["channels=[12]", "num_scales=2", "num_g3d_scales=2", "windows=[3]"],
}
BRIEF = ("training.workers=0", "training.log_every=1")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("made") / "ds", clips={"train": 8, "test": 4})


RECIPE = """
[model]
name = "unik"
options = { channels = [8, 8], dilations = [1, 1] }
[data]
sampling = "stretch"
frames = 8
test_frames = 8
centre = "belly"
[optimizer]
lr = 0.05
milestones = [10]
[training]
epochs = 20
batch_size = 6
log_every = 1
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "small.toml"
    path.write_text(RECIPE)
    return path


def train(recipe: Path | str, data: Path, out: Path, *settings: str, code: int = 0) -> Any:
    extra = [word for setting in settings for word in ("--set", setting)]
    call = ("train", recipe, "--data", data, "--out", out, "--json", "--accelerator", "cpu", *extra)
    return at_once(*call, code=code)


@pytest.fixture(scope="module")
def joint(recipe: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "joint"
    train(recipe, data, out)
    return out


def weights(run: Path) -> dict[str, np.ndarray[Any, Any]]:
    found: dict[str, np.ndarray[Any, Any]] = load_file(run / "model" / "model.safetensors")
    return found


def equal(a: Path, b: Path) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_starts_and_takes_two_steps(name: str, tmp_path: Path) -> None:
    model = read_values(name)["model"]["name"]
    jhmdb = name.endswith("jhmdb")
    classes = {
        "unik-posetics": 320, "unik-smarthome-cs": 31, "unik-smarthome-cv1": 19, "unik-smarthome-cv2": 19,
        "unik-penn": 15, "unik-ntu60-cs": 60, "unik-ntu60-cv": 60, "unik-ntu120-cs": 120,
        "unik-ntu120-cset": 120,
    }.get(name, 14 if jhmdb else 5)  # fmt: skip
    ntu = "ntu" in name
    dataset = make_dataset(
        tmp_path / "ds",
        labels=[f"class {i}" for i in range(classes)],
        used=2,
        clips={"train": 2, "test": 1, "val": 1},
        joints="ntu25" if ntu else "jhmdb15" if jhmdb else "posetics17",
        dimensions=3 if ntu else 2,
    )
    shrunk = [f"model.options.{option}" for option in SMALL[model]]
    settings = ("training.epochs=1", "training.batch_size=2", "optimizer.milestones=[]", *shrunk, *BRIEF)
    done = train(name, dataset, tmp_path / "run", *settings).json
    assert done["finished"]
    assert [row["step"] for row in read_curves(tmp_path / "run") if "loss" in row] == [1, 2]
    assert done["test"]["clips"] == 2


def test_a_run_learns_and_leaves_what_it_promises(joint: Path) -> None:
    figures = json.loads((joint / "results/test.json").read_text())
    assert figures["clips"] == 12
    assert figures["top1"] > 0.9
    with np.load(joint / "results/test-scores.npz", allow_pickle=False) as scores:
        np.testing.assert_allclose(scores["probabilities"].sum(axis=1), 1, rtol=1e-5)
        assert top_k_accuracy(scores["probabilities"], scores["labels"]) == figures["top1"]
        assert list(scores["class_names"]) == ["bend", "nod", "wave"]
    rows = list(csv.reader((joint / "results/test-confusion.csv").open()))
    assert rows[0][1:] == [row[0] for row in rows[1:]] == ["bend", "nod", "wave"]
    assert sum(int(cell) for row in rows[1:] for cell in row[1:]) == 12
    card = json.loads((joint / "model/model.json").read_text())
    assert card["classes"] == ["bend", "nod", "wave"]
    assert card["recipe"]["data"]["centre"] == "belly"
    assert card["metrics"]["test"]["top1"] == figures["top1"]


def test_testing_again_gives_the_same(joint: Path, data: Path, tmp_path: Path) -> None:
    before = json.loads((joint / "results/test.json").read_text())
    done = at_once("test", joint, "--data", data, "--out", tmp_path, "--json", "--device", "cpu", code=0)
    assert done.json["top1"] == before["top1"]
    several = at_once("test", joint, "--data", data, "--out", tmp_path, "--clips", 3, "--json", code=0)
    assert several.json["clips"] == 12
    other = at_once("test", joint / "model", "--data", data, "--split", "train", "--out", tmp_path, code=0)
    assert "24" in other.out


def test_joint_and_bone_are_fused(joint: Path, recipe: Path, data: Path, tmp_path: Path) -> None:
    bone = tmp_path / "bone"
    train(recipe, data, bone, "data.stream=bone", "training.epochs=2", "optimizer.milestones=[]")
    fused = at_once("fuse", joint, bone, "--out", tmp_path / "fused", "--json", code=0).json
    assert len(fused["alone"]) == 2
    a, b, both = (
        np.load(path, allow_pickle=False)["probabilities"]
        for path in (
            joint / "results/test-scores.npz",
            bone / "results/test-scores.npz",
            tmp_path / "fused/test-scores.npz",
        )
    )
    np.testing.assert_allclose(both, (a + b) / 2, rtol=1e-5)
    weighted = at_once("fuse", joint, bone, "--weight", 1e9, "--weight", 1, "--json", code=0).json
    assert weighted["fused"] == weighted["alone"][0]
    assert "weight" in at_once("fuse", joint, bone, "--weight", 1, code=2).sentence
    assert "two runs" in at_once("fuse", joint, code=2).sentence
    assert "skelkit test" in at_once("fuse", joint, bone, "--split", "val", code=2).sentence


def test_predictions_of_a_dataset_a_shard_and_other_joints(joint: Path, data: Path, tmp_path: Path) -> None:
    found = at_once("predict", joint, data, "--json", code=0).json
    assert len(found) == 36
    assert all(one["labels"][0][1] >= one["labels"][1][1] for one in found)
    right = [one["labels"][0][0] == one["video_id"].split("-")[1] for one in found]
    assert np.mean(right) > 0.9
    shard = next(data.glob("*test*.h5"))
    assert at_once("predict", joint, shard, "--json", code=0).json == [
        one for one in found if one["video_id"].startswith("test")
    ]
    other = tmp_path / "coco.h5"
    with ShardReader(shard) as reader, ShardWriter(other, skeleton=COCO17, recipe={}) as writer:
        for sequence in (reader[0], reader[1]):
            points, scores = remap(sequence.keypoints, sequence.scores, sequence.skeleton, COCO17)
            writer.write(replace(sequence, skeleton=COCO17, keypoints=points, scores=scores))
    assert len(at_once("predict", joint, other, "--json", code=0).json) == 2


def test_the_same_call_changes_nothing_and_another_is_refused(
    joint: Path, recipe: Path, data: Path, tmp_path: Path
) -> None:
    before = weights(joint)
    assert train(recipe, data, joint).json["finished"]
    assert all(np.array_equal(before[k], v) for k, v in weights(joint).items())
    sentence = train(recipe, data, joint, "optimizer.lr=0.2", code=2).sentence
    assert "optimizer.lr" in sentence
    (tmp_path / "mine").write_text("precious")
    assert "no run" in train(recipe, data, tmp_path, code=2).sentence
    assert (tmp_path / "mine").exists()


def test_killed_at_any_moment_it_ends_as_if_nothing_had_been(
    joint: Path, recipe: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [*SKELKIT, "train", recipe, "--data", data, "--out", out, "--accelerator", "cpu"]
    process = subprocess.Popen(
        command, env=environment(OMP_NUM_THREADS="1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    limit = time.monotonic() + PATIENCE_S
    while not (out / "checkpoints/last.ckpt").exists() and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "model").exists()
    train(recipe, data, out)
    assert equal(out, joint)
    assert read_curves(out) == read_curves(joint)


def test_fine_tuning_few_labels_and_linear_evaluation(joint: Path, recipe: Path, tmp_path: Path) -> None:
    other = make_dataset(tmp_path / "ds", labels=("jump", "sit"), clips={"train": 10, "test": 2})
    start = f"start.weights={joint}"
    brief = ("training.epochs=2", "optimizer.milestones=[]", start)
    linear = train(recipe, other, tmp_path / "linear", *brief, "start.linear=true").json
    assert linear["clips"] == 20
    changed = {k for k, v in weights(tmp_path / "linear").items() if not np.array_equal(v, weights(joint)[k])}
    assert changed == {"classifier.weight", "classifier.bias"}
    few = train(recipe, other, tmp_path / "few", *brief, "data.label_share=0.1").json
    assert few["clips"] == 2
    tuned = weights(tmp_path / "few")
    assert any(not np.array_equal(v, tuned[k]) for k, v in weights(joint).items() if "dependency" in k)


def test_a_validation_part_is_held_back(recipe: Path, data: Path, tmp_path: Path) -> None:
    done = train(
        recipe, data, tmp_path / "run", "data.validation_share=0.25", "training.epochs=1",
        "optimizer.milestones=[]", "data.test=",
    ).json  # fmt: skip
    assert (done["clips"], done["validation_clips"], done["test"]) == (18, 6, None)
    assert 0 <= done["last_epoch"]["val_top1"] <= 1


def test_everything_that_is_wrong_is_told_before_anything_starts(
    joint: Path, recipe: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    wrong = (
        "optimizer.lrr=1", "data.people=0", "model.joints=coco17", "model.classes=5", "data.test=tset",
        "model.options.heads=2", "data.centre=tail", "training.epochs=3",
    )  # fmt: skip
    told = train(recipe, data, out, *wrong, code=2).err
    assert "Traceback" not in told
    for words in (
        "did you mean lr?", "data.people", "joint set 'coco17', got 'jhmdb15'", "5 classes, got 3",
        "did you mean test?", "did you mean head or num_heads", "no 'tail'", "before the end (3), got [10]",
    ):  # fmt: skip
        assert words in told, words
    assert f"{len(wrong)} problems" in told
    assert not out.exists()
    assert "did you mean unik-penn" in train("unik-pen", data, out, code=2).sentence
    other = make_dataset(tmp_path / "coco", joints="coco17", labels=("bend", "nod", "run"))
    told = at_once("test", joint, "--data", other, "--split", "train", code=2).err
    assert "joint set" in told
    assert "'wave' as number 2" in told
    told = train(recipe, other, out, f"start.weights={joint}", "data.centre=", "data.people=2", code=2).err
    assert "trained on the joint set 'jhmdb15'" in told
    assert "data.people = 1, got 2" in told


def test_recipes_extend_each_other(recipe: Path, tmp_path: Path, data: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n[training]\nepochs = 3')
    (tmp_path / "b.toml").write_text('extends = "a.toml"')
    assert "circle" in train(tmp_path / "a.toml", data, tmp_path / "run", code=2).sentence
    (tmp_path / "b.toml").write_text("epochs = ")
    assert "cannot read" in train(tmp_path / "a.toml", data, tmp_path / "run", code=2).sentence


def test_another_network_does_not_take_over_the_options_of_the_one_it_replaces(tmp_path: Path) -> None:
    above = tmp_path / "above.toml"
    above.write_text('extends = "unik-jhmdb"\n[model]\nname = "stgcn"')
    assert read_values(str(above))["model"] == {"name": "stgcn", "joints": "jhmdb15", "classes": 14}
    above.write_text('extends = "unik-jhmdb"\n[model.options]\nnum_heads = 1')
    assert read_values(str(above))["model"]["options"].keys() == {"channels", "dilations", "num_heads"}


def test_models_are_listed_with_their_cost() -> None:
    rows = at_once("models", "list", "--frames", 16, "--json", code=0).json
    assert {row["name"] for row in rows} >= {"unik", "stgcn", "agcn", "msg3d"}
    assert all(row["parameters"] > 1e6 and row["gflops"] > 0.1 for row in rows)
    assert "unik-posetics" in at_once("recipes", code=0).out


def test_imports_of_what_is_none_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save({"x": torch.zeros(1)}, file)
    call = ("models", "import", "unk", file, tmp_path / "out", "--joints", "coco17")
    assert "did you mean unik" in at_once(*call, code=2).sentence
    assert "weights.pt" in at_once(*call[:2], "unik", *call[3:], code=3).sentence
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    assert "exists" in at_once(*call[:2], "unik", *call[3:], code=2).sentence
