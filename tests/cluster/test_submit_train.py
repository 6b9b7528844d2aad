"""Training on a real Slurm: two processes are one with the same batches, and a requeue loses nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import skelkit
from made_actions import make_dataset
from real_slurm import Slurm
from safetensors.numpy import load_file

from skelkit.training import read_curves

RECIPE = """
[model]
name = "unik"
options = {{ channels = [8, 8], dilations = [1, 1] }}
[data]
sampling = "stretch"
frames = 8
test_frames = 8
centre = "belly"
[optimizer]
lr = 0.05
milestones = [4]
[training]
epochs = {epochs}
batch_size = {batch_size}
log_every = 1
"""
PROFILE = """
kind = "slurm"
cores = 1
memory = "1G"
walltime = "00:30:00"
# The nodes' names are on paper only.
environment = ["export OMP_NUM_THREADS=1", "export MASTER_ADDR=127.0.0.1"]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("made") / "ds", clips={"train": 4, "test": 2})


def train(folder: Path, data: Path, name: str, *, batch_size: int, epochs: int = 6) -> list[object]:
    """The words of a training."""
    recipe = folder / f"{name}.toml"
    recipe.write_text(RECIPE.format(batch_size=batch_size, epochs=epochs))
    return ["train", recipe, "--data", data, "--out", folder / name, "--accelerator", "cpu"]


def submit(slurm: Slurm, folder: Path, *words: object) -> str:
    (folder / "site.toml").write_text(PROFILE)
    done = skelkit("submit", *words, "--cluster", folder / "site.toml", **slurm.environment)
    return done.out.split()[1].rstrip(":")


def ended_well(slurm: Slurm, job: str, run: Path) -> None:
    state = slurm.end_of(job, within=1200)
    logs = "\n".join(p.read_text() for p in run.with_name(run.name + ".slurm").glob("*.log"))
    assert state == {job: "COMPLETED"}, logs


def assert_same_run(run: Path, wanted: Path, tolerance: float) -> None:
    """Weights, curves and scores."""
    have, want = (load_file(folder / "model" / "model.safetensors") for folder in (run, wanted))
    assert have.keys() == want.keys()
    for name, values in want.items():
        np.testing.assert_allclose(have[name], values, rtol=tolerance, atol=tolerance, err_msg=name)
    rows = [list(read_curves(folder)) for folder in (run, wanted)]
    assert len(rows[0]) == len(rows[1])
    for mine, theirs in zip(*rows, strict=True):
        assert mine.keys() == theirs.keys()
        np.testing.assert_allclose(list(mine.values()), list(theirs.values()), rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def one(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process, undisturbed."""
    folder = tmp_path_factory.mktemp("one")
    skelkit(*train(folder, data, "one", batch_size=8), OMP_NUM_THREADS="1")
    return folder / "one"


@pytest.mark.slow
def test_two_processes_are_one_with_the_same_batches(
    slurm: Slurm, data: Path, one: Path, tmp_path: Path
) -> None:
    job = submit(slurm, tmp_path, *train(tmp_path, data, "two", batch_size=4), "--devices", 2)
    ended_well(slurm, job, tmp_path / "two")
    assert_same_run(tmp_path / "two", one, 2e-4)


def test_two_nodes_are_one_too(slurm: Slurm, data: Path, one: Path, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, *train(tmp_path, data, "two", batch_size=4), "--nodes", 2)
    ended_well(slurm, job, tmp_path / "two")
    assert slurm.job(job)[0]["NumNodes"] == "2"
    assert_same_run(tmp_path / "two", one, 2e-4)


LONG = 15
"""Epochs that leave time to interrupt."""


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A longer run of one process, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    skelkit(*train(folder, data, "whole", batch_size=4, epochs=LONG), OMP_NUM_THREADS="1")
    return folder / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["signal", "requeue"])
def test_a_requeue_in_the_middle_loses_nothing(
    slurm: Slurm, data: Path, whole: Path, tmp_path: Path, how: str
) -> None:
    job = submit(slurm, tmp_path, *train(tmp_path, data, "broken", batch_size=4, epochs=LONG))
    curves = tmp_path / "broken" / "curves.csv"

    def steps() -> int:
        return curves.read_text().count("\n") if curves.exists() else 0

    slurm.wait(lambda: steps() > 12, "some steps")
    if how == "signal":
        slurm.run("scancel", "--signal=USR1", job)  # to the tasks, as before the end of the walltime
    else:
        slurm.run("scontrol", "requeue", job)
    slurm.wait(lambda: int(slurm.job(job)[0]["Restarts"]) == 1, "it to be requeued")
    assert not (tmp_path / "broken" / "model").exists(), "it was over too soon"
    ended_well(slurm, job, tmp_path / "broken")
    assert_same_run(tmp_path / "broken", whole, 0)


def test_other_numbers_than_slurm_says_are_refused(slurm: Slurm, data: Path, tmp_path: Path) -> None:
    words = [str(w) for w in train(tmp_path, data, "run", batch_size=4)]
    environment = slurm.environment | {
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_JOB_NAME": "x",
    }
    done = skelkit(*words, code=2, **environment)
    assert "expected a Slurm job of 1 x 1 tasks" in done.sentence
    assert "got 2 in all and 2 per node" in done.sentence


def test_what_is_wrong_with_a_recipe_is_told_before_anything_is_submitted(
    slurm: Slurm, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "site.toml").write_text(PROFILE)
    words = [*train(tmp_path, data, "run", batch_size=0), "--set", "data.train=nothing"]
    done = skelkit("submit", *words, "--cluster", tmp_path / "site.toml", code=2, **slurm.environment)
    assert "training.batch_size" in done.err
    assert "unknown split: 'nothing'" in done.err
    assert slurm.run("squeue", "--noheader") == ""
    assert not (tmp_path / "run.slurm").exists()


def test_a_script_can_be_read(data: Path, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(PROFILE + 'partition = "gpu"\ngpus = 1\n')
    words = train(tmp_path, data, "run", batch_size=4)
    done = skelkit(
        "submit", *words, "--nodes", 2, "--devices", 4, "--cluster", tmp_path / "site.toml", "--dry-run",
        cwd=tmp_path,
    )  # fmt: skip
    options = [line.removeprefix("#SBATCH ") for line in done.out.splitlines() if line.startswith("#SBATCH")]
    assert {
        "--nodes=2", "--ntasks-per-node=4", "--gres=gpu:4", "--mem=4096M", "--partition=gpu", "--requeue",
        "--signal=USR1@120",
    } <= set(options)  # fmt: skip
    assert f"cd {tmp_path} || exit" in done.out
    assert not (tmp_path / "run.slurm").exists()
