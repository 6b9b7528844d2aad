"""How large a network is, and how much it computes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from skelkit.models.base import SkeletonModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Size and work of a network."""

    parameters: int
    """Learnt numbers, classifier included."""
    gflops: float
    """10^9 floating-point operations of a clip; a multiplication and an addition count as two."""


def cost(model: SkeletonModel, *, frames: int = 150) -> Cost:
    """Parameters, and operations of one clip of `frames` frames with all people of the network.

    Counted are convolutions and matrix products, which are all but a few per cent of the work.
    """
    c = model.config
    device = model.classifier.weight.device
    clip = torch.zeros(1, c.num_people, frames, c.skeleton.num_joints, c.in_channels, device=device)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(clip)
    finally:
        model.train(training)
    return Cost(parameters=sum(p.numel() for p in model.parameters()), gflops=counter.get_total_flops() / 1e9)
