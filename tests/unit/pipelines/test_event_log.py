"""The log of a run can be read at any moment, whatever happened to its writer."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skelkit.errors import InputError
from skelkit.pipelines import event_log
from skelkit.pipelines.event_log import SILENT_S, EventLog, log_path, read_state


def write_run(output: Path) -> None:
    with EventLog(log_path(output)) as log:
        log.begin("extract", output)
        log.write("stage", name="extracting", total=5, kept=1)
        log.write("dashboard", address="http://here:1/status")
        for worker in "ab":
            log.write("joined", worker=worker)
            log.write("ready", worker=worker)
        log.write("started", task="one", worker="a")
        log.write("started", task="two", worker="b")
        log.write("done", task="one", worker="a", seconds=1.0, status="ok", detail="")
        log.write("left", worker="b", why="lost", expected=False)
        log.write("again", task="two", why="lost")
        log.write("started", task="two", worker="a")
        log.write("done", task="two", worker="a", seconds=1.0, status="failed", detail="no video")
        log.write("started", task="three", worker="a")
        log.write("lost", task="three", why="died 2 times")
        log.write("started", task="four", worker="a")
        log.write("done", task="four", worker="a", seconds=1.0, status="ok", detail="")


def test_what_a_run_did(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    write_run(out)
    state = read_state(out)
    assert (state.total, state.kept, state.done) == (5, 1, 4)
    assert state.statuses == {"ok": 2, "failed": 2}
    assert state.problems == {"two": "no video", "three": "died 2 times"}
    assert (state.lost_workers, state.retried, list(state.workers)) == (1, 1, ["a"])
    assert state.condition(state.last + 10 * SILENT_S) == "finished"
    assert not state.running and state.remaining_s is None
    assert read_state(log_path(out)).to_json(state.last) == state.to_json(state.last)


@pytest.mark.parametrize(
    ("error", "how"), [(KeyboardInterrupt(), "interrupted"), (OSError("disk"), "failed"), (None, "finished")]
)
def test_how_a_run_ended(tmp_path: Path, error: BaseException | None, how: str) -> None:
    try:
        with EventLog(tmp_path / "x.events.jsonl") as log:
            log.begin("extract", tmp_path / "x")
            if error is not None:
                raise error
    except (KeyboardInterrupt, OSError):
        pass
    state = read_state(tmp_path / "x")
    assert state.end == how
    assert state.why == ("disk" if how == "failed" else "")


def test_a_killed_run_falls_silent_and_the_next_one_counts(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    log = EventLog(log_path(out))
    log.begin("extract", out)
    log.write("stage", name="extracting", total=2, kept=0)
    log.write("started", task="one", worker="a")
    state = read_state(out)
    assert state.condition(state.last + 1) == "running" and list(state.running) == ["one"]
    assert state.condition(state.last + SILENT_S + 1) == "silent"
    with log_path(out).open("ab") as file:
        file.write(b'{"t": 1.0, "event": "do')  # killed in the middle of a line
    assert read_state(out).torn == 1
    write_run(out)
    state = read_state(out)
    assert (state.torn, state.done, state.end) == (1, 4, "finished")


@given(cut=st.integers(0, 3000), junk=st.binary(max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_torn_file_can_be_read(tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes) -> None:
    out = tmp_path_factory.mktemp("torn") / "out.h5"
    write_run(out)
    whole = log_path(out).read_bytes()
    lines = whole.splitlines()
    log_path(out).write_bytes(whole[:cut] + junk)
    kept = sum(len(line) + 1 for line in lines[:1]) <= cut + 1
    try:
        state = read_state(out)
    except InputError:
        assert not kept
        return
    assert state.done <= 4 and state.torn <= junk.count(b"\n") + 1 + junk.count(b"\r")


def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_state(tmp_path / "out.h5")
    log_path(tmp_path / "out.h5").write_text("a diary\n")
    with pytest.raises(InputError, match="no beginning"):
        read_state(tmp_path / "out.h5")


def _append(path: Path, name: str) -> None:
    log = EventLog(path)
    for number in range(200):
        log.write("done", task=f"{name}{number}", status="ok", detail="x" * 300)


def test_two_writers_at_once_tear_nothing(tmp_path: Path) -> None:
    """Not meant to be, but a run that is believed dead may still write."""
    out = tmp_path / "out.h5"
    with EventLog(log_path(out)) as log:
        log.begin("extract", out)
        context = multiprocessing.get_context("fork")
        both = [context.Process(target=_append, args=(log.path, name)) for name in "ab"]
        for process in both:
            process.start()
        for process in both:
            process.join()
    assert (read_state(out).done, read_state(out).torn) == (400, 0)
    assert all(json.loads(line) for line in log_path(out).read_text().splitlines())
    assert event_log.log_path(Path("a/b.h5")) == Path("a/b.h5.events.jsonl")
