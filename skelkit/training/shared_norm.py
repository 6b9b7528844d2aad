"""Batch normalisation over the batches of all processes, so that their number changes nothing.

torch's own SyncBatchNorm does not run on processors, and takes subclasses of its layers for the layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

_LAYERS: tuple[type[_BatchNorm], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def share_statistics(network: nn.Module) -> None:
    """Let every batch normalisation of a network learn from the batches of all processes, in place.

    Has an effect while a process group is there; weights keep their names.
    """
    for module in network.modules():
        if isinstance(module, _LAYERS) and not isinstance(module, _Shared):
            module.__class__ = _shared(type(module))


class _Shared(_BatchNorm):
    """Stands before one of `_LAYERS` in the order of inheritance."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        if not (self.training and distributed.is_initialized()):
            return super().forward(x)
        self._check_input_dim(x)  # type: ignore[no-untyped-call]
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        values = x.float()
        count = torch.full((1,), x.numel() // x.shape[1], dtype=torch.float32, device=x.device)
        sums = _over_processes(torch.cat([values.sum(axes), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = values - mean.view(shape)
        variance = _over_processes(centred.square().sum(axes)) / total
        self._remember(mean.detach(), variance.detach() * total / (total - 1).clamp(min=1))
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        with torch.no_grad():
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked or 1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class _Sum(torch.autograd.Function):
    """Over all processes; gradients flow back to all of them."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        out = values.clone()
        distributed.all_reduce(out)
        return out

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        out = gradient.clone()
        distributed.all_reduce(out)
        return out


def _over_processes(values: Tensor) -> Tensor:
    out: Tensor = _Sum.apply(values)
    return out


def _shared(layer: type[_BatchNorm]) -> type[Any]:
    """The class that does what `layer` does, with shared statistics: also where it is a subclass."""
    base = next(known for known in _LAYERS if issubclass(layer, known))
    shared = type(f"Shared{base.__name__}", (_Shared, base), {})
    return shared if layer is base else type(f"Shared{layer.__name__}", (layer, shared), {})
