"""A run that is stopped, whatever stops it, goes on where it was and gives what it would have given."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from command_line import (
    Gate,
    Running,
    assert_same,
    at_once,
    column,
    content,
    group_members,
    rows_of,
    skelkit,
    statuses,
    tree,
    wait_until,
)
from conftest import MakeClip
from tiny_experts import Cards

from skelkit.pipelines.clip import Extractor, recipe
from skelkit.pipelines.extract import make_job
from skelkit.pipelines.settings import ExtractSettings
from skelkit.pipelines.spool import Spool
from skelkit.video import find_sources

KILLS = 10


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments_gives_what_an_uninterrupted_run_gives(
    tmp_path: Path, make_clip: MakeClip, two_experts: list[str], workers: int
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(6):
        make_clip(folder / f"{number}.mp4", seed=number, frames=20 + 5 * number, people=1 + number % 3)
    (folder / "9.mp4").write_text("no video")
    reference, out = tmp_path / "reference.h5", tmp_path / "place" / "out.h5"
    out.parent.mkdir()
    options = [folder, *two_experts, "--workers", workers]
    begin = time.monotonic()
    skelkit("extract", *options[:1], reference, *options[1:], code=1)
    length = time.monotonic() - begin

    chance = random.Random(workers)
    kills = finished = 0
    while kills < KILLS or not finished:
        with Running("extract", folder, out, *options[1:], err=tmp_path / "err") as run:
            if kills < KILLS and not run.ended_within(chance.uniform(0, length)):
                run.send(signal.SIGKILL, group=bool(chance.getrandbits(1)))
                run.process.wait()
                wait_until(lambda: not group_members(run.process.pid), "workers to end with their parent")
                kills += 1
                continue
            assert run.end().code == 1, run.end().err
        finished += 1
        assert_same(out, reference)
        assert tree(out.parent) == ["out.h5", "out.h5.report.json"]
        assert list(rows_of(out)) == list(rows_of(reference))
        if kills < KILLS:
            shutil.rmtree(out.parent)
            out.parent.mkdir()
    assert kills == KILLS


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, True), (signal.SIGTERM, False)],
    ids=lambda value: getattr(value, "name", "group" if value else "alone"),
)
def test_interrupted_it_says_so_and_goes_on(
    tmp_path: Path, videos: Path, one_expert: list[str], number: signal.Signals, group: bool
) -> None:
    names = [videos / f"{name}.mp4" for name in "abc"]
    reference, out = tmp_path / "reference.h5", tmp_path / "out.h5"
    skelkit("extract", *names, reference, *one_expert)
    (videos / "b.mp4").rename(tmp_path / "kept.mp4")
    gate = Gate(videos / "b.mp4")
    with Running("extract", *names, out, *one_expert, err=tmp_path / "err") as run:
        held = gate.wait_for_reader()
        run.send(number, group=group)
        done = run.end()
        os.close(held)
        wait_until(lambda: not group_members(run.process.pid), "all processes to end")
    assert done.code == 130
    assert done.sentence == (
        "skelkit: interrupted; finished videos are kept, the same command goes on from here"
    )
    assert not out.exists()
    (tmp_path / "kept.mp4").replace(videos / "b.mp4")
    again = skelkit("extract", *names, out, *one_expert)
    assert "keeping what an earlier run has finished" in again.err
    assert "  a  " not in again.err.replace("ok", "") and "[2/3]" in again.err and "[3/3]" in again.err
    assert_same(out, reference)


def test_interrupted_before_it_has_begun(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    gate = Gate(tmp_path / "list.txt")
    with Running("extract", gate.path, tmp_path / "out.h5", *one_expert, err=tmp_path / "err") as run:
        held = gate.wait_for_reader()
        run.send(signal.SIGINT, group=True)
        done = run.end()
        os.close(held)
    assert done.code == 130
    assert "interrupted" in done.sentence
    assert tree(tmp_path) == ["err", "list.txt", "videos", *(f"videos/{n}.mp4" for n in "abc")]


def test_killed_between_output_and_clearing_up(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    """The spool is half gone, the output is there: nothing is lost, nothing is mixed up."""
    reference, out = tmp_path / "reference.h5", tmp_path / "out.h5"
    skelkit("extract", videos, reference, *one_expert)
    spool = _stopped_run(tmp_path, videos, out, one_expert)
    shutil.copy(reference, out)
    signs = sorted(spool.glob("*/*.json"))
    assert len(signs) == 2
    signs[0].with_suffix(".h5").unlink()
    (spool / ".skelkit-1-2.part").write_bytes(b"half a merge")
    (spool / "run.json").unlink()
    skelkit("extract", videos, out, *one_expert)
    assert_same(out, reference)
    assert sorted(p.name for p in tmp_path.glob("out.h5*")) == ["out.h5", "out.h5.report.json"]


def test_a_video_changed_meanwhile_is_done_again(
    tmp_path: Path, videos: Path, make_clip: MakeClip, one_expert: list[str]
) -> None:
    out, fresh = tmp_path / "out.h5", tmp_path / "fresh.h5"
    _stopped_run(tmp_path, videos, out, one_expert)
    make_clip(videos / "a.mp4", seed=7, frames=14)
    make_clip(videos / "c.mp4", seed=2)  # written again, the same content: not a change
    again = skelkit("extract", videos, out, *one_expert)
    assert _done(again.err) == ["a", "b"]
    assert rows_of(out)["a"]["frames"] == 14
    skelkit("extract", videos, fresh, *one_expert)
    assert_same(out, fresh)


def test_a_video_that_changes_while_it_is_read_is_done_again(
    tmp_path: Path, videos: Path, make_clip: MakeClip, cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ExtractSettings(experts=(cards.grid,))
    source = find_sources([videos / "a.mp4"])[0]
    spool = Spool(tmp_path / "out.h5", recipe(settings))
    extract = Extractor.extract
    with spool.held(overwrite=False):
        job = make_job(settings, spool.output, spool.recipe, 1)
        job(source, lambda news: None)
        assert spool.finished(source) is not None

        def changing(self: Extractor, *arguments: object) -> object:
            result = extract(self, *arguments)  # type: ignore[arg-type]
            make_clip(videos / "a.mp4", seed=5, frames=20)
            return result

        monkeypatch.setattr(Extractor, "extract", changing)
        job(source, lambda news: None)
        assert spool.finished(source) is None


def test_other_settings_are_refused_by_name(
    stopped: tuple[Path, Path], one_expert: list[str], cards: Cards, two_experts: list[str], tmp_path: Path
) -> None:
    videos, out = stopped
    before = tree(out.parent)
    other = shutil.copytree(Path(cards.grid).parent, tmp_path / "other") / "grid.toml"
    other.write_text(other.read_text().replace("min_score = 0.3", "min_score = 0.4"))
    for options, named in (
        ([*one_expert, "--stride", "2"], "stride was 1, now 2"),
        ([*one_expert, "--fps", "5"], "target_fps was None, now 5.0"),
        ([*one_expert, "--start", "0.1"], "start_s was None, now 0.1"),
        ([*one_expert, "--end", "0.1"], "end_s was None, now 0.1"),
        ([*one_expert, "--max-people", "1"], "max_people was 32, now 1"),
        (two_experts, "experts.heat was absent, now heat"),
        (["--experts", other], "experts.grid.card_sha256 was"),
    ):
        said = at_once("extract", videos, out, *options, code=2).sentence
        assert named in said and "--overwrite" in said
    assert tree(out.parent) == before


def test_settings_do_not_matter_before_anything_is_finished(
    tmp_path: Path, videos: Path, one_expert: list[str], two_experts: list[str]
) -> None:
    out = tmp_path / "out.h5"
    gate = Gate(tmp_path / "0.mp4")
    with Running("extract", gate.path, out, *one_expert, err=tmp_path / "err") as run:
        held = gate.wait_for_reader()
        run.send(signal.SIGKILL, group=True)
        run.process.wait()
        os.close(held)
    assert (tmp_path / "out.h5.spool").is_dir()
    skelkit("extract", videos, out, *two_experts)


def test_a_call_that_does_nothing_leaves_nothing(tmp_path: Path, videos: Path, cards: Cards) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for wrong in (["--experts", cards.blobs], ["--experts", cards.heat, "--detector", cards.grid]):
        said = skelkit("extract", videos, place / "out.h5", *wrong, code=2).sentence
        assert "expected a" in said
        assert tree(place) == []


def test_overwrite_starts_afresh_and_can_itself_be_resumed(
    tmp_path: Path, videos: Path, one_expert: list[str]
) -> None:
    out, fresh = tmp_path / "out.h5", tmp_path / "fresh.h5"
    skelkit("extract", videos, fresh, *one_expert, "--stride", "2")
    skelkit("extract", videos, out, *one_expert)
    before = content(out)
    refused = at_once("extract", videos, out, *one_expert, "--stride", "2", code=2)
    assert "stride was 1, now 2" in refused.sentence
    assert content(out) == before

    (videos / "b.mp4").rename(tmp_path / "kept.mp4")
    gate = Gate(videos / "b.mp4")
    names = [videos / f"{name}.mp4" for name in "abc"]
    command = [*names, out, *one_expert, "--stride", "2"]
    with Running("extract", *command, "--overwrite", err=tmp_path / "err") as run:
        held = gate.wait_for_reader()
        run.send(signal.SIGTERM, group=True)
        done = run.end()
        os.close(held)
    assert "the same command without --overwrite goes on" in done.sentence
    assert content(out) == before  # until the new one is whole
    (tmp_path / "kept.mp4").replace(videos / "b.mp4")
    again = skelkit("extract", *command)
    assert _done(again.err) == ["b", "c"]
    assert_same(out, fresh)
    redone = skelkit("extract", videos, out, *one_expert, "--overwrite")
    assert _done(redone.err) == ["a", "b", "c"]
    assert content(out) == before


def test_a_finished_output_is_added_to(
    tmp_path: Path, videos: Path, make_clip: MakeClip, one_expert: list[str]
) -> None:
    out, fresh = tmp_path / "out.h5", tmp_path / "fresh.h5"
    name = videos / "café.mp4"
    make_clip(name, seed=9)
    (videos / os.fsdecode(b"\xff.mp4")).write_bytes(name.read_bytes())
    skelkit("extract", videos, out, *one_expert)
    before = content(out)
    assert _done(skelkit("extract", videos, out, *one_expert).err) == []
    assert content(out) == before

    make_clip(videos / "new.mp4", seed=4)
    make_clip(videos / "b.mp4", seed=5)  # changed since
    (videos / "c.mp4").unlink()
    added = skelkit("extract", videos, out, *one_expert)
    assert _done(added.err) == ["b", "new"]
    skelkit("extract", videos, fresh, *one_expert)
    assert_same(out, fresh)
    assert statuses(out).keys() == {"a", "b", "café", "new", "\\xff"}


def test_what_failed_is_tried_again(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    listing, out = tmp_path / "list.txt", tmp_path / "out.h5"
    listing.write_text("videos/a.mp4\nvideos/later.mp4\n")
    skelkit("extract", listing, out, *one_expert, code=1)
    assert statuses(out) == {"videos/a": "ok", "videos/later": "failed"}
    shutil.copy(videos / "b.mp4", videos / "later.mp4")
    assert _done(skelkit("extract", listing, out, *one_expert).err) == ["videos/later"]
    assert statuses(out) == {"videos/a": "ok", "videos/later": "ok"}


def test_a_changed_label_is_noticed(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    listing, out = tmp_path / "list.csv", tmp_path / "out.h5"
    listing.write_text("path,label\nvideos/a.mp4,jump\nvideos/b.mp4,run\n")
    skelkit("extract", listing, out, *one_expert)
    assert column(out, "clips/label") == ["jump", "run"]
    listing.write_text("path,label\nvideos/a.mp4,jump\nvideos/b.mp4,walk\n")
    assert _done(skelkit("extract", listing, out, *one_expert).err) == ["videos/b"]
    assert column(out, "clips/label") == ["jump", "walk"]


def test_two_runs_at_once_are_refused(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    out, gate = tmp_path / "out.h5", Gate(tmp_path / "gate.mp4")
    with Running("extract", gate.path, out, *one_expert, err=tmp_path / "err") as run:
        held = gate.wait_for_reader()
        for more in ([], ["--overwrite"]):
            refused = at_once("extract", videos, out, *one_expert, *more, code=3)
            assert "another run is at work" in refused.sentence
        run.send(signal.SIGKILL, group=True)
        run.process.wait()
        os.close(held)


@pytest.fixture
def stopped(tmp_path: Path, videos: Path, one_expert: list[str]) -> tuple[Path, Path]:
    """The videos, and the output of a run that was killed when it had finished a and c."""
    out = tmp_path / "place" / "out.h5"
    out.parent.mkdir()
    _stopped_run(tmp_path, videos, out, one_expert)
    return videos, out


def _stopped_run(tmp_path: Path, videos: Path, out: Path, options: list[str]) -> Path:
    """Kill a run at the last of its videos, b; returns its spool."""
    (videos / "b.mp4").rename(tmp_path / "kept.mp4")
    gate = Gate(videos / "b.mp4")
    names = [videos / f"{name}.mp4" for name in "acb"]
    with Running("extract", *names, out, *options, "--workers", "2", err=tmp_path / "err") as run:
        held = gate.wait_for_reader()
        spool = out.with_name(out.name + ".spool")
        wait_until(lambda: len(list(spool.glob("*/*.json"))) == 2, "a and c to be done")
        run.send(signal.SIGKILL, group=True)
        run.process.wait()
        os.close(held)
    (videos / "b.mp4").unlink()
    (tmp_path / "kept.mp4").replace(videos / "b.mp4")
    assert not out.exists()
    assert json.loads((spool / "run.json").read_text())["recipe"]["job"] == "extract"
    return spool


def _done(err: str) -> list[str]:
    """Names of the videos that a run says it has done, sorted."""
    return sorted(line.split()[2] for line in err.splitlines() if line.startswith("[") and "/" in line)
