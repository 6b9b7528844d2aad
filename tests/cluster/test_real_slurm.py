"""The harness itself."""

from __future__ import annotations

from pathlib import Path

from real_slurm import Slurm


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/bash", *lines, ""]))
    return path


def test_an_array_runs_on_both_nodes(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(
        "--array=0-3",
        f"--output={tmp_path}/%a.out",
        script(
            tmp_path / "job.sh",
            "echo $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_COUNT on $SLURMD_NODENAME; sleep 1",
        ),
    )
    assert slurm.end_of(job) == dict.fromkeys("0123", "COMPLETED")
    said = [(tmp_path / f"{number}.out").read_text().split() for number in range(4)]
    assert [words[:3] for words in said] == [[str(number), "of", "4"] for number in range(4)]
    assert {words[4] for words in said} == set(slurm.nodes)


def test_srun_starts_tasks_on_several_nodes(slurm: Slurm) -> None:
    said = slurm.run("srun", "--nodes=2", "--ntasks=2", "sh", "-c", "echo $SLURM_PROCID $SLURMD_NODENAME")
    assert sorted(said.splitlines()) == ["0 node1", "1 node2"]


def test_a_job_fails_and_is_cancelled_and_requeued(slurm: Slurm, tmp_path: Path) -> None:
    fails = slurm.submit(f"--output={tmp_path}/a", script(tmp_path / "fails.sh", "exit 3"))
    assert slurm.end_of(fails) == {fails: "FAILED"}
    lasts = slurm.submit(
        "--requeue",
        f"--output={tmp_path}/b",
        script(tmp_path / "lasts.sh", "echo $SLURM_RESTART_COUNT; sleep 60"),
    )
    slurm.wait(lambda: slurm.states(lasts) == {lasts: "RUNNING"} and slurm.pids(lasts), "it to run")
    slurm.run("scontrol", "requeue", lasts)
    slurm.wait(lambda: slurm.job(lasts)[0]["Restarts"] == "1", "it to be requeued")
    slurm.run("scancel", lasts)
    assert slurm.end_of(lasts) == {lasts: "CANCELLED"}


def test_a_drained_node_gets_no_jobs_and_a_dead_one_is_found(slurm: Slurm, tmp_path: Path) -> None:
    slurm.drain("node1")
    job = slurm.submit(
        "--array=0-3", f"--output={tmp_path}/%a", script(tmp_path / "job.sh", "echo $SLURMD_NODENAME")
    )
    slurm.end_of(job)
    assert {(tmp_path / str(number)).read_text().strip() for number in range(4)} == {"node2"}
