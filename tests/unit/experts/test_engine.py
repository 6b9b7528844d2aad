from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from made_networks import CPU, Graph, batch, built, f32, make_card, people

from skelkit.errors import ConfigError, ExpertError, MissingExtraError
from skelkit.experts import choose_device, engine
from skelkit.experts.batches import NOTICES
from skelkit.experts.engine import Device, Engine


def doubling(path: Path, size: int | str = "batch") -> Path:
    graph = Graph([size, 3])
    return graph.save(path, graph.op("Mul", "picture", f32(2)))


@pytest.mark.parametrize("size", ["batch", 1, 4])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 4, 11])
def test_items_come_back_in_order_and_whole(
    tmp_path: Path, size: int | str, threads: int, count: int
) -> None:
    path = doubling(tmp_path / "net.onnx", size)
    items = np.arange(33, dtype=np.float32).reshape(11, 3)[:count]
    for chunk in (1, 2, 16):
        engine = Engine(path, Device(kind="cpu", threads=threads), chunk=chunk)
        assert engine.fixed_batch == (None if size == "batch" else size)
        out = engine.map(count, lambda part: items[part], lambda part, outputs: (part.start, outputs[0]))
        doubled = [np.empty((0, 3), np.float32), *(rows for _, rows in out)]
        np.testing.assert_array_equal(np.concatenate(doubled), 2 * items)
        longest = chunk if size == "batch" else int(size)
        assert [start for start, _ in out] == list(range(0, count, longest))


def test_chunks_run_side_by_side(tmp_path: Path) -> None:
    engine = Engine(doubling(tmp_path / "net.onnx"), Device(kind="cpu", threads=2), chunk=1)
    both = threading.Barrier(2, timeout=20)  # passes only if two chunks are prepared at once

    def prepare(part: slice) -> np.ndarray:
        both.wait()
        return np.zeros((part.stop - part.start, 3), np.float32)

    assert len(engine.map(2, prepare, lambda part, outputs: part)) == 2


def test_what_goes_wrong_in_a_chunk_is_raised(tmp_path: Path) -> None:
    engine = Engine(doubling(tmp_path / "net.onnx"), CPU, chunk=1)

    def finish(part: slice, outputs: object) -> None:
        raise ExpertError(f"chunk {part.start}")

    with pytest.raises(ExpertError, match="chunk 0"):
        engine.map(3, lambda part: np.zeros((1, 3), np.float32), finish)


@pytest.mark.parametrize("content", [b"", b"no network at all", b"\x08\x09\x12\x00" * 50])
def test_a_file_that_is_no_network(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "made.onnx"
    path.write_bytes(content)
    with pytest.raises(
        ExpertError, match=r"expected an ONNX network in .*made\.onnx, it cannot be loaded"
    ) as caught:
        Engine(path, CPU, chunk=1)
    assert caught.value.fields["path"] == path
    with pytest.raises(ExpertError, match="expected an ONNX network"):
        built(tmp_path, make_card())


def test_a_network_of_no_or_two_inputs(tmp_path: Path) -> None:
    graph = Graph([])
    with pytest.raises(ExpertError, match=r"to have one input \(batch, \.\.\.\), it has picture \[\]"):
        Engine(graph.save(tmp_path / "a.onnx", graph.op("Identity", "picture")), CPU, chunk=1)


def test_an_input_of_another_size_is_said(tmp_path: Path) -> None:
    graph = Graph(["batch", 3, 128, 96])
    graph.save(tmp_path / "made.onnx", graph.op("Identity", "picture"))
    expert = built(tmp_path, make_card())
    with pytest.raises(
        ExpertError, match=r"failed on an input float32 \(1, 3, 64, 48\) \(its own shape is .*128, 96"
    ):
        expert.predict(batch(np.zeros((9, 9, 3), np.uint8)), people([0], [(0, 0, 5, 5)]))


def test_outputs_without_a_row_for_each_item(tmp_path: Path) -> None:
    for name, op in (("scalar", {"keepdims": 0}), ("merged", {"axes": [0], "keepdims": 1})):
        graph = Graph(["batch", 3])
        engine = Engine(
            graph.save(tmp_path / f"{name}.onnx", graph.op("ReduceMax", "picture", **op)), CPU, chunk=2
        )
        with pytest.raises(
            ExpertError, match=rf"expected outputs of {name}.onnx with one row for each of the 2"
        ):
            engine.run(np.zeros((2, 3), np.float32))


def test_a_chunk_is_what_suits_the_device(tmp_path: Path) -> None:
    graph = Graph(["batch", 3, 64, 48])
    graph.save(tmp_path / "made.onnx", graph.op("Identity", "picture"))
    assert (
        built(tmp_path, make_card(), batch_size=7).engine.batches.size == 4
    )  # a CPU's caches, not the GPU's batch


def test_device_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert choose_device().kind == "cpu" and choose_device().threads >= 1
    assert choose_device("cpu", 3) == Device(kind="cpu", threads=3)
    for name in ("gpu", "cuda:x", "cuda:-1", "cuda:²", "cpu:0", "auto:1", "", "CUDA", "cuda:0:1"):
        with pytest.raises(
            ConfigError, match=r"expected a device among auto, cpu, cuda\[:N\], tensorrt\[:N\]; got"
        ):
            choose_device(name)
    for name in ("cuda", "cuda:1", "tensorrt"):
        with pytest.raises(MissingExtraError, match=r"pip install 'skelkit\[gpu\]'") as caught:
            choose_device(name)
        assert caught.value.extra == "gpu" and name in caught.value.message


def test_devices_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: everything)
    monkeypatch.setattr(engine, "count_gpus", lambda: 0)
    assert choose_device().kind == "cpu"
    monkeypatch.setattr(engine, "count_gpus", lambda: 2)
    assert choose_device() == Device(kind="cuda", index=0, threads=2)
    second = choose_device("cuda:1", 5)
    assert second == Device(kind="cuda", index=1, threads=5) and str(second) == "cuda:1"
    assert second.providers == [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]
    assert [p[0] for p in choose_device("tensorrt").providers[:2]] == everything[:2]
    assert str(choose_device("cpu")) == "cpu"
    with pytest.raises(ConfigError, match="a GPU from 0 to 1, got 'cuda:2'"):
        choose_device("cuda:2")


def test_visible_gpus_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/nvidia0"), Path("/dev/nvidia1")]))
    for visible, count in ((None, 2), ("1", 1), ("", 0), ("0,1,2", 2)):
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert engine.count_gpus() == count


def test_a_process_is_confined_to_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, name, left, called in (
        ("", "cuda:2", "2", "cuda:0"),
        ("4,5,7", "tensorrt:2", "7", "tensorrt:0"),
        ("4,5", "cpu", "4,5", "cpu"),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert engine.confine(name) == called
        assert os.environ["CUDA_VISIBLE_DEVICES"] == left


def test_pytorch_alone_can_use_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then ONNX networks run on the CPU, if nobody insists."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(engine, "count_gpus", lambda: 1)
    monkeypatch.setattr(engine, "_torch_has_cuda", lambda: True)
    path = doubling(tmp_path / "net.onnx")
    device = choose_device()
    assert str(device) == "cuda:0"
    assert Engine(path, device, chunk=1).device.kind == "cpu"
    with pytest.raises(MissingExtraError, match=r"skelkit\[gpu\]"):
        Engine(path, choose_device("cuda:0"), chunk=1)


@pytest.mark.parametrize("size", ["batch", 4])
def test_a_tensor_is_bound_where_it_lies(tmp_path: Path, size: int | str) -> None:
    items = torch.arange(9, dtype=torch.float32).reshape(3, 3)
    (out,) = Engine(doubling(tmp_path / "net.onnx", size), CPU, chunk=4).run(items)
    np.testing.assert_array_equal(out, 2 * items.numpy())


def test_chunks_that_do_not_fit_the_memory_are_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Engine(doubling(tmp_path / "net.onnx"), Device(kind="cpu", threads=2), chunk=8)
    whole, tried = net._session, []

    class Small:
        """A session on a device with room for three."""

        def run(self, names: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            tried.append(len(feed["picture"]))
            if tried[-1] > 3:
                raise RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for a buffer")
            return list(whole.run(names, feed))

    monkeypatch.setattr(net, "_session", Small())
    NOTICES.fetch()
    items = np.arange(60, dtype=np.float32).reshape(20, 3)
    out = net.map(20, lambda part: items[part], lambda part, outputs: outputs[0])
    np.testing.assert_array_equal(np.concatenate(out), 2 * items)
    assert len(NOTICES.fetch()) == 1
    tried.clear()
    net.map(20, lambda part: items[part], lambda part, outputs: outputs[0])
    assert max(tried) <= 3


@pytest.mark.skipif(not engine.has_gpu() or not engine.runs_onnx("cuda"), reason="needs a GPU: none here")
def test_a_tensor_on_a_gpu_is_bound_where_it_lies(tmp_path: Path) -> None:
    items = torch.arange(9, dtype=torch.float32, device="cuda").reshape(3, 3)
    (out,) = Engine(doubling(tmp_path / "net.onnx"), Device(kind="cuda"), chunk=4).run(items)
    np.testing.assert_array_equal(out, 2 * items.cpu().numpy())


def test_a_provider_that_does_not_start_is_an_error_not_a_slow_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime itself would go on with the CPU and only log it."""
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("the ONNX Runtime here has CUDA")
    path = doubling(tmp_path / "net.onnx")
    monkeypatch.setattr(engine, "runs_onnx", lambda kind: True)
    with pytest.warns(UserWarning), pytest.raises(ExpertError, match=r"expected net\.onnx to run on cuda:0"):
        Engine(path, Device(kind="cuda"), chunk=1)
