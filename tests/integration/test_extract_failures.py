"""What goes wrong inside a run: a network that raises, a worker that is killed, a disk that fills up."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Gate, Running, assert_same, at_once, column, rows_of, skelkit, statuses, wait_until
from conftest import MakeClip
from tiny_experts import TOO_BRIGHT, Cards


def test_an_expert_that_fails_on_one_video(
    tmp_path: Path, videos: Path, make_clip: MakeClip, cards: Cards
) -> None:
    out = tmp_path / "out.h5"
    options = ["--experts", f"{cards.fragile},{cards.grid}", "--detector", cards.blobs, "--workers", "2"]
    make_clip(videos / "b.mp4", brightness=TOO_BRIGHT, seed=1)
    done = skelkit("extract", videos, out, *options, code=1)
    assert statuses(out) == {"a": "ok", "b": "failed", "c": "ok"}
    assert "fragile.onnx failed on an input" in rows_of(out)["b"]["detail"]
    assert column(out, "clips/num_people")[1] == 0
    assert len(done.err.splitlines()) == 4  # one for each video, and why b failed
    make_clip(videos / "b.mp4", seed=1)
    again = skelkit("extract", videos, out, *options)
    assert again.err.count("] ok") == 1
    assert statuses(out) == dict.fromkeys("abc", "ok")


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_killed_from_outside(
    tmp_path: Path, videos: Path, one_expert: list[str], times: int
) -> None:
    """Once: the video is tried again. Twice on the same video: it is set aside, and the run goes on."""
    names = [videos / f"{name}.mp4" for name in "abc"]
    reference, out = tmp_path / "reference.h5", tmp_path / "out.h5"
    skelkit("extract", *names, reference, *one_expert)
    (videos / "b.mp4").rename(tmp_path / "kept.mp4")
    gate = Gate(videos / "b.mp4")
    with Running("extract", *names, out, *one_expert, err=tmp_path / "err") as run:
        for number in range(times):
            held = gate.wait_for_reader()
            if number + 1 == times:  # whoever comes next finds the video
                (tmp_path / "kept.mp4").replace(videos / "b.mp4")
            (worker,) = run.workers()
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda worker=worker: not Path(f"/proc/{worker}").exists(), "the worker to die")
            os.close(held)
        done = run.end()
    assert "Traceback" not in done.err
    if times == 1:
        assert done.code == 0
        assert_same(out, reference)
        return
    assert done.code == 1
    assert statuses(out) == {"a": "ok", "b": "failed", "c": "ok"}
    assert "died 2 times (signal SIGKILL)" in rows_of(out)["b"]["detail"]
    again = skelkit("extract", *names, out, *one_expert)
    assert again.err.count("] ok") == 1
    assert_same(out, reference)


def test_workers_that_die_while_they_load(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    with Running("extract", videos, tmp_path / "out.h5", *one_expert, err=tmp_path / "err") as run:
        for _ in range(2):
            wait_until(run.workers, "a worker to start")
            (worker,) = run.workers()
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda worker=worker: not Path(f"/proc/{worker}").exists(), "the worker to die")
        done = run.end()
    assert done.code == 3
    assert "died 2 times before they began (signal SIGKILL)" in done.sentence


@pytest.mark.slow
def test_a_disk_that_fills_up(
    tmp_path: Path, make_clip: MakeClip, one_expert: list[str], small_disk: Callable[[int], Path]
) -> None:
    """While videos are spooled, then while the output is made: what is finished stays."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(6):
        make_clip(folder / f"{number}.mp4", seed=number)
    reference = tmp_path / "reference.h5"
    skelkit("extract", folder, reference, *one_expert)

    disk = small_disk(4096)
    out = disk / "out.h5"
    nothing = skelkit("extract", folder, out, *one_expert, code=3)
    assert "full" in nothing.sentence and "free" in nothing.sentence

    small_disk(160 << 10)
    midway = skelkit("extract", folder, out, *one_expert, code=3)
    kept = sorted((disk / "out.h5.spool").glob("*/*.h5"))
    signs = sorted((disk / "out.h5.spool").glob("*/*.json"))
    assert 1 <= len(signs) < 6
    assert "is full; finished videos are kept: free some space" in midway.sentence
    assert not out.exists()

    shards = (6 - len(kept)) * max(p.stat().st_blocks * 512 for p in kept)
    rest = shards + (6 - len(signs)) * 4096
    small_disk(shutil.disk_usage(disk).used + rest + reference.stat().st_size // 2)
    almost = skelkit("extract", folder, out, *one_expert, code=3)
    assert "finished videos are kept" in almost.sentence
    assert len(list((disk / "out.h5.spool").glob("*/*.json"))) == 6
    assert not out.exists()
    full = at_once("merge", disk / "merged.h5", *(disk / "out.h5.spool").glob("*/*.h5"), code=3)
    assert "full" in full.sentence
    assert not list(disk.glob("merged*")) and not list(disk.glob(".skelkit*"))

    small_disk(4 << 20)
    done = skelkit("extract", folder, out, *one_expert)
    assert "] ok" not in done.err  # all were done
    assert sorted(p.name for p in disk.iterdir()) == ["out.h5", "out.h5.report.json"]
    assert_same(out, reference)
