"""The built-in networks in memory, fed as those of ONNX Runtime are: `skelkit.experts.onnx` does the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from skelkit.errors import WeightsError
from skelkit.experts.batches import Batches
from skelkit.experts.builtin.networks import Conv, PeopleNet, PoseNet, Trunk
from skelkit.experts.builtin.reading import joint_probabilities, people
from skelkit.experts.chunks import ChunkedNetwork
from skelkit.experts.device_frames import runners, torch_device
from skelkit.experts.engine import Device
from skelkit.structures import Skeleton

Network = TypeVar("Network", bound=nn.Module)


class TorchEngine(ChunkedNetwork):
    """One built-in network on a device.

    Args:
        path: Its weights (safetensors).
        network: Of the kind they were trained with.
        device: Where it runs.
        chunk: Items per run.
        skeleton: Of its poses. A `PoseNet` also sees every crop in a mirror, and answers with the mean.

    Raises:
        WeightsError: the file is none, or of another network.
    """

    def __init__(
        self,
        path: Path,
        network: PoseNet | PeopleNet,
        device: Device,
        *,
        chunk: int,
        skeleton: Skeleton,
    ) -> None:
        self.device = device
        self._mirrored = skeleton.mirrored.tolist()
        self._place = torch_device(device)
        self.takes_tensors = self._place.type != "cpu"
        self._network: Any = fused(load(path, network)).to(self._place)
        self._network.to(memory_format=torch.channels_last)
        super().__init__(Batches(path.stem, chunk, runners(device)))

    @torch.inference_mode()
    def run(self, batch: npt.NDArray[np.float32] | Tensor) -> list[npt.NDArray[Any]]:
        """Outputs for pictures (B, 3, h, w), as the decoder of the network's card wants them."""
        pictures = torch.from_numpy(batch) if isinstance(batch, np.ndarray) else batch
        pictures = pictures.to(self._place, memory_format=torch.channels_last)
        if isinstance(self._network, PoseNet):
            return [self._joints(pictures).cpu().numpy()]
        below, right = (-side % Trunk.stride for side in pictures.shape[2:])
        found = people(self._network(functional.pad(pictures, (0, right, 0, below))))
        return [values.cpu().numpy() for values in found]

    def _joints(self, pictures: Tensor) -> Tensor:
        both = joint_probabilities(self._network(torch.cat([pictures, pictures.flip(3)])))
        as_seen, in_mirror = both.chunk(2)
        return (as_seen + in_mirror.flip(3)[:, self._mirrored]) / 2


def load(path: Path, network: Network) -> Network:
    """The network with weights from a file, in single precision and ready for inference.

    Raises:
        WeightsError: the file is no safetensors file, or of another network.
    """
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise WeightsError(
            f"expected weights of {type(network).__name__} in {path}: {why}", path=path
        ) from error
    return network.eval().requires_grad_(False)


def fused(network: Network) -> Network:
    """The network with every batch norm made part of the convolution before it; the same function."""
    for module in network.modules():
        if isinstance(module, Conv):
            convolution, norm, *_ = module
            module[0] = fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var, arg-type]
            module[1] = nn.Identity()
    return network
