"""Array jobs: every task takes its share, and the shards of all make the one of a single run."""

from __future__ import annotations

import random
from pathlib import Path

import h5py
import pytest
from command_line import assert_same, at_once, column, content, rows_of, skelkit, statuses
from conftest import MakeClip

from skelkit.data import merge_shards
from skelkit.errors import ConfigError
from skelkit.pipelines.settings import Share
from skelkit.pipelines.sharing import share_out
from skelkit.video import find_sources

FRAMES = [90, 50, 40, 25, 25, 10, 5, 5]


@pytest.fixture
def uneven(tmp_path: Path, make_clip: MakeClip) -> Path:
    """Eight videos of very different length, and a file that is none."""
    folder = tmp_path / "uneven"
    folder.mkdir()
    for number, frames in enumerate(FRAMES):
        make_clip(folder / f"{number}.mp4", frames=frames, seed=number)
    (folder / "bad.mp4").write_text("no video")
    return folder


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_shares_are_disjoint_cover_everything_and_last_equally_long(uneven: Path, count: int) -> None:
    sources = find_sources([uneven])
    shares = [share_out(sources, Share(index=i, count=count)) for i in range(count)]
    assert sorted(s.video_id for share in shares for s in share) == sorted(s.video_id for s in sources)
    length = {str(number): frames for number, frames in enumerate(FRAMES)} | {"bad": 0}
    load = [sum(length[s.video_id] for s in share) for share in shares]
    assert max(load) <= max(*FRAMES, 1.2 * sum(FRAMES) / count)
    for share in shares:
        assert [s.video_id for s in share] == sorted(s.video_id for s in share)


def test_shares_do_not_depend_on_the_order_of_inputs(uneven: Path) -> None:
    files = sorted(uneven.iterdir())
    for seed in range(3):
        mixed = random.Random(seed).sample(files, len(files))
        assert share_out(find_sources(mixed), Share(index=1, count=3)) == share_out(
            find_sources(files), Share(index=1, count=3)
        )


@pytest.mark.parametrize(
    ("array", "share"),  # ID, COUNT, MIN, MAX, STEP
    [
        ("0 4 0 3 1", (0, 4)),
        ("3 4 0 3 1", (3, 4)),
        ("1 4 1 4 1", (0, 4)),  # --array=1-4
        ("4 4 1 4 1", (3, 4)),
        ("10 3 2 10 4", (2, 3)),  # --array=2-10:4
        ("7 1 7 7 1", (0, 1)),
    ],
)
def test_auto_reads_the_job_array(
    monkeypatch: pytest.MonkeyPatch, array: str, share: tuple[int, int]
) -> None:
    for name, value in zip(("ID", "COUNT", "MIN", "MAX", "STEP"), array.split(), strict=True):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    found = Share.parse("auto")
    assert (found.index, found.count) == share


def test_auto_refuses_what_is_no_even_array(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ID", "COUNT", "MIN", "MAX", "STEP"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
    with pytest.raises(ConfigError, match=r"as Slurm sets them in a job array.*--shard I/N"):
        Share.parse("auto")
    # --array=3,7 of what was 0-7: two tasks that would take the halves of everything
    for name, value in {"ID": "7", "COUNT": "2", "MIN": "3", "MAX": "7", "STEP": "1"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    with pytest.raises(ConfigError, match=r"evenly spaced.*got 2 from 3 to 7.*--shard I/N"):
        Share.parse("auto")


@pytest.mark.parametrize("text", ["3", "a/b", "1/", "-1/3", "3/3", "0/0", ""])
def test_no_share(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="expected --shard I/N"):
        Share.parse(text)


@pytest.mark.slow
def test_the_shares_together_are_the_single_run(
    tmp_path: Path, videos: Path, make_clip: MakeClip, one_expert: list[str]
) -> None:
    make_clip(videos / "long.mp4", frames=40, seed=8)
    (videos / "bad.mp4").write_text("no video")
    single, out = tmp_path / "single.h5", tmp_path / "out.h5"
    skelkit("extract", videos, single, *one_expert, code=1)
    for task in (1, 2):
        skelkit(
            "extract", videos, out, *one_expert, "--shard", "auto", code=None,
            SLURM_ARRAY_TASK_ID=str(task), SLURM_ARRAY_TASK_COUNT="2", SLURM_ARRAY_TASK_MIN="1",
            SLURM_ARRAY_TASK_MAX="2", SLURM_ARRAY_TASK_STEP="1",
        )  # fmt: skip
    parts = [tmp_path / f"out-0000{i}-of-00002.h5" for i in range(2)]
    assert [list(statuses(p)) for p in parts] == [["long"], ["a", "b", "bad", "c"]]
    said = at_once("merge", out, *parts, code=0)
    assert said.out.startswith("5 clips, ")
    assert column(out, "clips/video_id") == ["long", "a", "b", "bad", "c"]
    merge_shards(tmp_path / "ordered.h5", [out], order=column(single, "clips/video_id"))
    assert_same(tmp_path / "ordered.h5", single)


def test_more_shares_than_inputs(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    out = tmp_path / "out.h5"
    for index in range(3):
        skelkit("extract", videos / "a.mp4", videos / "b.mp4", out, *one_expert, "--shard", f"{index}/3")
    parts = [tmp_path / f"out-0000{i}-of-00003.h5" for i in range(3)]
    assert [len(rows_of(p)) for p in parts] == [1, 1, 0]
    at_once("merge", out, *reversed(parts), code=0)
    assert column(out, "clips/video_id") == ["b", "a"]
    assert "0 clips" in at_once("merge", tmp_path / "none.h5", parts[2], code=0).out


def test_merge_says_why_it_will_not(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    first, second = tmp_path / "first.h5", tmp_path / "second.h5"
    skelkit("extract", videos / "a.mp4", first, *one_expert)
    skelkit("extract", videos / "b.mp4", second, *one_expert, "--stride", "2")
    copy = tmp_path / "copy.h5"
    copy.write_bytes(first.read_bytes())
    (tmp_path / "empty").mkdir()
    text = tmp_path / "text.h5"
    text.write_text("no shard")
    cut = tmp_path / "cut.h5"
    cut.write_bytes(first.read_bytes()[:-1000])
    with h5py.File(tmp_path / "strange.h5", "w") as file:
        file["x"] = 1
    out = tmp_path / "out.h5"
    for parts, code, named in (
        ([first, second], 3, f"recipe.stride is 1 in {first}, but 2 in {second}"),
        ([first, first], 2, "first.h5 twice"),
        ([first, copy], 3, "clip 'a' is in"),
        ([first, tmp_path / "missing.h5"], 2, "missing.h5"),
        ([text], 3, "text.h5"),
        ([cut], 3, "cut.h5"),
        ([tmp_path / "strange.h5"], 3, "strange.h5"),
        ([tmp_path / "empty"], 2, "empty"),
        ([tmp_path], 3, "cut.h5"),
    ):
        assert named in at_once("merge", out, *parts, code=code).sentence
        assert not out.exists()

    before = content(second)
    assert "--overwrite" in at_once("merge", second, first, code=2).sentence
    assert content(second) == before
    assert "not ours" in at_once("merge", text, first, "--overwrite", code=2).sentence
    assert text.read_text() == "no shard"
    assert "no folder" in at_once("merge", tmp_path / "no" / "out.h5", first, code=3).sentence
    at_once("merge", second, first, "--overwrite", code=0)
    assert column(second, "clips/video_id") == ["a"]
