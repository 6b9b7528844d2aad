"""Several devices of one machine: the same data, and a device that is lost in the middle."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import Gate, Running, assert_same, at_once, rows_of, skelkit, wait_until
from conftest import MakeClip
from faulty_devices import KILLER, make_job
from tiny_experts import Cards

from skelkit.errors import DeviceLostError, ExpertError, VideoError
from skelkit.experts import engine
from skelkit.experts.batches import NOTICES
from skelkit.pipelines import clip, devices
from skelkit.pipelines.clip import recipe
from skelkit.pipelines.extract import make_job as make_extract_job
from skelkit.pipelines.settings import ExtractSettings
from skelkit.pipelines.spool import Spool
from skelkit.video import Source, find_sources


def run(
    faults: dict[str, str], tasks: list[int], go: Path | None = None, when: str = ""
) -> tuple[dict[int, str], list[str], list[int]]:
    """What was done where, what was said, and what was set aside.

    `go` is made when the sentence `when` has been said, or (without one) when all tasks but one are done.
    """
    done: dict[int, str] = {}
    notes, aside = [], []
    for event in devices.run(make_job, list(faults.items()), tasks, labels=list(faults)):
        match event.kind:
            case "done":
                device, task = event.data
                assert task == event.task
                assert task not in done
                done[task] = device
            case "note":
                notes.append(event.data)
            case "lost":
                aside.append(event.task)
        if go and (any(when in n for n in notes) if when else len(done) == len(tasks) - 1):
            go.touch()
    return done, notes, aside


def test_every_task_is_done_once_by_whoever_is_free(tmp_path: Path) -> None:
    go = tmp_path / "go"
    done, notes, aside = run({"a": str(go), "b": ""}, list(range(6)), go)
    assert sorted(done) == list(range(6))
    assert (
        list(done.values()).count("a") <= 1
    )  # busy with one for as long as the others last, or not yet begun
    assert not notes
    assert not aside


@pytest.mark.parametrize("fault", ["killed", "raises", "dead"])
def test_a_lost_device_leaves_its_part_to_the_others(fault: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    done, notes, aside = run({"a": str(go), "b": fault}, list(range(8)), go, "b was lost")
    assert done == dict.fromkeys(range(8), "a")
    assert not aside
    why = {"raises": "unspecified launch failure"}.get(fault, "SIGKILL")
    assert any(n.startswith("b was lost after 0 videos") and why in n for n in notes), notes


def test_a_device_lost_after_the_others_have_ended() -> None:
    done, _, aside = run({"a": "", "b": "late"}, [0, 1, 2, 3])
    assert sorted(done) == [0, 1, 2, 3]
    assert done[3] == "a"
    assert not aside


def test_a_task_that_kills_everywhere_is_set_aside_and_costs_no_device() -> None:
    done, notes, aside = run({"a": "", "b": ""}, [0, KILLER, 1, 2, 3, 4])
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert aside == [KILLER]
    assert not any("was lost" in n for n in notes)


def test_no_device_left() -> None:
    with pytest.raises(DeviceLostError, match=r"a: .*b: .*goes on from there"):
        run({"a": "raises", "b": "dead"}, [0, 1, 2, 3])


def test_what_is_raised_on_purpose_ends_the_run() -> None:
    with pytest.raises(ExpertError, match="no such expert"):
        run({"a": "wrong", "b": "wrong"}, [0, 1])


def test_two_devices_make_the_same_data_as_one(
    tmp_path: Path, videos: Path, make_clip: MakeClip, two_experts: list[str]
) -> None:
    make_clip(videos / "longest.mp4", frames=40, seed=9)
    skelkit("extract", videos, tmp_path / "one.h5", *two_experts)
    done = skelkit("extract", videos, tmp_path / "two.h5", *two_experts, "--devices", "cpu,cpu")
    assert_same(tmp_path / "two.h5", tmp_path / "one.h5")
    assert "longest" not in done.err.splitlines()[-1]  # begun first


def soon(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 8
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def test_a_worker_killed_on_one_of_two_devices(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    names = [videos / f"{name}.mp4" for name in "abc"]
    reference, out = tmp_path / "reference.h5", tmp_path / "out.h5"
    skelkit("extract", *names, reference, *one_expert)
    (videos / "b.mp4").rename(tmp_path / "kept.mp4")
    gate = Gate(videos / "b.mp4")
    options = [*one_expert, "--devices", "cpu,cpu"]
    with Running("extract", *names, out, *options, err=tmp_path / "err") as run_:
        held = gate.wait_for_reader()
        while not soon(lambda: "[2/3]" in (tmp_path / "err").read_text()):
            os.close(held)  # that was who looks how long it lasts, before anything is done
            held = gate.wait_for_reader()
        wait_until(lambda: len(run_.workers()) == 1, "the other device, which has nothing left to do")
        (tmp_path / "kept.mp4").replace(videos / "b.mp4")
        (worker,) = run_.workers()
        os.kill(worker, signal.SIGKILL)
        os.close(held)
        done = run_.end()
    assert done.code == 0, done.err
    assert_same(out, reference)
    assert "its process died while it was at work (signal SIGKILL)" in done.err
    assert rows_of(out)["b"]["status"] == "ok"
    assert "SIGKILL" in (tmp_path / "out.h5.report.json").read_text()


def test_memory_that_does_not_suffice_is_said_once_and_the_data_are_the_same(
    tmp_path: Path, videos: Path, cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NOTICES, "_said", set())  # by other tests of this process
    settings = ExtractSettings(experts=(cards.heat,), detector=cards.blobs, device="cpu")
    said, rows = [], []
    for name in ("whole", "halved"):
        if name == "halved":
            run_whole = engine.Engine.run

            def run_small(self: engine.Engine, batch: Any, run_whole: Any = run_whole) -> Any:
                if len(batch) > 1:
                    raise ExpertError("Failed to allocate memory for requested buffer of size 9")
                return run_whole(self, batch)

            monkeypatch.setattr(engine.Engine, "run", run_small)
        spool = Spool(tmp_path / f"{name}.h5", recipe(settings))
        with spool.held(overwrite=False):
            job = make_extract_job(settings, spool.output, spool.recipe, 1)
            sources = find_sources([videos])
            rows.append([job(source, said.append) for source in sources])
            spool.publish(sources)
    assert_same(tmp_path / "halved.h5", tmp_path / "whole.h5")
    (sentence,) = [what for what in said if isinstance(what, str) and "memory" in what]
    assert sentence == "heat: memory does not suffice for batches of 4, going on with smaller ones"
    assert [r["people"] for r in rows[0]] == [r["people"] for r in rows[1]]


def test_lists_of_devices_that_cannot_be(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    out = tmp_path / "out.h5"
    for value, why in (("", "such as 0,1,2,3"), ("cpu,gpu", "expected a device among"), ("x:1", "expected")):
        assert why in at_once("extract", videos, out, *one_expert, "--devices", value, code=2).sentence
    both = ["--devices", "cpu,cpu", "--workers", "2"]
    assert "--workers" in at_once("extract", videos, out, *one_expert, *both, code=2).sentence


def test_the_decoder_is_a_setting_that_shapes_the_data(cards: Cards, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(clip, "require_torchcodec", lambda: asked.append(True))
    settings = ExtractSettings(experts=(cards.grid,), device="cpu")
    assert "decoder" not in recipe(settings) and not asked  # as in shards made before there was a choice
    assert recipe(replace(settings, decoder="torchcodec"))["decoder"] == "torchcodec"
    assert asked
    opened: dict[str, Any] = {}

    def open_video(source: Source, **options: Any) -> None:
        opened.update(options)
        raise VideoError("no", path=source.path)

    monkeypatch.setattr(clip, "open_video", open_video)
    monkeypatch.setattr(clip, "sha256", lambda source: "")
    for decoder, device in (("pyav", None), ("torchcodec", "cpu")):
        extractor = clip.Extractor(replace(settings, decoder=decoder), threads=1)
        extractor.extract(Source(video_id="v", path="v.mp4", kind="video"))
        assert opened["torchcodec"] == device
