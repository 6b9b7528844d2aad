"""The network alone: its outermost parts run again on what they had been given."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from skelkit.experts.bare import bare
from skelkit.experts.batches import Batches


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.heard: list[tuple[float, float]] = []

    def forward(self, x: Tensor, *, plus: float) -> Tensor:
        self.heard.append((float(x.sum()), plus))
        return self.inner(x) + plus


def test_parts_run_again_with_all_their_arguments_and_nothing_else_does() -> None:
    whole, other = nn.ModuleDict({"part": Part()}), nn.Linear(2, 2)
    expert = SimpleNamespace(network=whole, batches=Batches("net", 1))
    counted: list[int] = []
    other.register_forward_hook(lambda *_: counted.append(1))

    def run() -> None:
        for plus in (0.5, 1.5):
            other(whole["part"](torch.ones(1, 2), plus=plus))

    again = bare(expert, run)
    assert len(whole["part"].heard) == len(counted) == 2
    again()
    assert whole["part"].heard == [(2.0, 0.5), (2.0, 1.5)] * 2
    assert len(counted) == 2
