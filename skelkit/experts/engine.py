"""ONNX Runtime, kept busy: many items through one network, chunk by chunk, on all cores or one GPU.

On the CPU one single-threaded session runs in several threads at once, each on its own chunk, with
preparation and decoding in the same thread: measured faster than one session with several threads, and
no core idles while another prepares. On a GPU chunks are large and the same two threads overlap the
preparation of one chunk with the run of another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

# Before the import: recent versions of ONNX Runtime report usage over the network unless told not to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from skelkit.errors import ConfigError, ExpertError, MissingExtraError

Result = TypeVar("Result")

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
        name: ``auto`` is the first GPU where ONNX Runtime has CUDA, else the CPU.
        threads: Chunks in flight at once; by default all usable cores on the CPU, 2 on a GPU.

    Raises:
        ConfigError: no such device name.
        MissingExtraError: the installed ONNX Runtime has no provider for it.
    """
    kind, _, index = name.partition(":")
    available = set(ort.get_available_providers())
    if kind == "auto" and not index:
        kind = "cuda" if _PROVIDERS["cuda"] in available and has_gpu() else "cpu"
    if kind not in _PROVIDERS or (index and (kind == "cpu" or not index.isdecimal())):
        raise ConfigError(f"expected a device among auto, cpu, cuda[:N], tensorrt[:N]; got {name!r}")
    if _PROVIDERS[kind] not in available:
        raise MissingExtraError(
            f"device {name!r} needs ONNX Runtime with {_PROVIDERS[kind]}, the one installed has "
            f"{', '.join(sorted(available))}; try: pip uninstall onnxruntime && pip install 'skelkit[gpu]'",
            extra="gpu",
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Device(kind=kind, index=int(index or 0), threads=threads or (cores if kind == "cpu" else 2))


def has_gpu() -> bool:
    """Whether the machine has an NVIDIA GPU: ONNX Runtime's CUDA build claims the provider without one."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


class Engine:
    """One network in memory, and the threads that feed it.

    Args:
        path: The ONNX file.
        device: Where it runs.
        chunk: Items per run where the network takes any number: what suits a CPU's caches is small,
            a GPU wants many.

    Raises:
        ExpertError: the file is no network, or the device's provider does not start.
    """

    def __init__(self, path: Path, device: Device, *, chunk: int) -> None:
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
        self.chunk = self.fixed_batch or chunk
        self._pool = ThreadPoolExecutor(device.threads, thread_name_prefix=f"engine-{path.stem}")

    def run(self, batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """The network's outputs for one batch, as it stands (padded where the batch size is fixed)."""
        count = len(batch)
        if self.fixed_batch is not None and count < self.fixed_batch:
            batch = np.concatenate([batch, np.repeat(batch[-1:], self.fixed_batch - count, axis=0)])
        try:
            outputs = self._session.run(None, {self.input_name: batch})
        except Exception as error:
            raise ExpertError(
                f"{self.path.name} failed on an input {batch.dtype} {batch.shape} (its own shape is "
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

    def map(
        self,
        count: int,
        prepare: Callable[[slice], npt.NDArray[Any]],
        finish: Callable[[slice, Sequence[npt.NDArray[Any]]], Result],
    ) -> list[Result]:
        """Run `count` items through the network.

        Args:
            count: Number of items.
            prepare: Input tensor for the items of a slice.
            finish: What to make of the outputs for a slice.

        Returns:
            The results of `finish`, in the order of the items. Chunks are cut the same way whatever the
            number of threads, so results do not depend on it.
        """

        def work(part: slice) -> Result:
            return finish(part, self.run(prepare(part)))

        parts = [slice(i, min(i + self.chunk, count)) for i in range(0, count, self.chunk)]
        return list(self._pool.map(work, parts))
