"""What the scripts do when Slurm stops their jobs, with a command that costs nothing in skelkit's place."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from real_slurm import Slurm

from skelkit.pipelines.batch_script import Layout, batch_script, interruptible
from skelkit.pipelines.site_profile import SiteProfile

WORK = """#!/bin/bash
# Counts to twelve in a file, and goes on where it stopped.
trap 'echo stopped; exit 130' TERM
echo begun
while [ "$(wc -l < {count})" -lt {goal} ]; do
    sleep 0.3
    echo $$ >> {count}
done
exit {code}
"""


class Job:
    """A script that counts."""

    def __init__(
        self, slurm: Slurm, folder: Path, *, goal: int = 12, code: int = 0, walltime: str = "00:10:00"
    ) -> None:
        self.slurm = slurm
        self.count, self.log = folder / "count", folder / "log"
        self.count.touch()
        work = folder / "work.sh"
        work.write_text(WORK.format(count=self.count, goal=goal, code=code))
        work.chmod(0o755)
        profile = SiteProfile.model_validate(
            {"kind": "slurm", "cores": 1, "memory": "100M", "walltime": walltime, "notice": 5}
        )
        body = interruptible(profile, str(work), shares=True)
        script = folder / "job.sbatch"
        script.write_text(
            batch_script(profile, Layout(), name="count", comment=[], log=self.log, body=body, signal="B:")
        )
        self.number = slurm.submit(script)

    @property
    def done(self) -> int:
        return len(self.count.read_text().splitlines())

    @property
    def restarts(self) -> int:
        return int(self.slurm.job(self.number)[0]["Restarts"])

    def has_begun(self) -> int:
        """Wait until it counts; the number it has come to."""
        before = self.done
        self.slurm.wait(lambda: self.done > before + 1, "the job to count")
        return self.done

    def goes_on(self, since: int, *, within: float = 300) -> None:
        """Wait for the end: it was started again, and begun once more where it stopped."""
        state = self.slurm.end_of(self.number, within=within)
        assert state == {self.number: "COMPLETED"}, self.log.read_text()
        assert self.done == 12
        assert self.done > since
        assert self.log.read_text().count("begun") == self.restarts + 1 >= 2

    def working(self) -> int:
        """The process that counts."""
        return int(self.count.read_text().split()[-1])


def test_before_the_walltime_ends_it_stops_and_goes_on(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path)
    since = job.has_begun()
    slurm.run("scancel", "--batch", "--signal=USR1", job.number)
    job.goes_on(since)
    assert "stopped" in job.log.read_text()
    assert job.restarts == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.slow)])
def test_killed_it_goes_on(slurm: Slurm, tmp_path: Path, number: signal.Signals) -> None:
    job = Job(slurm, tmp_path)
    since = job.has_begun()
    os.kill(job.working(), number)
    job.goes_on(since)
    assert job.restarts == 1


def test_preempted_it_stops_and_goes_on(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path)
    since = job.has_begun()
    slurm.run("srun", "--partition=urgent", "--nodes=2", "--exclusive", "true")
    job.goes_on(since)
    assert "DUE TO PREEMPTION" in job.log.read_text()
    assert "stopped" in job.log.read_text()
    assert job.restarts == 1


def test_a_lost_node(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path)
    since = job.has_begun()
    node = slurm.job(job.number)[0]["NodeList"]
    slurm.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=a test")
    job.goes_on(since)
    assert "NODE FAILURE" in job.log.read_text()


def test_cancelled_it_stays_cancelled(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path)
    job.has_begun()
    slurm.run("scancel", job.number)
    assert slurm.end_of(job.number) == {job.number: "CANCELLED"}
    assert job.restarts == 0
    assert not slurm.pids(job.number)


@pytest.mark.parametrize(("code", "state"), [(1, "COMPLETED"), (2, "FAILED"), (3, "FAILED")])
def test_ends_are_told_apart(slurm: Slurm, tmp_path: Path, code: int, state: str) -> None:
    """1: some inputs failed, the share is there. 2 and 3: it is not, and trying again will not help."""
    job = Job(slurm, tmp_path, goal=1, code=code)
    assert slurm.end_of(job.number) == {job.number: state}
    assert job.restarts == 0
