"""The same commands on a Dask cluster: equal to this machine's own, whatever breaks on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import (
    Gate,
    Running,
    assert_same,
    at_once,
    rows_of,
    skelkit,
    statuses,
    tree,
    wait_until,
)
from conftest import MakeClip
from dask_here import Dask, dask_here, holders, real_cluster

from skelkit.pipelines.event_log import log_path, read_state

pytest.importorskip("distributed")
KILLS = 20


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    """Two workers, for the tests that break nothing."""
    with dask_here(tmp_path_factory.mktemp("dask"), 2) as here:
        yield here


@pytest.fixture
def mixed(tmp_path: Path, make_clip: MakeClip) -> Path:
    """Videos of different length, and one that is none."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(8):
        make_clip(folder / f"{number}.mp4", seed=number, frames=8 + 4 * number, people=1 + number % 3)
    (folder / "bad.mp4").write_text("no video")
    return folder


def one_by_one(folder: Path) -> list[Path]:
    """Its videos as arguments: in a folder nobody looks for pipes."""
    return sorted(folder.iterdir())


def at_work(gate: Gate, dask: Dask, run: Running) -> tuple[int, int]:
    """Wait until a worker has come to this video: what holds it there until closed, and the worker."""
    while True:
        held = gate.wait_for_reader()
        wait_until(
            lambda: holders(gate.path, [*dask.worker_processes(), run.process.pid]), "the reader to be seen"
        )
        if found := holders(gate.path, dask.worker_processes()):
            return held, found[0]
        os.close(held)  # that was the command, which looks how long it lasts


def without_time(output: Path) -> dict[str, dict[str, object]]:
    return {name: row | {"seconds": 0} for name, row in rows_of(output).items()}


@real_cluster
def test_extract_refine_and_build_as_on_this_machine(
    tmp_path: Path, mixed: Path, two_experts: list[str], dask: Dask
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    join = ["--scheduler", dask.address]
    skelkit("extract", mixed, here / "out.h5", *two_experts, code=1)
    # Relative paths mean the same on the workers, which were started elsewhere.
    done = skelkit("extract", "../videos", "out.h5", *two_experts, *join, code=1, cwd=there)
    assert "dashboard: http://" in done.err and "(2 there)" in done.err
    reference = tmp_path / "relative.h5"
    skelkit("extract", "../videos", reference, *two_experts, code=1, cwd=there)
    assert_same(there / "out.h5", reference)
    assert without_time(there / "out.h5") == without_time(reference)
    assert tree(there) == ["out.h5", "out.h5.events.jsonl", "out.h5.report.json"]

    state = read_state(there / "out.h5")
    assert (state.condition(time.time()), state.total, state.done) == ("finished", 9, 9)
    assert state.statuses == {"ok": 8, "failed": 1}
    assert list(state.problems) == ["bad"]
    said = at_once("cluster", "status", there / "out.h5", code=0)
    assert "finished" in said.out and "bad" in said.out
    order = [line for line in log_path(there / "out.h5").read_text().splitlines() if '"started"' in line]
    assert '"7"' in order[0] and '"bad"' in order[-1]  # longest first

    again = skelkit("extract", "../videos", "out.h5", *two_experts, *join, code=1, cwd=there)
    assert "keeping what an earlier run has finished" in again.err and "] ok" not in again.err

    skelkit("refine", here / "out.h5", here / "refined.h5")
    skelkit("refine", here / "out.h5", there / "refined.h5", *join)
    assert_same(there / "refined.h5", here / "refined.h5")

    build = ["--split", "train=0.6,val=0.4", "--presence", "0.1", "--joints", "same"]
    skelkit("build-posetics", here / "out.h5", here / "set", *build)
    skelkit("build-posetics", here / "out.h5", there / "set", *build, *join)
    assert tree(there / "set") == tree(here / "set")
    for name in tree(here / "set"):
        assert (there / "set" / name).read_bytes() == (here / "set" / name).read_bytes(), name


@pytest.mark.slow
@real_cluster
def test_workers_killed_twenty_times(tmp_path: Path, mixed: Path, two_experts: list[str]) -> None:
    """Videos unlucky enough to lose two workers are set aside, and done by the next run; nothing is lost."""
    reference, out = tmp_path / "reference.h5", tmp_path / "out.h5"
    skelkit("extract", mixed, reference, *two_experts, code=1)
    chance, kills = random.Random(8), 0
    with dask_here(tmp_path / "dask", 3) as dask:
        command = ["extract", mixed, out, *two_experts, "--scheduler", dask.address]
        while True:
            with Running(*command, err=tmp_path / "err") as run:
                while kills < KILLS and not run.ended_within(chance.uniform(0, 0.5)):
                    if victims := holders(mixed, dask.worker_processes()):  # at work, not at their start
                        os.kill(chance.choice(victims), signal.SIGKILL)
                        kills += 1
                done = run.end()
            assert done.code == 1, done.err
            rows = rows_of(out)
            assert list(rows) == list(rows_of(reference))
            unlucky = [n for n, r in rows.items() if n != "bad" and r["status"] == "failed"]
            assert all("died 2 times" in rows[name]["detail"] for name in unlucky)
            if kills < KILLS and not unlucky:
                for path in (out, out.with_name("out.h5.report.json")):
                    path.unlink()
            elif not unlucky:
                break
    assert kills == KILLS
    assert_same(out, reference)


@real_cluster
def test_a_video_that_kills_its_workers_and_a_disk_that_is_full_on_one(
    tmp_path: Path, mixed: Path, one_expert: list[str]
) -> None:
    reference, out = tmp_path / "reference.h5", tmp_path / "out.h5"
    skelkit("extract", mixed, reference, *one_expert, code=1)
    (mixed / "3.mp4").rename(tmp_path / "kept.mp4")
    gate = Gate(mixed / "3.mp4")
    spool = tmp_path / "out.h5.spool"
    spool.mkdir()
    full = f'mount -t tmpfs -o size=4k none {spool} && exec "$@"'
    if subprocess.run(["unshare", "-m", "sh", "-c", full, "-", "true"], check=False).returncode:
        pytest.skip("a disk that only one worker sees cannot be made")
    with dask_here(tmp_path / "dask", 1) as dask:
        dask.start_worker(["unshare", "-m", "sh", "-c", full, "-"])
        command = ["extract", *one_by_one(mixed), out, *one_expert, "--scheduler", dask.address]
        with Running(*command, err=tmp_path / "err") as run:
            for _ in range(2):
                held, victim = at_work(gate, dask, run)
                os.kill(victim, signal.SIGKILL)
                wait_until(lambda victim=victim: not Path(f"/proc/{victim}").exists(), "the worker to die")
                os.close(held)
            done = run.end()
    assert done.code == 1, done.err
    rows = rows_of(out)
    assert {n: s for n, s in statuses(out).items() if s != "ok"} == {"3": "failed", "bad": "failed"}
    assert "died 2 times" in rows["3"]["detail"]
    state = read_state(out)
    assert any("full" in why for why in state.workers.values()), state.workers
    assert list(rows) == list(rows_of(reference))
    (mixed / "3.mp4").unlink()
    (tmp_path / "kept.mp4").rename(mixed / "3.mp4")
    again = skelkit("extract", mixed, out, *one_expert, code=1)
    assert again.err.count("] ok") == 1
    assert_same(out, reference)


@pytest.mark.slow
@real_cluster
def test_the_scheduler_killed_then_the_command_interrupted(
    tmp_path: Path, mixed: Path, one_expert: list[str]
) -> None:
    reference, out = tmp_path / "reference.h5", tmp_path / "out.h5"
    skelkit("extract", mixed, reference, *one_expert, code=1)
    (mixed / "1.mp4").rename(tmp_path / "kept.mp4")
    gate = Gate(mixed / "1.mp4")
    for attempt in ("killed", "interrupted"):
        with dask_here(tmp_path / "dask", 1) as dask:
            command = ["extract", *one_by_one(mixed), out, *one_expert, "--scheduler", dask.address]
            with Running(*command, err=tmp_path / "err") as run:
                held, _ = at_work(gate, dask, run)
                if attempt == "killed":
                    dask.kill_scheduler()
                else:
                    run.send(signal.SIGINT, group=True)
                done = run.end()
                os.close(held)
        assert not out.exists()
        if attempt == "killed":
            assert done.code == 3
            assert "lost the scheduler of the cluster; finished work is kept" in done.sentence
            assert read_state(out).condition(time.time()) == "failed"
        else:
            assert done.code == 130
            assert "finished videos are kept" in done.sentence
            assert read_state(out).condition(time.time()) == "interrupted"
    (mixed / "1.mp4").unlink()
    (tmp_path / "kept.mp4").rename(mixed / "1.mp4")
    again = skelkit("extract", mixed, out, *one_expert, code=1)
    assert again.err.count("] ok") == 1  # the one that was at work
    assert_same(out, reference)


def test_calls_that_are_wrong(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    out = tmp_path / "out.h5"
    for options, code, named in (
        (["--cluster", "slurm", "--scheduler", "tcp://x:1"], 2, "got both"),
        (["--cluster", tmp_path / "no.toml"], 2, "skelkit cluster init"),
    ):
        assert named in at_once("extract", videos, out, *one_expert, *options, code=code).sentence
        assert not list(tmp_path.glob("out*"))
