"""Shared batch statistics: in one process they are the layer's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from skelkit.training.shared_norm import share_statistics


class Last(nn.BatchNorm1d):
    """Over the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm1d(3), (5, 3)),
        (nn.BatchNorm1d(3, momentum=None), (5, 3, 4)),
        (nn.BatchNorm2d(3, momentum=0.3), (2, 3, 4, 5)),
        (nn.BatchNorm2d(3, affine=False), (2, 3, 4, 5)),
        (Last(3), (2, 4, 5, 3)),
    ],
)
def test_one_process_sees_no_difference(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    shared = nn.Sequential(copy.deepcopy(layer))
    share_statistics(shared)
    share_statistics(shared)  # once is enough
    for step in range(3):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(step)) * 3 + 100
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        outs = [layer(inputs[0]), shared(inputs[1])]
        torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-4)
        weights = torch.randn(shape, generator=torch.Generator().manual_seed(10 + step))
        for out in outs:
            (out * weights).sum().backward()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-3, atol=1e-4)
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(value, shared.state_dict()[f"0.{name}"], rtol=1e-5, atol=1e-5)
    layer.eval()
    shared.eval()
    torch.testing.assert_close(layer(x), shared(x))
