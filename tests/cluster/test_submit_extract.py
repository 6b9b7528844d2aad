"""Extractions as arrays on a real Slurm: the same as a run here, whatever happens to their jobs."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import assert_same, at_once, skelkit, statuses
from made_clips import make_clip
from real_slurm import Slurm

HOOK = """
import os, pathlib, signal, sys, time

def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        name = pathlib.Path(os.fsdecode(arguments[0])).name
        if not name.endswith(".mp4") or not os.environ.get("SLURM_JOB_ID"):
            return
        pathlib.Path(__file__).with_name(f"by-{os.getpid()}").touch()
        if name.startswith("poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("deadly"):  # takes its whole job with it, as where memory is that of the job
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        if name.startswith("slow"):
            time.sleep(float(name.split("-")[1]))

sys.addaudithook(hook)
"""
"""In every process of a job: what videos do that are called so, and a file for who opened any."""


class Site:
    """A folder with videos, a profile, and what an undisturbed run here makes of the videos."""

    def __init__(self, slurm: Slurm, folder: Path, experts: list[str], **profile: object) -> None:
        self.slurm, self.folder, self.experts = slurm, folder, experts
        self.videos, self.out = folder / "videos", folder / "out.h5"
        self.videos.mkdir()
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(HOOK)
        values = {
            "kind": "slurm",
            "cores": 1,
            "memory": "1G",
            "workers": 2,
            "walltime": "00:30:00",
            "environment": [f"export PYTHONPATH={folder}/hook", "export OMP_NUM_THREADS=1"],
        } | profile
        (folder / "site.toml").write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in values.items()))

    def add(self, *names: str) -> None:
        for name in names:
            make_clip(self.videos / f"{name}.mp4", frames=8, seed=sum(name.encode()))

    def submit(self, shares: int) -> tuple[str, str]:
        """The numbers of the array and of the job that joins."""
        done = skelkit(
            "submit", "extract", self.videos, self.out, *self.experts, "--cluster", self.folder / "site.toml",
            "--shares", shares, **self.slurm.environment,
        )  # fmt: skip
        jobs = [line.split()[1].rstrip(":") for line in done.out.splitlines() if line.startswith("job ")]
        assert len(jobs) == 2, done.out
        return jobs[0], jobs[1]

    def again(self) -> tuple[str, str]:
        """The same scripts once more."""
        scripts = [self.out.with_name("out.h5.slurm") / f"{name}.sbatch" for name in ("extract", "join")]
        first = self.slurm.submit(scripts[0])
        return first, self.slurm.submit(f"--dependency=afterany:{first}", scripts[1])

    def logs(self) -> str:
        folder = self.out.with_name("out.h5.slurm")
        return "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(folder.glob("*.log")))

    def is_whole(self, joining: str, *, within: float = 1200) -> None:
        """Wait until the shares are joined."""
        assert self.slurm.end_of(joining, within=within) == {joining: "COMPLETED"}, self.logs()
        assert "out.h5: valid" in self.logs()

    def matches_a_run_here(self) -> None:
        here = self.folder / "here.h5"
        skelkit("extract", self.videos, here, *self.experts, code=None)
        assert_same(self.out, here)
        assert statuses(self.out) == statuses(here)

    def running(self, job: str) -> Callable[[], bool]:
        return lambda: "RUNNING" in self.slurm.states(job).values() and bool(self.slurm.pids(job))


@pytest.fixture
def site(slurm: Slurm, tmp_path: Path, one_expert: list[str]) -> Site:
    return Site(slurm, tmp_path, one_expert)


def finished(site: Site) -> int:
    return len(list(site.folder.glob("out-*.h5.spool/*/*.json")))


def test_shares_joined_are_what_a_run_here_makes(site: Site) -> None:
    site.add(*"abcde")
    (site.videos / "bad.mp4").write_text("no video")
    array, joining = site.submit(3)
    site.is_whole(joining)
    assert site.slurm.states(array) == dict.fromkeys("012", "COMPLETED")
    site.matches_a_run_here()
    assert statuses(site.out)["bad"] == "failed"


@pytest.mark.slow
def test_real_videos(slurm: Slurm, pack: Path, tmp_path: Path) -> None:
    site = Site(slurm, tmp_path, ["--experts", "movenet", "--weights", str(pack / "weights")])
    for name in ("odd_321x241_mpeg4", "one_frame", "bad_truncated60_faststart", "mmpose_demo", "no_person"):
        (site.videos / f"{name}.mp4").symlink_to(pack / "media" / f"{name}.mp4")
    _, joining = site.submit(2)
    site.is_whole(joining)
    site.matches_a_run_here()


@pytest.mark.slow
def test_requeued_it_goes_on_where_it_stopped(site: Site) -> None:
    site.add(*(f"slow-0.4-{n}" for n in range(12)))
    array, joining = site.submit(1)
    asked = ("scontrol requeue", "SIGUSR1 as before the walltime ends", "SIGKILL of its processes")
    for number, how in enumerate(asked):
        before = finished(site)
        site.slurm.wait(lambda before=before: finished(site) > before + 1, f"videos before {how}")
        kept = finished(site)
        if how.startswith("scontrol"):
            site.slurm.run("scontrol", "requeue", array)
        elif how.startswith("SIGUSR1"):
            site.slurm.run("scancel", "--batch", "--signal=USR1", f"{array}_0")
        else:
            for process in filter(is_skelkit, site.slurm.pids(array)):
                os.kill(process, signal.SIGKILL)
        site.slurm.wait(
            lambda wanted=number + 1: int(site.slurm.job(array)[0]["Restarts"]) >= wanted, f"{how} to requeue"
        )
        assert finished(site) >= kept
    site.is_whole(joining)
    site.matches_a_run_here()


@pytest.mark.slow
def test_what_kills_its_processes_or_its_job_twice_is_set_aside(site: Site) -> None:
    site.add(*"abc", "poison", "deadly-1", "deadly-2")
    array, joining = site.submit(1)
    site.is_whole(joining)
    assert site.slurm.job(array)[0]["Restarts"] == "4"
    found = json.loads((site.folder / "out.h5.report.json").read_text())["inputs"]
    assert {row["video_id"]: row["status"] for row in found} == dict.fromkeys("abc", "ok") | dict.fromkeys(
        ("poison", "deadly-1", "deadly-2"), "failed"
    )
    assert all("died 2 times" in row["detail"] for row in found if row["status"] == "failed")
    # Where they do no harm any more, the same scripts do what is left and nothing else.
    (site.folder / "hook" / "sitecustomize.py").unlink()
    _, joining = site.again()
    site.is_whole(joining)
    site.matches_a_run_here()


@pytest.mark.slow
def test_random_kills_and_a_drained_node(site: Site) -> None:
    site.add(*(f"slow-0.3-{n}" for n in range(24)), "poison")
    seed = 7
    chance = random.Random(seed)
    array, joining = site.submit(4)
    kills, drained = 0, False
    while kills < 20 and finished(site) < 20:
        time.sleep(chance.uniform(0.1, 0.6))
        mine = [p for p in site.slurm.pids(array) if is_skelkit(p)]
        if mine:
            os.kill(chance.choice(mine), signal.SIGKILL)
            kills += 1
        if kills == 5 and not drained:
            site.slurm.drain("node1")
            drained = True
    assert drained
    site.is_whole(joining)
    found = statuses(site.out)
    assert found.keys() == {path.stem for path in site.videos.iterdir()}
    assert found["poison"] == "failed"
    (site.folder / "hook" / "sitecustomize.py").unlink()  # the innocent that were killed twice, too
    _, joining = site.again()
    site.is_whole(joining)
    site.matches_a_run_here()


def is_skelkit(process: int) -> bool:
    try:
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return b"spawn_main" in command or b"skelkit\0extract" in command


@pytest.mark.slow
def test_a_walltime_too_short_for_all(slurm: Slurm, tmp_path: Path, one_expert: list[str]) -> None:
    site = Site(slurm, tmp_path, one_expert, walltime="00:01:00", notice=20, workers=1)
    site.add(*(f"slow-4-{n:02d}" for n in range(20)))
    array, joining = site.submit(1)
    site.is_whole(joining, within=1200)
    assert int(slurm.job(array)[0]["Restarts"]) >= 1
    site.matches_a_run_here()


@pytest.mark.slow
def test_shares_that_are_not_finished_are_named_and_can_be_made_up_for(site: Site) -> None:
    site.add(*(f"slow-0.4-{n}" for n in range(8)))
    array, joining = site.submit(2)
    site.slurm.wait(lambda: finished(site) > 1, "some videos")
    site.slurm.run("scancel", f"{array}_1")
    assert site.slurm.end_of(joining) == {joining: "FAILED"}
    assert "1 of 2 shares are not finished: " in site.logs()
    assert "out-00001-of-00002.h5; let their jobs go on, and join again" in site.logs()
    assert not site.out.exists()
    _, joining = site.again()
    site.is_whole(joining)
    site.matches_a_run_here()


def test_sbatch_refuses_with_its_words(site: Site) -> None:
    site.add("a")
    with (site.folder / "site.toml").open("a") as file:
        file.write('\npartition = "gpuu"\n')
    done = skelkit(
        "submit", "extract", site.videos, site.out, *site.experts, "--cluster", site.folder / "site.toml",
        code=3, **site.slurm.environment,
    )  # fmt: skip
    assert "invalid partition specified: gpuu" in done.sentence
    assert done.sentence.endswith("; adapt the site profile, or edit the script")
    assert site.slurm.run("squeue", "--noheader") == ""


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    done = at_once("submit", "extract", "videos", "out.h5", "--cluster", tmp_path / "no.toml", code=2)
    assert "skelkit cluster init" in done.sentence
