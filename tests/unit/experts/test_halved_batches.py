"""Batches that shrink to what the memory holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skelkit.errors import DeviceLostError, ExpertError
from skelkit.experts.batches import Batches, Notices, is_out_of_memory, whole_devices

ORT = "[ONNXRuntimeError] : 1 : FAIL : bfc_arena.cc:376 Failed to allocate memory for buffer"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(ORT)])
@given(count=st.integers(0, 60), size=st.integers(1, 40), room=st.integers(1, 40), threads=st.integers(0, 3))
def test_every_item_is_done_once_in_order_whatever_fits(
    error: Exception, count: int, size: int, room: int, threads: int
) -> None:
    notices, tried = Notices(), []

    def work(part: slice) -> range:
        tried.append(part.stop - part.start)
        if part.stop - part.start > room:
            raise error
        return range(part.start, part.stop)

    batches = Batches("net", size, ThreadPoolExecutor(threads) if threads else None, notices=notices)
    done = [i for part in batches.map(count, work) for i in part]
    assert done == list(range(count))
    assert bool(notices.fetch()) == (min(size, count) > room)
    tried.clear()
    batches.map(count, work)
    assert all(n <= room for n in tried)  # it learned


def test_a_notice_is_said_once() -> None:
    notices = Notices()
    for _ in range(3):
        notices.add("memory")
    assert notices.fetch() == ["memory"]
    notices.add("memory")
    assert notices.fetch() == []


def test_what_does_not_fit_alone_is_an_error_with_a_remedy() -> None:
    def work(part: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ExpertError, match=r"single item.*another device"):
        Batches("net", 8, notices=Notices()).map(3, work)


def test_a_lost_device_is_told_from_other_errors() -> None:
    with pytest.raises(DeviceLostError, match="illegal memory access"), whole_devices():
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
    with pytest.raises(DeviceLostError), whole_devices():
        raise ExpertError("net.onnx failed: CUDNN failure 5000")
    with pytest.raises(torch.OutOfMemoryError), whole_devices():
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(ValueError, match="other"), whole_devices():
        raise ValueError("other")


def test_other_errors_are_nobodys_memory() -> None:
    def work(part: slice) -> None:
        raise RuntimeError("sizes of tensors must match")

    with pytest.raises(RuntimeError, match="sizes"):
        Batches("net", 8, notices=Notices()).map(3, work)
    assert is_out_of_memory(MemoryError())
