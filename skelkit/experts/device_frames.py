"""Frames on their way to a GPU: copied once for all networks, ahead of them, beside their work.

A batch is copied from pinned memory on a stream of its own as soon as it is decoded (`stage`); a network
that asks for it later (`on_device`) waits on the device, not in the program. On a CPU nothing is copied.
"""

from __future__ import annotations

import weakref
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Lock

import torch
from torch import Tensor

from skelkit.experts.engine import Device
from skelkit.structures import UInt8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    """A batch that is on its way, or there."""

    images: weakref.ref[UInt8]
    frames: Tensor
    arrival: torch.cuda.Event


_STAGED: dict[tuple[int, str], _Staged] = {}
_STREAMS: dict[str, torch.cuda.Stream] = {}
_LOCK = Lock()


def torch_device(device: Device) -> torch.device:
    """PyTorch's name of the device; on a CPU, as many threads as the device has."""
    if device.kind == "cpu":
        torch.set_num_threads(device.threads)
        return torch.device("cpu")
    return torch.device("cuda", device.index)


def runners(device: Device) -> Executor | None:
    """What has several runs of a PyTorch network in flight; None = nothing has.

    On a CPU each run has one core to itself: where several cores share a run they wait for each other after
    every operator, and the smaller the network the longer (of RTMDet-t's time a fifth).
    """
    if device.kind != "cpu":
        return None
    alone = partial(torch.set_num_threads, 1)  # counts for the thread that says it
    return ThreadPoolExecutor(device.threads, thread_name_prefix="runs", initializer=alone)


def stage(images: UInt8, device: torch.device) -> None:
    """Begin to copy (N, H, W, 3) frames to a GPU; returns at once, and does nothing where there is none."""
    if device.type != "cpu" and torch.cuda.is_available():
        _staged(images, device)


def on_device(images: UInt8, device: torch.device) -> Tensor:
    """(N, 3, H, W) frames on the device, channels-last in memory; shares the array's memory on a CPU.

    Args:
        images: (N, H, W, 3) RGB. Copied once however often it is asked for, and forgotten with the array.
        device: From `torch_device`.
    """
    if device.type == "cpu":
        return torch.from_numpy(images).permute(0, 3, 1, 2)
    staged = _staged(images, device)
    stream = torch.cuda.current_stream(device)
    stream.wait_event(staged.arrival)
    staged.frames.record_stream(stream)
    return staged.frames


def _staged(images: UInt8, device: torch.device) -> _Staged:
    key = (id(images), str(device))
    with _LOCK:
        found = _STAGED.get(key)
        if found is None or found.images() is not images:
            found = _copy(images, device, key)
            _STAGED[key] = found
    return found


def _copy(images: UInt8, device: torch.device, key: tuple[int, str]) -> _Staged:
    stream = _STREAMS.setdefault(key[1], torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
    pinned = torch.from_numpy(images).pin_memory()
    with torch.cuda.stream(stream):
        frames = pinned.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return _Staged(
        images=weakref.ref(images, lambda _: _STAGED.pop(key, None)),
        frames=frames,
        arrival=stream.record_event(),
    )
