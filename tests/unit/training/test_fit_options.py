"""One step is one step, however it is spread: over passes, over processes, compiled."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import plain_training
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import CLASSES, tiny_clips, tiny_recipe
from torch import Tensor

from skelkit.models import build
from skelkit.training import Hardware, fit, read_curves

CPU = Hardware(accelerator="cpu")


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=1e-4, atol=1e-6, msg=name)


def figures(folder: Path, name: str) -> Sequence[float]:
    return [row[name] for row in read_curves(folder) if name in row]


def test_two_passes_per_step_are_one_of_twice_the_clips(tmp_path: Path) -> None:
    whole = plain_training.train(tmp_path / "whole", batch_size=8)
    halves = plain_training.train(tmp_path / "halves", batch_size=4, accumulate=2)
    other = plain_training.train(tmp_path / "other", batch_size=4)
    assert whole is not None and halves is not None and other is not None
    close(whole.state_dict(), halves.state_dict())
    assert figures(tmp_path / "halves", "lr") == figures(tmp_path / "whole", "lr")
    assert figures(tmp_path / "halves", "val_loss") == pytest.approx(
        figures(tmp_path / "whole", "val_loss"), rel=1e-5
    )
    with pytest.raises(AssertionError):
        close(whole.state_dict(), other.state_dict())


def test_two_processes_are_one_of_twice_the_batch(tmp_path: Path) -> None:
    script = Path(plain_training.__file__)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "two", "2", "4"],
        env=kept | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert process.wait(timeout=250) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):  # also the second process, should one be left
            os.killpg(process.pid, signal.SIGKILL)
    one = plain_training.train(tmp_path / "one", batch_size=8)
    assert one is not None
    close(load_file(tmp_path / "two/weights.safetensors"), one.state_dict())
    for name in ("lr", "train_loss", "train_top1", "val_loss", "val_top1"):
        pair = [figures(tmp_path / run, name) for run in ("two", "one")]
        assert pair[0] == pytest.approx(pair[1], rel=1e-5), name


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "g++"), "c++", "clang++"))),
    reason="torch.compile needs a C++ compiler here",
)
def test_a_compiled_network_takes_the_same_steps(tmp_path: Path) -> None:
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        settings = {"skeleton": "lcr13", "channels": (8,), "dilations": (1,), "num_people": 1}
        network = build("unik", {**settings, "num_classes": CLASSES})
        training = {"epochs": 1, "compile": compiled}
        fit(
            network,
            network.classifier,
            tiny_recipe(training=training, optimizer={"milestones": [], "warmup_epochs": 0, "lr": 0.01}),
            tmp_path / str(compiled),
            train=tiny_clips(count=8, joints=13),
            validation=None,
            hardware=CPU,
        )
        found.append(network.state_dict())
    assert len(figures(tmp_path / "True", "loss")) == 2
    close(*found)
