"""Site profiles as jobs of each batch system: what stands in the script."""

from __future__ import annotations

import asyncio
import os
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skelkit.errors import ClusterError
from skelkit.pipelines.site_profile import KINDS, SiteProfile

if find_spec("dask_jobqueue") is None:
    pytest.skip("dask-jobqueue is absent: the extra cluster", allow_module_level=True)

from skelkit.pipelines.job_farm import JobFarm, job_script


def profile(kind: str, **more: Any) -> SiteProfile:
    values = {
        "kind": kind,
        "partition": "long",
        "account": "poses",
        "walltime": "1-02:00:00",
        "cores": 6,
        "memory": "20G",
        "gpus": 1,
        "environment": ["module load cuda"],
        "notice": 300,
        "scratch": "/local/$USER",
    }
    return SiteProfile.model_validate(values | more)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (
            "slurm",
            [
                "#SBATCH -p long",
                "#SBATCH -A poses",
                "#SBATCH --cpus-per-task=6",
                "#SBATCH --mem=20G",
                "#SBATCH -t 1-02:00:00",
                "#SBATCH --gres=gpu:1",
            ],
        ),
        (
            "pbs",
            [
                "#PBS -q long",
                "#PBS -A poses",
                "#PBS -l select=1:ncpus=6:mem=21474836480b:ngpus=1",
                "26:00:00",
            ],
        ),
        ("lsf", ["#BSUB -q long", '#BSUB -P "poses"', "#BSUB -n 6", "#BSUB -W 26:00", "#BSUB -gpu num=1"]),
        ("sge", ["#$ -q long", "#$ -P poses", "#$ -l h_rt=26:00:00", "#$ -l gpu=1"]),
        ("htcondor", ["request_gpus = 1", "accounting_group = poses", "+MaxRuntime = 93600"]),
    ],
)
def test_the_script(kind: str, lines: list[str], tmp_path: Path) -> None:
    script = job_script(profile(kind), tmp_path / "logs")
    for line in lines:
        assert line in script, script
    assert "--nthreads 6" in script and "--lifetime 93300s" in script and "module load cuda" in script
    assert "--local-directory /local/$USER" in script


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_of_a_profile(kind: str, tmp_path: Path) -> None:
    script = job_script(SiteProfile.model_validate({"kind": kind}), tmp_path / "logs")
    assert "distributed.cli.dask_worker" in script and "None" not in script


class Submitted:
    """A job; one that was refused says so when it is waited for."""

    job_id_regexp = r"(?P<job_id>\d+)"

    def __init__(self, job_id: str, *, refused: bool = False) -> None:
        self.job_id, self.refused = job_id, refused

    async def start(self) -> None:
        if self.refused:
            raise RuntimeError("sbatch: error: invalid account")

    def __await__(self) -> Any:
        return self.start().__await__()


class Jobs:
    """Stands in for a cluster of dask-jobqueue and its batch system."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.asked: list[int] = []
        self.ended: list[list[str]] = []
        self.refuses = refuses
        self.workers: dict[str, SimpleNamespace] = {}
        self.scheduler = SimpleNamespace(workers={})
        self.count = 0

    def scale(self, count: int) -> None:
        self.asked.append(count)

    async def scale_down(self, names: list[str]) -> None:
        for name in names:
            del self.workers[name]
        self.ended.append(names)

    async def _correct_state(self) -> None:
        if self.refuses:
            raise RuntimeError("sbatch: error:\n invalid partition specified: long")
        while len(self.workers) < self.asked[-1]:
            self.count += 1
            self.workers[f"w{self.count}"] = Submitted(str(self.count))

    def sync(self, function: Any, *arguments: Any) -> Any:
        return asyncio.run(function(*arguments))


def farm_of(jobs: Jobs, logs: Path, **more: Any) -> tuple[JobFarm, list[tuple[str, dict[str, Any]]]]:
    seen: list[tuple[str, dict[str, Any]]] = []
    farm = JobFarm(
        cluster=jobs,
        profile=profile("slurm", **more),
        logs=logs,
        observe=lambda event, **facts: seen.append((event, facts)),
    )
    return farm, seen


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the numbers that Slurm lists."""
    listed = tmp_path / "listed"
    (tmp_path / "bin").mkdir()
    squeue = tmp_path / "bin" / "squeue"
    squeue.write_text(f"#!/bin/sh\ncat {listed}\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{squeue.parent}{os.pathsep}{os.environ['PATH']}")
    return listed


def test_as_many_jobs_as_there_is_work_for(tmp_path: Path, queue: Path) -> None:
    queue.write_text("".join(f"{n}\n" for n in range(20)))
    jobs = Jobs()
    farm, _ = farm_of(jobs, tmp_path, workers={"min": 2, "max": 8})
    for count in (5, 100, 3):
        farm.want(count)
    assert jobs.asked == [5, 8, 8]  # it never takes a job from a worker that may be busy
    farm.release("w3")
    assert jobs.ended == [["w3"]]
    farm.want(1)
    assert jobs.asked[-1] == 7


def test_a_batch_system_that_takes_no_job(tmp_path: Path) -> None:
    farm, seen = farm_of(Jobs(refuses=True), tmp_path)
    with pytest.raises(ClusterError, match="invalid partition"):
        farm.want(5)
    farm.want(5)  # later it may change its mind
    assert [event for event, _ in seen] == ["asked", "refused"]


def test_a_refusal_that_was_told_to_somebody_else(tmp_path: Path) -> None:
    jobs = Jobs()
    jobs.workers = {"w1": Submitted("", refused=True)}
    farm, _ = farm_of(jobs, tmp_path, workers=1)
    with pytest.raises(ClusterError, match="invalid account"):
        farm.want(5)


def test_jobs_that_end_before_they_are_workers_are_submitted_again(tmp_path: Path, queue: Path) -> None:
    jobs = Jobs()
    farm, seen = farm_of(jobs, tmp_path, workers=3)
    farm.want(9)
    jobs.scheduler.workers["tcp://a"] = SimpleNamespace(name="w1")
    queue.write_text("2\n")  # waits; 1 is at work, whatever the list says; 3 is gone
    (tmp_path / "skelkit-3.err").write_text("loading\nmodule: not found\n\n")
    farm.want(9)
    assert jobs.ended == [["w3"]] and set(jobs.workers) == {"w1", "w2", "w4"}
    assert seen[-1] == ("ended", {"count": 1, "why": "the last is 3, which said: module: not found"})
    queue.write_text("2\n4\n")
    farm.want(9)
    assert len(jobs.ended) == 1


def test_a_batch_system_that_says_nothing_is_believed_in_nothing(tmp_path: Path, queue: Path) -> None:
    jobs = Jobs()
    farm, _ = farm_of(jobs, tmp_path, workers=3)
    for _ in range(20):  # there is no list: the command fails
        farm.want(9)
    assert jobs.ended == [] and jobs.count == 3


def test_jobs_that_all_end_at_once_end_the_run(tmp_path: Path, queue: Path) -> None:
    queue.touch()
    jobs = Jobs()
    farm, _ = farm_of(jobs, tmp_path, workers=2)
    with pytest.raises(ClusterError, match="6 jobs in a row ended without a new worker; the last is 6"):
        for _ in range(20):
            farm.want(9)
    assert jobs.count == 6


def test_a_node_that_eats_jobs_gets_no_more_until_a_worker_comes(tmp_path: Path, queue: Path) -> None:
    queue.touch()
    jobs = Jobs()
    farm, seen = farm_of(jobs, tmp_path, workers=2)
    farm.want(9)
    jobs.scheduler.workers["tcp://a"] = SimpleNamespace(name="w1")
    for _ in range(20):
        farm.want(9)
    assert jobs.count == 7 and "no more in their place" in seen[-1][1]["why"]
    jobs.scheduler.workers["tcp://b"] = SimpleNamespace(name="w1")  # in the place of the first
    farm.want(9)
    assert jobs.count == 8
