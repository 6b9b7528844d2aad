"""Public checkpoints: files made here with their names and shapes, results worked out independently."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import official_unik
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from skelkit import models
from skelkit.errors import CheckpointError, ConfigError

State = dict[str, Tensor]


def written(path: Path, data: object) -> Path:
    torch.save(data, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module.", "model_action."])
def test_official_unik_gives_the_same_logits(prefix: str, tmp_path: Path) -> None:
    state = official_unik.random_state(joints=17, people=2, channels_in=2, classes=31)
    x = torch.randn(2, 2, 50, 17, 2)
    with torch.no_grad():
        expected = official_unik.logits(state, x)
    file = written(tmp_path / "unik.pt", {prefix + k: v for k, v in state.items()})
    model = models.import_checkpoint("unik", file, skeleton="posetics17")
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.1  # the comparison says something
    assert model.config.num_classes == 31
    models.save(tmp_path / "ours", model, recipe={"imported": file.name})
    with torch.no_grad():
        torch.testing.assert_close(models.load(tmp_path / "ours")(x), expected, atol=1e-4, rtol=0)


def test_official_unik_with_other_heads_joints_people_and_window(tmp_path: Path) -> None:
    state = official_unik.random_state(
        joints=25, people=1, channels_in=3, classes=60, heads=6, window=3, widths=(16, 32)
    )
    model = models.import_checkpoint("unik", written(tmp_path / "f", state), skeleton="ntu25")
    x = torch.randn(1, 1, 30, 25, 3)
    with torch.no_grad():
        torch.testing.assert_close(model(x), official_unik.logits(state, x, window=3), atol=1e-4, rtol=0)
    assert model.config.num_people == 1


class Maker:
    """Random parameters by name."""

    def __init__(self) -> None:
        self.g = torch.Generator().manual_seed(0)
        self.state: State = {}

    def conv(self, name: str, out: int, inp: int, *kernel: int) -> None:
        fan = inp * torch.Size(kernel).numel()
        self.state[f"{name}.weight"] = torch.randn(out, inp, *kernel, generator=self.g) / fan**0.5
        self.state[f"{name}.bias"] = torch.randn(out, generator=self.g) * 0.1

    def norm(self, name: str, size: int) -> None:
        for part in ("weight", "running_var"):
            self.state[f"{name}.{part}"] = torch.rand(size, generator=self.g) + 0.5
        for part in ("bias", "running_mean"):
            self.state[f"{name}.{part}"] = torch.randn(size, generator=self.g) * 0.1
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    def graph(self, joints: int) -> Tensor:
        return torch.rand(3, joints, joints, generator=self.g) / joints


def norm(state: State, name: str, x: Tensor) -> Tensor:
    return functional.batch_norm(
        x, *(state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
    )


def conv(state: State, name: str, x: Tensor, stride: int = 1, pad: int = 0) -> Tensor:
    weight = state[f"{name}.weight"]
    return functional.conv2d(x, weight, state[f"{name}.bias"], stride=(stride, 1), padding=(pad, 0))


WIDTHS = (8, 8, 16)


def mm_stgcn(classes: int, joints: int, channels: int, head: str, *, older: bool) -> State:
    m = Maker()
    graph = m.graph(joints)
    m.norm("backbone.data_bn", joints * channels)
    before = channels
    for i, width in enumerate(WIDTHS):
        block = f"backbone.st_gcn_networks.{i}" if older else f"backbone.gcn.{i}"
        m.conv(f"{block}.gcn.conv", 3 * width, before, 1, 1)
        m.norm(f"{block}.tcn.0" if older else f"{block}.gcn.bn", width)
        m.conv(f"{block}.tcn.2" if older else f"{block}.tcn.conv", width, width, 9, 1)
        m.norm(f"{block}.tcn.3" if older else f"{block}.tcn.bn", width)
        if i and width != before:
            m.conv(f"{block}.residual.{'0' if older else 'conv'}", width, before, 1, 1)
            m.norm(f"{block}.residual.{'1' if older else 'bn'}", width)
        importance = torch.rand(3, joints, joints, generator=m.g) + 0.5
        m.state[f"backbone.edge_importance.{i}" if older else f"{block}.gcn.PA"] = importance
        if not older:
            m.state[f"{block}.gcn.A"] = graph
        before = width
    if older:
        m.state["backbone.A"] = graph
    m.conv(f"cls_head.{head}", classes, before, *((1, 1) if older else ()))
    return m.state


def start(state: State, x: Tensor, people_apart: bool) -> Tensor:
    b, m, t, k, c = x.shape
    flat = x.permute(0, 1, 3, 4, 2)  # (B, M, K, C, T)
    flat = flat.reshape(b, m * k * c, t) if people_apart else flat.reshape(b * m, k * c, t)
    flat = norm(state, "backbone.data_bn", flat)
    return flat.reshape(b * m, k, c, t).permute(0, 2, 3, 1)


def end(state: State, y: Tensor, head: str, batch: int) -> Tensor:
    pooled = y.mean(dim=(2, 3)).reshape(batch, -1, y.shape[1]).mean(dim=1)
    return functional.linear(
        pooled, state[f"cls_head.{head}.weight"].flatten(1), state[f"cls_head.{head}.bias"]
    )


@pytest.mark.parametrize(
    ("head", "older"), [("fc_cls", False), ("fc", False), ("fc", True)],
    ids=["pyskl", "mmaction2", "mmaction2-0.x"],
)  # fmt: skip
def test_stgcn_of_openmmlab(head: str, older: bool, tmp_path: Path) -> None:
    state = mm_stgcn(5, 17, 3, head, older=older)
    file = written(tmp_path / "s.pth", {"meta": {"epoch": 16}, "state_dict": dict(state)})
    model = models.import_checkpoint("stgcn", file, skeleton="coco17", num_people=2)
    x = torch.randn(2, 2, 20, 17, 3)
    y = start(state, x, people_apart=False)
    for i in range(3):
        block = f"backbone.st_gcn_networks.{i}" if older else f"backbone.gcn.{i}"
        new = ("gcn.bn", "tcn.conv", "tcn.bn", "residual.conv", "residual.bn")
        old = ("tcn.0", "tcn.2", "tcn.3", "residual.0", "residual.1")
        names = [f"{block}.{name}" for name in (old if older else new)]
        graph = state["backbone.A"] if older else state[f"{block}.gcn.A"]
        graph = graph * state[f"backbone.edge_importance.{i}" if older else f"{block}.gcn.PA"]
        z = conv(state, f"{block}.gcn.conv", y)
        z = sum(torch.einsum("nctv,vw->nctw", part, graph[s]) for s, part in enumerate(z.chunk(3, dim=1)))
        stride = 2 if i == 2 else 1
        z = norm(state, names[2], conv(state, names[1], functional.relu(norm(state, names[0], z)), stride, 4))
        if i == 2:
            z = z + norm(state, names[4], conv(state, names[3], y, stride))
        elif i:
            z = z + y
        y = functional.relu(z)
    with torch.no_grad():
        torch.testing.assert_close(model(x), end(state, y, head, 2), atol=1e-5, rtol=1e-4)
    assert model.config.in_channels == 3


def mm_agcn(classes: int, joints: int, channels: int, people: int, *, older: bool) -> State:
    m = Maker()
    m.norm("backbone.data_bn", joints * channels * (1 if older else people))
    m.state["backbone.A"] = m.graph(joints)
    before = channels
    for i, width in enumerate(WIDTHS):
        block = f"backbone.agcn_networks.{i}" if older else f"backbone.gcn.{i}"
        if older:
            m.state[f"{block}.gcn.PA"] = m.graph(joints)
        else:
            m.state[f"{block}.gcn.A"] = m.graph(joints)
            m.state[f"{block}.gcn.alpha"] = torch.tensor([0.7])
        for k in range(3):
            m.conv(f"{block}.gcn.conv_a.{k}", width // 4, before, 1, 1)
            m.conv(f"{block}.gcn.conv_b.{k}", width // 4, before, 1, 1)
            m.conv(f"{block}.gcn.conv_d.{k}", width, before, 1, 1)
        m.norm(f"{block}.gcn.bn", width)
        if width != before:
            m.conv(f"{block}.gcn.down.0", width, before, 1, 1)
            m.norm(f"{block}.gcn.down.1", width)
        m.conv(f"{block}.tcn.{'0' if older else 'conv'}", width, width, 9, 1)
        m.norm(f"{block}.tcn.{'1' if older else 'bn'}", width)
        if i and width != before:
            m.conv(f"{block}.residual.{'0' if older else 'conv'}", width, before, 1, 1)
            m.norm(f"{block}.residual.{'1' if older else 'bn'}", width)
        before = width
    m.conv("cls_head.fc", classes, before)
    return m.state


@pytest.mark.parametrize("older", [False, True], ids=["aagcn", "mmaction2-0.x"])
def test_agcn_of_openmmlab(older: bool, tmp_path: Path) -> None:
    state = mm_agcn(5, 25, 3, 2, older=older)
    model = models.import_checkpoint("agcn", written(tmp_path / "a", dict(state)), skeleton="ntu25")
    x = torch.randn(2, 2, 20, 25, 3)
    y = start(state, x, people_apart=not older)
    for i in range(3):
        block = f"backbone.agcn_networks.{i}" if older else f"backbone.gcn.{i}"
        z = torch.zeros(())
        for k in range(3):
            theta = conv(state, f"{block}.gcn.conv_a.{k}", y)
            phi = conv(state, f"{block}.gcn.conv_b.{k}", y)
            product = torch.einsum("nctv,nctw->nvw", theta, phi) / (theta.shape[1] * theta.shape[2])
            if older:
                graph = state["backbone.A"][k] + state[f"{block}.gcn.PA"][k] + product.softmax(dim=1)
            else:
                graph = state[f"{block}.gcn.A"][k] + 0.7 * product.tanh()
            moved = torch.einsum("nctv,nvw->nctw", y, graph)
            z = z + conv(state, f"{block}.gcn.conv_d.{k}", moved)
        down = y
        if i != 1:
            down = norm(state, f"{block}.gcn.down.1", conv(state, f"{block}.gcn.down.0", y))
        z = functional.relu(norm(state, f"{block}.gcn.bn", z) + down)
        c, b = ("0", "1") if older else ("conv", "bn")
        stride = 2 if i == 2 else 1
        z = norm(state, f"{block}.tcn.{b}", conv(state, f"{block}.tcn.{c}", z, stride, 4))
        if i == 2:
            z = z + norm(state, f"{block}.residual.{b}", conv(state, f"{block}.residual.{c}", y, stride))
        elif i:
            z = z + y
        y = functional.relu(z)
    with torch.no_grad():
        torch.testing.assert_close(model(x), end(state, y, "fc", 2), atol=1e-5, rtol=1e-4)


class Harm:
    """What an attacker would put into a pickle."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.flag),)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    flag = tmp_path / "run"
    state = official_unik.random_state(joints=17, people=2, channels_in=2, classes=3, widths=(8,))
    written(tmp_path / "torch.pt", {**state, "x": Harm(flag)})
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Harm(flag)))
    for name in ("torch.pt", "plain.pkl"):
        with pytest.raises(CheckpointError, match="state_dict"):
            models.import_checkpoint("unik", tmp_path / name, skeleton="posetics17")
    assert not flag.exists()


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    state = official_unik.random_state(joints=17, people=2, channels_in=2, classes=3, widths=(8, 16))
    whole = written(tmp_path / "whole", state).read_bytes()
    rng = np.random.default_rng(0)
    cases = [
        b"",
        b"text",
        whole[:50],
        whole[: len(whole) // 2],
        whole[:-200],
        rng.bytes(1000),
        pickle.dumps([1]),
    ]
    for data in cases:
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(CheckpointError):
            models.import_checkpoint("unik", tmp_path / "bad", skeleton="posetics17")
    for content in (
        [1, 2],
        {"a": 1},
        {},
        torch.zeros(3),
        {"state_dict": {}},
        {"fc.weight": torch.zeros(2, 2)},
    ):
        with pytest.raises(CheckpointError):
            models.import_checkpoint("unik", written(tmp_path / "bad", content), skeleton="posetics17")
    with pytest.raises(CheckpointError):
        models.import_checkpoint("unik", tmp_path / "nowhere", skeleton="posetics17")


@pytest.mark.parametrize("kind", ["agcn", "stgcn", "unik"])
def test_parameters_missing_left_over_or_of_a_wrong_shape(kind: str, tmp_path: Path) -> None:
    state = {
        "unik": official_unik.random_state(joints=17, people=2, channels_in=2, classes=3, widths=(8, 16)),
        "stgcn": mm_stgcn(3, 17, 2, "fc", older=False),
        "agcn": mm_agcn(3, 17, 2, 2, older=False),
    }[kind]
    file = tmp_path / "f"
    models.import_checkpoint(kind, written(file, state), skeleton="posetics17")
    unused = {n for n in state if n.endswith(("s_unit.bias", "num_batches_tracked"))}
    for name in sorted(state.keys() - unused)[::5]:
        with pytest.raises(CheckpointError):
            models.import_checkpoint(
                kind, written(file, {k: v for k, v in state.items() if k != name}), skeleton="posetics17"
            )
        if not name.endswith("data_bn.weight") and state[name].numel() > 1:
            wrong = {**state, name: torch.zeros(*state[name].shape[:-1], state[name].shape[-1] + 1)}
            with pytest.raises(CheckpointError):
                models.import_checkpoint(kind, written(file, wrong), skeleton="posetics17")
    with pytest.raises(CheckpointError, match="also holds conv_sa"):
        models.import_checkpoint(
            kind, written(file, {**state, "conv_sa": torch.zeros(1)}), skeleton="posetics17"
        )
    with pytest.raises(CheckpointError, match="17 joints"):
        models.import_checkpoint(kind, written(file, state), skeleton="ntu25")


def test_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean unik"):
        models.import_checkpoint("unic", tmp_path, skeleton="coco17")
