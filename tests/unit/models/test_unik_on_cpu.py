"""UNIK's own ways of computing on a CPU give what torch's operators give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from skelkit.models import cpu, dependencies, temporal, unik
from skelkit.models.dependencies import mixed
from skelkit.models.temporal import TemporalConv, direct, few_products
from skelkit.models.unik import SLSU, UNIK, UNIKConfig


def close(found: Tensor, expected: Tensor, share: float = 1e-4) -> None:
    """The greatest difference is a small share of the spread."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= share * (expected.std(correction=0) + 1e-6)


@given(
    time=st.integers(1, 70),
    others=st.sampled_from([(1,), (3,), (2, 3)]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_few_products_are_a_convolution(
    time: int, others: tuple[int, ...], stride: int, dilation: int, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(time, *others, 16, generator=g).requires_grad_()
    weight = (torch.randn(9, 16, 24, generator=g) / 12).requires_grad_()
    expected = direct(x.double(), weight.double(), stride, dilation)
    found = few_products(x, weight, stride, dilation)
    close(found.double(), expected)
    gradient = torch.randn(expected.shape, generator=g)
    wanted = torch.autograd.grad(expected, (x, weight), gradient.double())
    for a, b in zip(torch.autograd.grad(found, (x, weight), gradient), wanted, strict=True):
        close(a, b)


def test_pieces_do_not_change_a_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(20, 37, 16)
    weight = torch.randn(9, 16, 16)
    whole = few_products(x, weight, 1, 1)
    monkeypatch.setattr(temporal, "PIECE", 1)  # as many rows as channels
    close(few_products(x, weight, 1, 1), whole, 1e-5)


@pytest.mark.parametrize("piece", [1, 5000, 1 << 20])
@pytest.mark.parametrize(("channels", "heads", "width"), [(2, 3, 8), (2, 3, 16), (16, 1, 8), (16, 4, 8)])
def test_mixed_is_equation_2(
    piece: int, channels: int, heads: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "PIECE", piece)
    torch.manual_seed(0)
    unit = SLSU(channels, width, num_joints=5, num_heads=heads, window=1)
    for layer in (unit.embed, unit.project):
        torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(unit.embed.bias)
    parameters = (unit.dependency, unit.embed.weight, unit.embed.bias, unit.project.weight)
    x = torch.randn(11, 3, 5, channels, requires_grad=True)  # (T, n, V, C)
    weights = unit.dependency + unit.attention(x)
    moved = torch.einsum("tnvc,nhvw->tnwhc", x, weights)
    expected = unit.project(moved.flatten(3))
    found = mixed(x, *parameters)
    close(found, expected)
    gradient = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (x, *parameters), gradient)
    for a, b in zip(torch.autograd.grad(found, (x, *parameters), gradient), wanted, strict=True):
        close(a, b)


def test_a_training_step_is_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    config = UNIKConfig.model_validate(
        {
            "skeleton": "jhmdb15",
            "num_classes": 4,
            "channels": (16, 16, 32),
            "dilations": (1, 3, 1),
            "window": 3,
        }
    )
    keypoints = torch.randn(3, 2, 34, 15, 2)
    gradients = []
    for own_ways in (True, False):
        if not own_ways:
            for module in (temporal, unik):
                monkeypatch.setattr(module, "trains_on_cpu", lambda *_: False)
        torch.manual_seed(0)
        model = UNIK(config)
        for block in model.blocks:
            torch.nn.init.ones_(block.spatial.norm.weight)
        functional.cross_entropy(model(keypoints), torch.tensor([0, 1, 3])).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, expected in gradients[1].items():
        close(gradients[0][name], expected, 5e-3)


def test_own_ways_are_for_training_in_float32_on_a_cpu() -> None:
    unit = TemporalConv(16, 16, 9)
    x = torch.randn(20, 2, 16)
    assert cpu.trains_on_cpu(unit, x, unit.weight)
    assert not cpu.trains_on_cpu(unit, x.double(), unit.weight)
    assert not cpu.trains_on_cpu(unit, x.to("meta"), unit.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not cpu.trains_on_cpu(unit, x, unit.weight)
    unit.eval()
    assert not cpu.trains_on_cpu(unit, x, unit.weight)
    assert torch.equal(unit(x), direct(x, unit.weight, 1, 1))
