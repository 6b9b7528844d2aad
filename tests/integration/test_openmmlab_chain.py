"""MMPose's networks through the whole of skelkit: two joint sets, SST-A over them, one shard."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import h5py
import pytest
from command_line import at_once, skelkit, statuses

from skelkit.data import ShardReader

if find_spec("mmpose") is None:
    pytest.skip("OpenMMLab's packages are not installed: make openmmlab", allow_module_level=True)
pytestmark = pytest.mark.openmmlab

EXPERTS = "mmpose:rtmpose-t@random=0,mmpose:rtmpose-t_8xb1024-700e_body8-halpe26-256x192@random=1"
NAMES = [
    "rtmpose-t_8xb256-420e_body8-256x192.random0",
    "rtmpose-t_8xb1024-700e_body8-halpe26-256x192.random1",
]


def test_two_joint_sets_become_one(pack: Path, tmp_path: Path) -> None:
    video, out = pack / "media" / "demo_skeleton.mp4", tmp_path / "out.h5"
    options = [
        "--experts",
        EXPERTS,
        "--detector",
        "mmdet:rtmdet-t@random=0",
        "--stride",
        "18",
        "--device",
        "cpu",
    ]
    skelkit("extract", video, out, *options, "--method", "ssta", "--max-people", "3")
    assert statuses(out) == {"demo_skeleton": "ok"}
    with ShardReader(out) as reader:
        people = reader[0]
        assert people.skeleton.name == "lcr13" and people.num_people > 0
    with h5py.File(out) as file:
        recipe = json.loads(file.attrs["recipe"])
        assert sorted(file["experts"]) == sorted(NAMES)
        joints = [len(json.loads(file["experts"][n].attrs["skeleton"])["joints"]) for n in NAMES]
    assert joints == [17, 26]
    for name, seed in zip(NAMES, (0, 1), strict=True):
        used = recipe["experts"][name]
        assert (used["weights"], used["random_seed"], used["weights_sha256"]) == ("random", seed, None)
    assert recipe["detector"]["weights"] == "random"
    # the same command again has nothing to do; with other weights it is refused
    before = out.stat().st_mtime_ns
    skelkit("extract", video, out, *options, "--method", "ssta", "--max-people", "3")
    assert out.stat().st_mtime_ns >= before
    options[1] = EXPERTS.replace("random=1", "random=2")
    refused = skelkit("extract", video, out, *options, "--method", "ssta", "--max-people", "3", code=2)
    assert "made with other settings" in refused.sentence


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mmpose:td-hm_hrnet", "expected the name of one model"),
        ("mmpose:rtmo-l", "SKELKIT_OFFLINE is set; try to fetch https://download.openmmlab.com/"),
        ("mmpose:nowhere.py@random", "found no such file"),
        ("mmpose:rtmo-l@flop", "got @flop"),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_starts(
    name: str, why: str, pack: Path, tmp_path: Path
) -> None:
    video = pack / "media" / "demo_skeleton.mp4"
    done = at_once("extract", video, tmp_path / "out.h5", "--experts", name, code=2)
    assert why in done.sentence


def test_the_kinds_of_models_are_listed() -> None:
    for command in (("experts", "list"), ("doctor",)):
        told = at_once(*command, code=0).out
        assert "mmpose: rtmo" in told and "rtmpose-l" in told
        assert "make openmmlab" not in told
