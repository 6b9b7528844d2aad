"""--cluster slurm on a real Slurm: the same as a run here, whatever happens to its workers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import SKELKIT, environment, rows_of, skelkit, statuses
from real_slurm import Slurm
from test_submit_extract import Site

from skelkit.pipelines.event_log import read_state

if find_spec("dask_jobqueue") is None:
    pytest.skip("dask-jobqueue is absent: the extra cluster", allow_module_level=True)
KILLS = 20


class Clustered(Site):
    """The same site, with a command that conducts its workers."""

    def command(self) -> list[str]:
        words = ["extract", self.videos, self.out, *self.experts, "--cluster", self.folder / "site.toml"]
        return [*SKELKIT, *map(str, words)]

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "err").open("ab") as err:
            return subprocess.Popen(
                self.command(),
                env=environment(**self.slurm.environment),
                stdout=subprocess.DEVNULL,
                stderr=err,
                start_new_session=True,
            )

    def ends(self, process: subprocess.Popen[bytes], code: int) -> None:
        assert process.wait(900) == code, self.said()

    def said(self) -> str:
        return (self.folder / "err").read_text()

    def jobs(self) -> list[str]:
        """Numbers of those that run."""
        lines = self.slurm.run("squeue", "--noheader", "--me", "--states=RUNNING", "--format=%i")
        return lines.split()

    def workers(self) -> list[int]:
        """Processes that have begun with a video: jobs and runs may end with one that dies before."""
        begun = {int(path.name[3:]) for path in (self.folder / "hook").glob("by-*")}
        return [pid for job in self.jobs() for pid in self.slurm.pids(job) if pid in begun]

    def no_jobs_left(self) -> None:
        self.slurm.wait(lambda: not self.slurm.run("squeue", "--noheader", "--me"), "the jobs to end")


@pytest.fixture
def site(slurm: Slurm, tmp_path: Path, one_expert: list[str]) -> Clustered:
    return Clustered(slurm, tmp_path, one_expert)


def test_real_videos_and_a_check(slurm: Slurm, pack: Path, tmp_path: Path) -> None:
    # networks of ONNX Runtime, which fit into the site's gigabyte; PyTorch alone takes most of that
    networks = ["--experts", "movenet", "--detector", "yolox_nano", "--weights", str(pack / "weights")]
    site = Clustered(slurm, tmp_path, networks)
    profile = tmp_path / "site.toml"
    done = skelkit(
        "cluster", "check", profile, "--folder", tmp_path, "--weights", pack / "weights", "--json",
        **slurm.environment,
    )  # fmt: skip
    assert "movenet" in done.json["weights"] and done.json["problems"] == []
    for name in ("odd_321x241_mpeg4", "one_frame", "bad_truncated60_faststart", "mmpose_demo", "no_person"):
        (site.videos / f"{name}.mp4").symlink_to(pack / "media" / f"{name}.mp4")
    site.ends(site.start(), 1)
    site.matches_a_run_here()
    site.no_jobs_left()
    assert not (tmp_path / "out.h5.jobs").exists()


@pytest.mark.slow
def test_interrupted_killed_and_gone_on_with(site: Clustered) -> None:
    site.add(*(f"slow-1-{n}" for n in range(6)))
    for number in (signal.SIGINT, signal.SIGKILL):
        have = len(list(site.folder.glob("out.h5.spool/*/*.json")))
        with site.start() as process:
            site.slurm.wait(
                lambda have=have: len(list(site.folder.glob("out.h5.spool/*/*.json"))) > have, "a video"
            )
            os.killpg(process.pid, number)
            process.wait()
        site.no_jobs_left()  # the scheduler died with the command, and workers do not outlive it
    assert "finished videos are kept" in site.said()
    site.ends(site.start(), 0)
    assert site.said().count("keeping what an earlier run has finished") >= 1
    site.matches_a_run_here()


@pytest.mark.slow
def test_killed_twenty_times_with_a_poisoned_video(site: Clustered) -> None:
    site.add("poison", *(f"slow-0.5-{n}" for n in range(12)))
    chance, kills = random.Random(8), 0
    here = site.folder / "here.h5"
    skelkit("extract", site.videos, here, *site.experts, code=0)
    while True:
        with site.start() as process:
            while kills < KILLS and process.poll() is None:
                time.sleep(chance.uniform(0, 2))
                if victims := site.workers():
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    kills += 1
            process.wait()
        assert process.returncode == 1, site.said()
        rows = rows_of(site.out)
        assert list(rows) == list(rows_of(here))  # all accounted for, none twice
        failed = {name for name, status in statuses(site.out).items() if status == "failed"}
        assert "poison" in failed
        assert all("died 2 times" in rows[name]["detail"] for name in failed)
        if kills >= KILLS and failed == {"poison"}:
            break
        if failed == {"poison"}:
            site.out.unlink()
    assert kills == KILLS
    (site.videos / "poison.mp4").rename(site.folder / "antidote.mp4")
    (site.folder / "antidote.mp4").rename(site.videos / "harmless.mp4")
    site.ends(site.start(), 0)
    site.matches_a_run_here()


@pytest.mark.slow
def test_walltimes_that_end_and_a_node_that_is_drained(
    slurm: Slurm, tmp_path: Path, one_expert: list[str]
) -> None:
    site = Clustered(slurm, tmp_path, one_expert, walltime="00:01:00", notice=30, workers=1)
    site.add(*(f"slow-4-{n}" for n in range(10)))
    process = site.start()
    slurm.wait(site.jobs, "a job")
    (first,) = site.jobs()
    node = slurm.job(first)[0]["NodeList"]
    slurm.drain(node)
    slurm.wait(lambda: set(site.jobs()) - {first}, "the next job")
    (second,) = set(site.jobs()) - {first}
    assert slurm.job(second)[0]["NodeList"] not in {node, "(null)"}
    site.ends(process, 0)
    state = read_state(site.out)
    assert state.statuses == {"ok": 10}
    log = [json.loads(line) for line in (tmp_path / "out.h5.events.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "ready" for event in log) >= 2  # more than one job was needed
    site.matches_a_run_here()


@pytest.mark.slow
def test_a_job_that_ends_before_it_is_a_worker(slurm: Slurm, tmp_path: Path, one_expert: list[str]) -> None:
    once = f"if mkdir {tmp_path}/been-here; then echo no such module; exit 3; fi"
    site = Clustered(slurm, tmp_path, one_expert, workers=1, environment=[once])
    site.add("a")
    site.ends(site.start(), 0)
    assert "1 jobs have ended: the last is" in site.said() and "no such module" in site.said()
    site.matches_a_run_here()


@pytest.mark.slow
def test_jobs_that_all_end_before_they_are_workers(
    slurm: Slurm, tmp_path: Path, one_expert: list[str]
) -> None:
    site = Clustered(slurm, tmp_path, one_expert, workers=1, environment=["echo no such module; exit 3"])
    site.add("a")
    site.ends(site.start(), 3)
    assert "3 jobs in a row ended without a new worker" in site.said()
    assert "which said: no such module; look into" in site.said()
    assert list((tmp_path / "out.h5.jobs").iterdir())


@pytest.mark.slow
def test_scratch_that_is_full_on_one_node(slurm: Slurm, tmp_path: Path, one_expert: list[str]) -> None:
    scratch = f"{tmp_path}/scratch-$SLURMD_NODENAME"
    site = Clustered(slurm, tmp_path, one_expert, workers=3, scratch=scratch)
    site.add("a", *(f"slow-1-{n}" for n in range(5)))
    full = tmp_path / "scratch-node1"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "none", full]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("a disk that is full cannot be made")
    try:
        site.ends(site.start(), 0)
    finally:
        subprocess.run(["umount", "--lazy", full], check=True)
    site.matches_a_run_here()


def test_a_job_that_slurm_refuses(slurm: Slurm, tmp_path: Path, one_expert: list[str]) -> None:
    site = Clustered(slurm, tmp_path, one_expert, partition="nowhere")
    site.add("a")
    done = skelkit(*site.command()[len(SKELKIT) :], code=3, **slurm.environment)
    assert "expected slurm to take a job" in done.sentence and "nowhere" in done.sentence
