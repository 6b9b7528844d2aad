"""Site profiles as jobs of each batch system: what stands in the script."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
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


class Jobs:
    """Counts."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.asked: list[int] = []
        self.ended: list[list[str]] = []
        self.refuses = refuses

    def scale(self, count: int) -> None:
        self.asked.append(count)

    async def scale_down(self, names: list[str]) -> None:
        self.ended.append(names)

    def sync(self, function: Any, *arguments: Any) -> None:
        if self.refuses:
            raise RuntimeError("sbatch: error:\n invalid partition specified: long")
        if arguments != (self,):
            self.ended.append(*arguments)


def test_as_many_jobs_as_there_is_work_for() -> None:
    jobs = Jobs()
    farm = JobFarm(
        cluster=jobs,
        profile=profile("slurm", workers={"min": 2, "max": 8}),
        observe=lambda event, **facts: None,
    )
    for count in (5, 100, 3):
        farm.want(count)
    assert jobs.asked == [5, 8, 8]  # it never takes a job from a worker that may be busy
    farm.release("w3")
    assert jobs.ended == [["w3"]]
    farm.want(1)
    assert jobs.asked[-1] == 7


def test_a_batch_system_that_takes_no_job() -> None:
    jobs = Jobs(refuses=True)
    seen: list[str] = []
    farm = JobFarm(cluster=jobs, profile=profile("slurm"), observe=lambda event, **facts: seen.append(event))
    with pytest.raises(ClusterError, match="invalid partition"):
        farm.want(5)
    farm.want(5)  # later it may change its mind
    assert seen == ["asked", "refused"]
