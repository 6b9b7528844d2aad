"""`skelkit experts bench` and `skelkit doctor`: what they measure and find, in tables that fit 80 columns."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import at_once
from rich.console import Console
from tiny_experts import Cards

from skelkit.cli.doctor import tables
from skelkit.cli.experts import bench_table
from skelkit.errors import ConfigError
from skelkit.experts import Device, build_expert, engine, torchvision_models
from skelkit.experts.bare import bare
from skelkit.experts.torchvision_models import TorchvisionPoses
from skelkit.pipelines import bench, doctor
from skelkit.structures import Detections, FrameBatch


def row(name: str = "rtmpose", size: int = 1, ms: float = 10.0, **more: Any) -> dict[str, Any]:
    known = {"ms_per_person": 5.0, "memory_mb": 812, "efficiency": 0.87, "why": ""}
    return {"name": name, "batch_size": size, "ms_per_frame": ms, "fits": True, "best": False} | known | more


def lines_of(table: object) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    return out.getvalue().splitlines()


def noise(count: int = 4) -> FrameBatch:
    images = np.random.default_rng(0).integers(0, 256, (count, 96, 128, 3), dtype=np.uint8)
    return FrameBatch(images=images, indices=np.arange(count), pts_s=np.arange(count) / 25)


def test_the_smallest_batch_that_is_as_fast_is_chosen() -> None:
    rows = [row(size=1, ms=20), row(size=4, ms=10.2), row(size=16, ms=10), row(size=64, fits=False, ms=None)]
    assert [r["best"] for r in bench.choose(rows)] == [False, True, False, False]
    assert not any(r["best"] for r in bench.choose([row(fits=False, ms=None)]))


def test_measuring_gives_a_row_for_every_batch_size(cards: Cards) -> None:
    settings = bench.BenchSettings(device="cpu", batch_sizes=(2, 1), people=3)
    rows = bench._measured(cards.heat, settings)
    assert [r["batch_size"] for r in rows] == [1, 2]
    assert sum(r["best"] for r in rows) == 1
    for found in rows:
        assert found["fits"]
        assert found["ms_per_person"] == pytest.approx(found["ms_per_frame"] / 3, abs=1e-3)
        assert found["memory_mb"] > 1
        assert found["efficiency"] > 0
    assert bench._measured(cards.grid, settings)[0]["ms_per_person"] is None


def test_a_batch_that_does_not_fit_ends_the_list(cards: Cards, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = engine.Engine.run

    def small(self: engine.Engine, batch: Any) -> Any:
        if len(batch) > 3:
            raise RuntimeError("Failed to allocate memory for requested buffer")
        return whole(self, batch)

    monkeypatch.setattr(engine.Engine, "run", small)
    settings = bench.BenchSettings(device="cpu", batch_sizes=(1, 4, 8), people=1)
    rows = bench._measured(cards.heat, settings)
    assert [(r["batch_size"], r["fits"], r["best"]) for r in rows] == [(1, True, True), (4, False, False)]
    assert "memory" in rows[1]["why"]


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="batch sizes from 1 on"):
        bench.BenchSettings(batch_sizes=(0,))


def test_the_bare_network_runs_on_what_the_expert_had_prepared(cards: Cards) -> None:
    expert = build_expert(cards.heat, device=Device(kind="cpu", threads=2))
    frames = noise()
    boxes = np.tile(np.asarray([10, 10, 60, 90], np.float32), (4, 1))
    people = Detections(frame_indices=frames.indices, boxes_xyxy=boxes, box_scores=np.ones(4, np.float32))
    ran: list[int] = []
    again = bare(expert, lambda: expert.predict(frames, people))
    net: Any = expert
    before = net.engine.run
    net.engine.run = lambda batch: ran.append(len(batch)) or before(batch)
    again()
    assert sum(ran) == 4


def test_the_bare_network_of_pytorch_is_its_modules_without_the_preprocessing() -> None:
    request = torchvision_models.parse("keypointrcnn_resnet50_fpn@random=0")
    network: Any = torchvision_models.load(request, min_size=64, max_size=96)
    network.rpn._post_nms_top_n = {"training": 9, "testing": 9}
    network.roi_heads.detections_per_img = 2
    expert = TorchvisionPoses("k", network, device=torch.device("cpu"), batch_size=1)
    calls = dict.fromkeys(("transform", "backbone", "rpn"), 0)
    again = bare(expert, lambda: expert.predict(noise(2)))
    for name in calls:

        def count(*_: object, name: str = name) -> None:
            calls[name] += 1

        getattr(network, name).register_forward_pre_hook(count)
    again()
    assert calls == {"transform": 0, "backbone": 2, "rpn": 2}


def test_the_table_of_measurements_fits_80_columns() -> None:
    rows = [
        row("torchvision:fasterrcnn_mobilenet_v3_large_320_fpn@random=0", 1, 123456.7),
        row("torchvision:fasterrcnn_mobilenet_v3_large_320_fpn@random=0", 64, 98765.4, best=True),
        row("movenet", 16, None, fits=False, why="memory does not suffice for batches of 16"),
    ]
    lines = lines_of(bench_table(rows))
    assert max(map(len, lines)) <= 80
    text = "".join(lines)
    assert "…" not in text
    assert "87%" in text
    assert "98765.4" in text


def test_doctor_says_what_is_here_and_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(doctor.openmmlab, "installed", lambda: {"mmpose": None, "mmdet": None})
    monkeypatch.setattr(doctor.engine, "count_gpus", lambda: 1)
    monkeypatch.setattr(doctor.engine, "runs_onnx", lambda kind: kind == "cpu")
    found = doctor.examine(str(tmp_path))
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert found["machine"]["gpus"]
    works = {e["name"]: e["works"] for e in found["experts"]}
    assert works["rtmpose_m"] == "fetch"
    assert works["torchvision:keypointrcnn_resnet50_fpn"] == "fetch"
    assert works["movenet"] == "no weights"
    types = [a["type"] for a in found["advice"]]
    assert "make openmmlab" in types
    assert any("skelkit[gpu]" in t for t in types)
    for table in tables(found):
        lines = lines_of(table)
        assert max(map(len, lines)) <= 80
        assert "…" not in "".join(lines)


def test_doctor_as_a_user_runs_it() -> None:
    found = json.loads(at_once("doctor", "--json", code=0).out)
    assert found["machine"]["cores"] >= 1
    assert "CPUExecutionProvider" in found["machine"]["onnx_providers"]
    assert "movenet" in at_once("doctor", code=0).out
