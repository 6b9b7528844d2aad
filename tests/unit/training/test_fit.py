from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import TinyNetwork, fresh, tiny_clips, tiny_recipe
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from skelkit.training import Hardware, Recipe, fit, read_curves
from skelkit.training.snapshots import requeue

CPU = Hardware(accelerator="cpu")


def run(
    folder: Path, recipe: Recipe, *, stop_after: int = 0, workers: int = 0, how: int = signal.SIGUSR1
) -> tuple[bool, TinyNetwork]:
    """Train; ask to stop in the middle of training pass number `stop_after`."""
    network = fresh()
    passes = 0

    def count(module: nn.Module, inputs: Any) -> None:
        nonlocal passes
        passes += module.training
        if passes == stop_after and module.training:
            os.kill(os.getpid(), how)

    network.register_forward_pre_hook(count)
    done = fit(
        network,
        network.classifier,
        recipe,
        folder,
        train=tiny_clips(workers=workers),
        validation=tiny_clips(count=9),
        hardware=CPU,
    )
    return bool(done), network


def told_to_tensorboard(folder: Path) -> list[tuple[str, float, float]]:
    """Tag, step and value of every point that TensorBoard shows."""
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    points = [(tag, point) for tag in events.Tags()["scalars"] for point in events.Scalars(tag)]
    return sorted((tag, point.step, pytest.approx(point.value, rel=1e-5)) for tag, point in points)


def in_the_table(folder: Path) -> list[tuple[str, float, float]]:
    """The same of ``curves.csv``."""
    rows = read_curves(folder)
    return sorted((k, row["step"], v) for row in rows for k, v in row.items() if k not in {"epoch", "step"})


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize(
    ("stops", "accumulate", "workers"),
    [([1], 1, 0), ([6], 1, 0), ([8, 3], 2, 0), ([23], 1, 0), ([7], 1, 1)],
    ids=["first batch", "end of an epoch", "twice, with accumulation", "near the end", "with a worker"],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    tmp_path: Path, stops: list[int], accumulate: int, workers: int
) -> None:
    recipe = tiny_recipe(training={"accumulate": accumulate})
    done, whole = run(tmp_path / "whole", recipe)
    assert done
    for stop in stops:
        done, _ = run(tmp_path / "parts", recipe, stop_after=stop, workers=workers)
        assert not done
        assert set(map(str, read_curves(tmp_path / "parts"))) < set(map(str, read_curves(tmp_path / "whole")))
    done, parts = run(tmp_path / "parts", recipe, workers=workers)
    assert done
    assert same(whole, parts)
    assert read_curves(tmp_path / "parts") == read_curves(tmp_path / "whole")
    assert told_to_tensorboard(tmp_path / "parts") == in_the_table(tmp_path / "whole")


def test_what_a_killed_run_told_too_early_is_told_once(tmp_path: Path) -> None:
    """A run killed after its last checkpoint: its later points, on disk or not, come again."""
    recipe = tiny_recipe()
    done, _ = run(tmp_path, recipe, stop_after=8)
    assert not done
    with SummaryWriter(tmp_path / "tensorboard", filename_suffix=".killed") as writer:
        for step in (9, 10):
            writer.add_scalar("loss", 99.0, step)
    done, _ = run(tmp_path, recipe)
    assert done
    assert told_to_tensorboard(tmp_path) == in_the_table(tmp_path)
    (tmp_path / "checkpoints/last.ckpt").unlink()  # killed before there was one
    done, _ = run(tmp_path, recipe)
    assert told_to_tensorboard(tmp_path) == in_the_table(tmp_path)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_end_the_step_and_handlers_are_put_back(tmp_path: Path, how: int) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    done, _ = run(tmp_path, tiny_recipe(), stop_after=9, how=how)
    assert not done
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 9


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    _, first = run(tmp_path, recipe)
    done, again = run(tmp_path, recipe)
    assert done
    assert same(first, again)


def test_seeds_matter_and_nothing_else(tmp_path: Path) -> None:
    runs = [
        run(tmp_path / str(i), tiny_recipe(training={"seed": seed, "epochs": 3}))[1]
        for i, seed in enumerate((0, 0, 1))
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_it_learns_and_tells(tmp_path: Path) -> None:
    network = fresh()
    told: list[tuple[int, dict[str, float]]] = []
    fit(
        network,
        network.classifier,
        tiny_recipe(training={"epochs": 8}, optimizer={"milestones": [6], "label_smoothing": 0.1}),
        tmp_path,
        train=tiny_clips(),
        validation=tiny_clips(count=9),
        hardware=CPU,
        tell=lambda epoch, figures: told.append((epoch, dict(figures))),
    )
    assert [epoch for epoch, _ in told] == list(range(8))
    assert told[-1][1]["val_loss"] < 0.7 * told[0][1]["val_loss"]
    rows = read_curves(tmp_path)
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, 49))
    assert [row["lr"] for row in steps[4:38:33]] == pytest.approx([0.1 * 5 / 6, 0.01])
    assert len(rows) - len(steps) == 8
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_figures_are_means_over_clips(tmp_path: Path) -> None:
    """Batches of 4, 4, 1: each clip counts once."""
    network = fresh()
    clips = tiny_clips(count=9)
    recipe = tiny_recipe(training={"epochs": 1}, optimizer={"milestones": [], "lr": 1e-9})
    fit(network, network.classifier, recipe, tmp_path, train=tiny_clips(), validation=clips, hardware=CPU)
    network.eval()
    items = [clips.dataset[i] for i in range(9)]
    logits = network(torch.stack([clip for clip, _ in items]))
    labels = torch.tensor([label for _, label in items])
    last = read_curves(tmp_path)[-1]
    assert last["val_loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)
    assert last["val_top1"] == pytest.approx((logits.argmax(dim=1) == labels).double().mean().item())


def test_linear_evaluation_changes_the_classifier_alone(tmp_path: Path) -> None:
    network, before = fresh(), fresh()
    recipe = tiny_recipe(
        start={"weights": "somewhere", "linear": True}, training={"epochs": 2}, optimizer={"milestones": []}
    )
    fit(network, network.classifier, recipe, tmp_path, train=tiny_clips(), validation=None, hardware=CPU)
    assert same(network.body, before.body)
    assert not same(network.classifier, before.classifier)


def test_mixed_precision_and_clipped_gradients_run(tmp_path: Path) -> None:
    network = fresh()
    recipe = tiny_recipe(
        training={"epochs": 1, "precision": "bf16-mixed"}, optimizer={"milestones": [], "clip_norm": 1.0}
    )
    done = fit(
        network, network.classifier, recipe, tmp_path, train=tiny_clips(), validation=None, hardware=CPU
    )
    assert done


def test_requeue_asks_slurm_for_the_job_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tmp_path / "said"
    fake = tmp_path / "scontrol"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert requeue({"SLURM_JOB_ID": "12"})
    assert requeue({"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "13", "SLURM_ARRAY_TASK_ID": "4"})
    assert not requeue({})
    assert not requeue({"SLURM_JOB_ID": "1; rm"})
    assert said.read_text() == "requeue 12\nrequeue 13_4\n"
