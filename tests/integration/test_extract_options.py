"""What the options of the commands do, and what the commands print."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import at_once, column, rows_of, skelkit, tree
from conftest import MakeClip
from tiny_experts import Cards

from skelkit.data import ShardReader


def test_the_result_as_json(tmp_path: Path, videos: Path, two_experts: list[str], cards: Cards) -> None:
    """And weights that lie elsewhere than their cards."""
    (videos / "bad.mp4").write_text("no video")
    shutil.copytree(Path(cards.grid).parent, tmp_path / "cards", ignore=shutil.ignore_patterns("*.onnx"))
    out, options = (
        tmp_path / "out.h5",
        [o.replace(str(Path(cards.grid).parent), str(tmp_path / "cards")) for o in two_experts],
    )
    done = skelkit("extract", videos, out, *options, "--weights", Path(cards.grid).parent, "--json", code=1)
    assert done.json == json.loads((tmp_path / "out.h5.report.json").read_text())
    assert done.json["counts"] == {"ok": 3, "no_person": 0, "damaged": 0, "failed": 1}
    assert [row["video_id"] for row in done.json["inputs"]] == ["a", "b", "bad", "c"]
    row = done.json["inputs"][0]
    assert (row["frames"], row["frames_decoded"], row["people"]) == (10, 10, 2)
    assert done.json["recipe"]["primary"] == "heat"
    assert list(done.json["recipe"]["experts"]) == ["heat", "grid"]
    assert column(out, "clips/sha256")[0] == row["sha256"]
    with ShardReader(out) as reader:
        assert {name: s.num_joints for name, s in reader.experts.items()} == {"grid": 18, "heat": 17}
        assert reader.recipe == done.json["recipe"]

    summary = at_once("info", out, "--json", code=0).json
    assert summary["num_clips"] == 4 and summary["status"] == {"ok": 3, "no_person": 0, "failed": 1}
    assert summary["experts"].keys() == {"grid", "heat"}
    clips = at_once("info", out, "--json", "--clips", code=0).json["clips"]
    assert [c["num_people"] for c in clips] == [2, 2, 0, 2]
    assert "bad" in at_once("info", out, "--clips", code=0).out
    for wrong in (videos / "bad.mp4", tmp_path / "missing.h5", tmp_path):
        assert str(wrong) in at_once("info", wrong, code=3).sentence


def test_dry_run_does_nothing(tmp_path: Path, videos: Path, two_experts: list[str]) -> None:
    before = tree(tmp_path)
    plan = at_once("extract", videos, tmp_path / "out.h5", *two_experts, "--dry-run", "--json", code=0).json
    assert [i["video_id"] for i in plan["inputs"]] == ["a", "b", "c"]
    assert plan["recipe"]["detector"]["name"] == "blobs"
    text = at_once(
        "extract",
        videos,
        tmp_path / "out.h5",
        *two_experts,
        "--dry-run",
        "--limit",
        "2",
        "--shard",
        "0/1",
        code=0,
    ).out
    assert "2 inputs" in text and "out-00000-of-00001.h5" in text and "heat, grid; detector: blobs" in text
    assert tree(tmp_path) == before


def test_which_frames(tmp_path: Path, make_clip: MakeClip, one_expert: list[str]) -> None:
    clip, out = make_clip(tmp_path / "a.mp4", frames=50), tmp_path / "out.h5"
    options = ["--start", "0.4", "--end", "1.2", "--stride", "3"]
    skelkit("extract", clip, out, *one_expert, *options)
    assert column(out, "frames/index") == [10, 13, 16, 19, 22, 25, 28]
    assert np.allclose(column(out, "frames/pts_s"), np.arange(10, 30, 3) / 25)
    assert column(out, "clips/num_people") == [2]

    options = ["--fps", "5", "--max-people", "1", "--batch-size", "3", "--overwrite"]
    skelkit("extract", clip, out, *one_expert, *options)
    assert column(out, "frames/index") == list(range(0, 50, 5))
    assert column(out, "clips/num_people") == [1]
    row = rows_of(out)["a"]
    assert (row["frames"], row["frames_decoded"], row["people"]) == (10, 50, 1)


def test_limit_then_the_rest(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    out = tmp_path / "out.h5"
    skelkit("extract", videos, out, *one_expert, "--limit", "2", "--batch-size", "1")
    assert column(out, "clips/video_id") == ["a", "b"]
    rest = skelkit("extract", videos, out, *one_expert, "--batch-size", "64", "--workers", "2")
    assert rest.err.count("] ok") == 1
    assert column(out, "clips/video_id") == ["a", "b", "c"]


def test_experts_list_show_check(cards: Cards, tmp_path: Path) -> None:
    rows = {row["name"]: row for row in at_once("experts", "list", "--json", code=0).json}
    assert {"movenet", "edvard_cpm", "tfpose", "yolox_nano"} <= rows.keys()
    assert rows["yolox_nano"]["kind"] == "detector"
    assert "yolox_nano" in at_once("experts", "list", code=0).out

    card = at_once("experts", "show", cards.heat, code=0).json
    assert (card["name"], len(card["joint_names"])) == ("heat", 17)
    assert Path(card["weights_path"]).name == "heat.onnx"
    assert "movenet" in at_once("experts", "show", "movenet", code=0).out
    assert "nobody" in at_once("experts", "show", "nobody", code=2).sentence

    checked = at_once("experts", "check", cards.heat, cards.grid, cards.blobs, code=0).out
    assert checked.count("yes") == 3
    (tmp_path / "heat.onnx").write_bytes(b"no network")
    broken = at_once("experts", "check", cards.heat, cards.grid, "--weights", tmp_path, code=1).out
    assert broken.count("yes") == 1 and "no " in broken


COMMANDS = ["", "extract", "merge", "info", "render", "experts"]
COMMANDS += ["experts list", "experts show", "experts fetch", "experts check"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    for option in ("--help", "-h"):
        assert f"{command} [OPTIONS]" in at_once(*command.split(), option, code=0).out


def test_wrong_usage_is_code_2() -> None:
    for arguments in (["extract"], ["extract", "--no-such-option", "a", "b"], ["nonsense"], ["merge"]):
        at_once(*arguments, code=2)
    assert at_once("--version", code=0).out.startswith("skelkit ")
