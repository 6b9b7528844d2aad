"""ONNX Runtime, kept busy: many items through one network, chunk by chunk, on all cores or one GPU.

On a GPU a chunk may come as a tensor that lies there already (`Engine.takes_tensors`); it is bound to the
network's input in place.

On the CPU one single-threaded session runs in several threads at once, each on its own chunk, with
preparation and decoding in the same thread: measured faster than one session with several threads, and
no core idles while another prepares. On a GPU chunks are large and the same two threads overlap the
preparation of one chunk with the run of another.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

# Before the import: recent versions of ONNX Runtime report usage over the network unless told not to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from skelkit.errors import ConfigError, ExpertError, MissingExtraError
from skelkit.experts.batches import NOTICES, Batches
from skelkit.experts.chunks import ChunkedNetwork

if TYPE_CHECKING:  # importing torch takes seconds
    import torch

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where networks run."""

    kind: str
    """``cpu``, ``cuda`` or ``tensorrt``."""
    index: int = 0
    """Which GPU."""
    threads: int = 1
    """Chunks in flight at once."""
    chosen: bool = field(default=True, compare=False)
    """Whether the user named it: then a network that cannot run there is an error."""

    @property
    def providers(self) -> list[Any]:
        """ONNX Runtime's execution providers, the wanted one first."""
        gpu = {"device_id": self.index}
        match self.kind:
            case "cpu":
                return [_PROVIDERS["cpu"]]
            case "cuda":
                return [(_PROVIDERS["cuda"], gpu), _PROVIDERS["cpu"]]
            case _:
                return [(_PROVIDERS["tensorrt"], gpu), (_PROVIDERS["cuda"], gpu), _PROVIDERS["cpu"]]

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


def choose_device(name: str = "auto", threads: int | None = None) -> Device:
    """The device of this name: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``tensorrt``, ``tensorrt:0``.

    Args:
        name: ``auto`` is the first GPU that ONNX Runtime or PyTorch can use, else the CPU.
        threads: Chunks in flight at once; by default all usable cores on the CPU, 2 on a GPU.

    Raises:
        ConfigError: no such device name, or fewer GPUs than that.
        MissingExtraError: neither ONNX Runtime nor PyTorch can use it.
    """
    kind, _, index = name.partition(":")
    found = kind
    if kind == "auto" and not index:
        found = "cuda" if has_gpu() and (runs_onnx("cuda") or _torch_has_cuda()) else "cpu"
    if found not in _PROVIDERS or (index and (found == "cpu" or not (index.isascii() and index.isdigit()))):
        raise ConfigError(f"expected a device among auto, cpu, cuda[:N], tensorrt[:N]; got {name!r}")
    if not (runs_onnx(found) or (found == "cuda" and has_gpu() and _torch_has_cuda())):
        raise _no_provider(name, found)
    if found != "cpu" and has_gpu() and int(index or 0) >= count_gpus():
        raise ConfigError(f"expected a GPU from 0 to {count_gpus() - 1}, got {name!r}; see `skelkit doctor`")
    return Device(
        kind=found,
        index=int(index or 0),
        threads=threads or (_cores() if found == "cpu" else 2),
        chosen=kind != "auto",
    )


def runs_onnx(kind: str) -> bool:
    """Whether the ONNX Runtime installed has a provider for this kind of device."""
    return _PROVIDERS[kind] in ort.get_available_providers()


def has_gpu() -> bool:
    """Whether the machine has an NVIDIA GPU: ONNX Runtime's CUDA build claims the provider without one."""
    return count_gpus() > 0


def count_gpus() -> int:
    """NVIDIA GPUs that programs may use."""
    there = len(list(Path("/dev").glob("nvidia[0-9]*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if visible is None else min(there, len([v for v in visible.split(",") if v.strip()]))


def confine(name: str) -> str:
    """Let this process see no other GPU than this one, before any library has looked; its name from now on.

    Libraries settle on the first GPU they see whatever they are told later, and take memory there.
    """
    kind, colon, index = name.partition(":")
    if not colon:
        return name
    visible = [v for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v.strip()]
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(index)] if visible else index
    return f"{kind}:0"


def _torch_has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _no_provider(name: str, kind: str) -> MissingExtraError:
    return MissingExtraError(
        f"device {name!r} needs ONNX Runtime with {_PROVIDERS[kind]}, the one installed has "
        f"{', '.join(sorted(ort.get_available_providers()))}; try: pip uninstall onnxruntime && "
        "pip install 'skelkit[gpu]'",
        extra="gpu",
    )


class Engine(ChunkedNetwork):
    """One ONNX network in memory, and the threads that feed it.

    Args:
        path: The ONNX file.
        device: Where it runs.
        chunk: Items per run where the network takes any number: what suits a CPU's caches is small,
            a GPU wants many.

    Raises:
        ExpertError: the file is no network, or the device's provider does not start.
    """

    def __init__(self, path: Path, device: Device, *, chunk: int) -> None:
        device = _usable(device)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised; printed as well they would disturb the display
        if device.kind != "cpu" and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        try:
            self._session = ort.InferenceSession(str(path), options, providers=device.providers)
        except Exception as error:  # onnxruntime's own error types have no public base
            raise ExpertError(
                f"expected an ONNX network in {path}, it cannot be loaded: {error}", path=path
            ) from error
        started = self._session.get_providers()
        if device.kind != "cpu" and started[0] == _PROVIDERS["cpu"]:
            raise ExpertError(
                f"expected {path.name} to run on {device}, ONNX Runtime fell back to the CPU; check the "
                "driver and that the CUDA and cuDNN versions are those onnxruntime-gpu was built for"
            )
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or not inputs[0].shape:
            raise ExpertError(
                f"expected {path.name} to have one input (batch, ...), it has "
                f"{', '.join(f'{i.name} {i.shape}' for i in inputs) or 'none'}",
                path=path,
            )
        first = inputs[0]
        self.path = path
        self.device = device
        self.input_name: str = first.name
        self.input_shape: list[int | str] = first.shape
        fixed = first.shape[0]
        self.fixed_batch: int | None = fixed if isinstance(fixed, int) else None
        self.takes_tensors = device.kind != "cpu" and _torch_has_cuda()
        pool = ThreadPoolExecutor(device.threads, thread_name_prefix=f"engine-{path.stem}")
        super().__init__(Batches(path.stem, self.fixed_batch or chunk, pool))

    def run(self, batch: npt.NDArray[Any] | torch.Tensor) -> list[npt.NDArray[Any]]:
        """The network's outputs for one batch, as it stands (padded where the batch size is fixed).

        Args:
            batch: An array, or a contiguous tensor on this engine's device.
        """
        count = len(batch)
        if self.fixed_batch is not None and count < self.fixed_batch:
            rows = [*range(count), *[count - 1] * (self.fixed_batch - count)]
            batch = batch[rows]
        try:
            if isinstance(batch, np.ndarray):
                outputs = self._session.run(None, {self.input_name: batch})
            else:
                outputs = self._run_bound(batch)
        except Exception as error:
            raise ExpertError(
                f"{self.path.name} failed on an input {batch.dtype} {tuple(batch.shape)} (its own shape is "
                f"{self.input_shape}): {error}",
                path=self.path,
            ) from error
        if odd := [np.shape(o) for o in outputs if np.shape(o)[:1] != (len(batch),)]:
            raise ExpertError(
                f"expected outputs of {self.path.name} with one row for each of the {len(batch)} items of a "
                f"batch, got {odd}",
                path=self.path,
            )
        return [o[:count] for o in outputs]

    def _run_bound(self, batch: torch.Tensor) -> list[npt.NDArray[Any]]:
        """Run on a tensor where it lies; outputs are made beside it and copied to the host once."""
        import torch

        if batch.device.type != "cpu":
            torch.cuda.current_stream(batch.device).synchronize()  # the network runs on a stream of its own
        place = (batch.device.type, batch.device.index or 0)
        binding = self._session.io_binding()
        dtype = np.dtype(str(batch.dtype).removeprefix("torch."))
        binding.bind_input(self.input_name, *place, dtype.type, tuple(batch.shape), batch.data_ptr())
        for output in self._session.get_outputs():
            binding.bind_output(output.name, *place)
        self._session.run_with_iobinding(binding)
        copied: list[npt.NDArray[Any]] = binding.copy_outputs_to_cpu()
        return copied


def _usable(device: Device) -> Device:
    """The device, or the CPU where ONNX Runtime cannot use it and the user did not insist."""
    if device.kind == "cpu" or runs_onnx(device.kind):
        return device
    if device.chosen:
        raise _no_provider(str(device), device.kind)
    NOTICES.add(
        "ONNX networks run on the CPU: the ONNX Runtime installed cannot use the GPU (skelkit doctor)"
    )
    return Device(kind="cpu", threads=_cores())
