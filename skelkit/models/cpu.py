"""When UNIK is trained on a CPU, its two costly units run in ways of their own (`temporal`, `dependencies`).

They give the same results but for rounding; evaluation, other devices, other number formats and compiled
networks use torch's operators as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def trains_on_cpu(module: nn.Module, x: Tensor, weight: Tensor) -> bool:
    """Whether these ways apply."""
    return (
        module.training
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
