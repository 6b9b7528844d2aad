"""From shards to a dataset: what is kept, what it is called, where it goes, and that it survives anything."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Running, at_once, group_members, skelkit, wait_until
from made_shards import LABELS, folder_bytes, make_shard, people, run_here

from skelkit.data import ShardReader, ShardWriter
from skelkit.data.assembling import write_selection
from skelkit.data.dataset import DatasetReader
from skelkit.data.filters import FilterSettings
from skelkit.errors import ConfigError, InputError, OutputError, ShardError, SkelkitError
from skelkit.pipelines import workers
from skelkit.pipelines.build_posetics import BuildReport, build
from skelkit.pipelines.build_settings import BuildSettings
from skelkit.pipelines.stats import stats
from skelkit.pipelines.validate import validate
from skelkit.skeletons import COCO17, LCR13, POSETICS17, remap

RATIOS = "train=0.75,val=0.25"
SMALL = 0.03


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Sixty clips in three shards."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, numbers in enumerate((range(25), range(25, 40), range(40, 60))):
        make_shard(folder / f"part-{number}.h5", numbers)
    return folder


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "run", run_here)


def made(
    shards: Path, out: Path, worker_count: int = 1, overwrite: bool = False, **options: Any
) -> BuildReport:
    return build([shards], out, BuildSettings.of(options), worker_count=worker_count, overwrite=overwrite)


def counts(report: BuildReport) -> dict[str, int]:
    return {rule["rule"]: rule["clips_dropped"] for rule in report.info.filters}


def dropped(out: Path) -> list[dict[str, str]]:
    with (out / "dropped.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_clips_are_filtered_converted_and_told(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    report = made(shards, out)
    failed = [n for n in range(60) if n % 9 == 8]
    absent = [n for n in range(60) if n % 5 == 4 and n % 9 != 8]
    assert counts(report) == {"failed": len(failed), "presence": len(absent), "split": 0}
    lines = dropped(out)
    assert {line["video_id"]: line["rule"] for line in lines} == {
        **{f"clip{n:04d}": "failed" for n in failed},
        **{f"clip{n:04d}": "presence" for n in absent},
    }
    example = next(line for line in lines if line["video_id"] == "clip0004")
    assert example == {
        "video_id": "clip0004",
        "source": "videos/2.mp4",
        "label": LABELS[0],
        "shard": "part-0.h5",
        "rule": "presence",
        "value": "0.416667",
        "limit": "0.5",
        "detail": "",
    }
    kept = [n for n in range(60) if n not in {*failed, *absent}]
    with DatasetReader(out) as dataset:
        assert dataset.info.skeleton == POSETICS17
        assert dataset.info.label_names == tuple(sorted(LABELS))
        assert dataset.column("video_id").tolist() == [f"clip{n:04d}" for n in kept]
        for i, n in enumerate(kept):
            given = people(n, video_id="", count=1 + n % 3, frames=20 + n % 7)
            keypoints, scores = remap(given.keypoints, given.scores, LCR13, POSETICS17)
            mine = dataset[i]
            np.testing.assert_allclose(mine.keypoints, keypoints, atol=1 / 8)
            np.testing.assert_allclose(mine.scores, scores, atol=1 / 255)
            assert mine.sources == ("one", "two")
            assert dataset.clip(i).label_index == sorted(LABELS).index(LABELS[n % 4])
    recipe = report.info.recipe
    assert [shard["name"] for shard in recipe["inputs"]] == [f"part-{n}.h5" for n in range(3)]
    assert recipe["input_recipes"] == [{"job": "test"}]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ds", "shards"]


def test_the_index_is_what_the_shards_say(shards: Path, tmp_path: Path) -> None:
    made(shards, tmp_path / "ds", target_mb=SMALL, split=RATIOS, max_people=1)
    with DatasetReader(tmp_path / "ds") as dataset:
        assert len(dataset.info.shards) > 3
        for file in dataset.info.shards:
            with ShardReader(tmp_path / "ds" / file.name) as reader:
                mine = dataset.column("shard") == file.name
                assert dataset.column("row")[mine].tolist() == list(range(file.clips))
                for name in (
                    "video_id",
                    "source",
                    "sha256",
                    "label",
                    "label_index",
                    "split",
                    "first_row",
                    "num_rows",
                ):
                    assert dataset.column(name)[mine].tolist() == reader.column(name).tolist(), name
                for name in ("num_frames", "num_people", "fps", "width", "height", "status", "detail"):
                    assert dataset.column(name)[mine].tolist() == reader.column(name).tolist(), name
        assert (dataset.column("num_people") <= 1).all()


def test_the_bytes_do_not_depend_on_the_number_of_processes(shards: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"target_mb": SMALL, "split": RATIOS, "near_duplicates": 0.01}
    for count in (1, 2):
        made(shards, tmp_path / f"ds{count}", worker_count=count, **options)
    assert folder_bytes(tmp_path / "ds1") == folder_bytes(tmp_path / "ds2")


def test_sizes_of_shards_are_near_the_target(shards: Path, tmp_path: Path) -> None:
    info = made(shards, tmp_path / "ds", target_mb=0.15).info
    whole = made(shards, tmp_path / "one", target_mb=100).info
    assert len(whole.shards) == 1
    assert len(info.shards) == round(whole.shards[0].bytes / 0.15e6)


def killed_after(syncs: int, shards: Path, out: Path, options: dict[str, Any]) -> int | None:
    """Build in a process that is killed when it brings something to the disk for the so-many-th time."""

    def child() -> None:
        left = syncs
        fsync = os.fsync

        def counted(handle: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            fsync(handle)

        os.fsync = counted
        made(shards, out, **options)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return process.exitcode


def test_killed_anywhere_it_goes_on_and_gives_the_same_bytes(shards: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"target_mb": 0.3, "split": RATIOS}
    made(shards, tmp_path / "reference", **options)
    reference = folder_bytes(tmp_path / "reference")
    kills = 0
    for syncs in range(0, 1000, 5):
        out = tmp_path / f"ds{syncs}"
        if killed_after(syncs, shards, out, options) == 0:
            break
        assert not out.exists() or folder_bytes(out) == reference
        kills += 1
        made(shards, out, **options)
        assert folder_bytes(out) == reference
        assert not out.with_name(out.name + ".building").exists()
    assert kills >= 4


def test_what_is_finished_is_not_made_again(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"target_mb": 0.04}
    assert killed_after(12, shards, tmp_path / "ds", options) == -signal.SIGKILL
    there = [p.name for p in (tmp_path / "ds.building" / "made").glob("*.h5")]
    assert there, "the kill came too early"
    written: list[str] = []

    def noted(path: Path, *arguments: Any, **more: Any) -> None:
        written.append(path.name)
        write_selection(path, *arguments, **more)

    monkeypatch.setattr("skelkit.pipelines.build_posetics.write_selection", noted)
    report = made(shards, tmp_path / "ds", **options)
    assert written
    assert sorted(written) == sorted({shard.name for shard in report.info.shards} - set(there))


def test_other_settings_do_not_mix_with_an_unfinished_build(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    killed_after(10, shards, out, {})
    with pytest.raises(ConfigError, match=r"unfinished build.*settings.filters.presence was 0.5, now 0.6"):
        made(shards, out, presence=0.6)
    make_shard(shards / "part-1.h5", range(25, 39))
    with pytest.raises(ConfigError, match=r"inputs\[1\]"):
        made(shards, out)
    assert made(shards, out, presence=0.6, overwrite=True).built
    assert not (tmp_path / "ds.building").exists()


def test_a_dataset_that_is_there_is_kept_or_replaced(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    first = made(shards, out)
    assert first.built and not made(shards, out).built
    with pytest.raises(ConfigError, match=r"presence was 0\.5, now 0\.9"):
        made(shards, out, presence=0.9)
    again = made(shards, out, presence=0.9, overwrite=True)
    assert again.built and DatasetReader(out).info.recipe["settings"]["filters"]["presence"] == 0.9
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="not ours"):
            made(shards, tmp_path / "other", overwrite=overwrite)
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"


def test_two_builds_of_one_dataset_exclude_each_other(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second(*arguments: Any, **options: Any) -> None:
        with pytest.raises(OutputError, match="another build is at work"):
            made(shards, tmp_path / "ds")
        raise KeyboardInterrupt

    monkeypatch.setattr("skelkit.pipelines.build_posetics.choose_shards", second)
    with pytest.raises(KeyboardInterrupt):
        made(shards, tmp_path / "ds")


def test_labels_from_a_file_and_merged(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(
        "video_id,label\n" + "".join(f"clip{n:04d},jumping\n" for n in range(0, 60, 2))
    )
    (tmp_path / "table.csv").write_text(
        "source,target,reason\nmaking sushi,making food,\nmaking a cake,making food,\nclapping,clapping,\n"
        "waving hand,waving,\njumping,jumping,\n"
    )
    options: dict[str, Any] = {
        "labels": str(tmp_path / "labels.csv"),
        "label_table": str(tmp_path / "table.csv"),
    }
    report = made(shards, tmp_path / "ds", **options)
    dataset = DatasetReader(tmp_path / "ds")
    assert report.info.label_names == ("clapping", "jumping", "making food", "waving")
    labels = dict(zip(dataset.column("video_id"), dataset.column("label"), strict=True))
    assert (
        labels["clip0002"] == "jumping"
        and labels["clip0001"] == "making food"
        and labels["clip0003"] == "waving"
    )
    digest = report.info.recipe["settings"]["label_table"]
    assert digest["file"] == "table.csv" and len(digest["sha256"]) == 64


def test_labels_unknown_to_the_table_are_all_told_before_anything_is_done(
    shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "table.csv").write_text("source,target,reason\nclaping,claping,\nmaking sushi,making food,\n")
    with pytest.raises(
        ConfigError, match=r"'clapping'; did you mean claping.*'making a cake'.*'waving hand'"
    ):
        made(shards, tmp_path / "ds", label_table=str(tmp_path / "table.csv"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shards", "table.csv"]
    with pytest.raises(ConfigError, match="got 60 others"):
        made(shards, tmp_path / "ds", split="ntu60-cs", presence=0, failed=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shards", "table.csv"]


def test_clips_in_no_split_have_a_line(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("video_id,split\n" + "".join(f"clip{n:04d},train\n" for n in range(30)))
    report = made(shards, tmp_path / "ds", split=str(tmp_path / "s.csv"))
    lost = [line for line in dropped(tmp_path / "ds") if line["rule"] == "split"]
    assert len(lost) == counts(report)["split"] == sum(n % 9 != 8 and n % 5 != 4 for n in range(30, 60))
    assert lost[0]["limit"] == "s.csv" and lost[0]["detail"] == "in no split"
    assert report.info.splits == {"train": sum(n % 9 != 8 and n % 5 != 4 for n in range(30))}


def test_groups_stay_together(shards: Path, tmp_path: Path) -> None:
    made(shards, tmp_path / "ds", split=RATIOS, group="source", seed=5)
    dataset = DatasetReader(tmp_path / "ds")
    where: dict[str, set[str]] = {}
    for source, split in zip(dataset.column("source"), dataset.column("split"), strict=True):
        where.setdefault(source, set()).add(split)
    assert max(map(len, where.values())) == 1 and len(where) < len(dataset)


def test_the_other_rules_drop_what_they_say(shards: Path, tmp_path: Path) -> None:
    with ShardWriter(shards / "z.h5", skeleton=LCR13, recipe={"job": "test"}) as writer:
        writer.write(people(3, video_id="copy", count=1, frames=23))  # clip0003 has one person and 23 frames
        writer.write(people(77, video_id="short", frames=3))
    report = made(shards, tmp_path / "ds", min_frames=10, near_duplicates=0.01, labelled=True)
    assert counts(report)["min_frames"] == 1 and counts(report)["labelled"] == 1
    report = made(shards, tmp_path / "ds2", near_duplicates=0.01)
    (line,) = [line for line in dropped(tmp_path / "ds2") if line["rule"] == "near_duplicates"]
    assert (line["video_id"], line["detail"]) == ("copy", "moves as clip0003")
    everything = made(shards, tmp_path / "ds3", presence=0, failed=False)
    assert sum(everything.info.splits.values()) == 62
    strict = made(shards, tmp_path / "ds4", min_confidence=0.5, min_size=200, min_joints=17)
    assert {"min_confidence", "min_size", "min_joints"} <= {r["rule"] for r in strict.info.filters}
    trimmed = next(
        r for r in made(shards, tmp_path / "ds5", max_people=1).info.filters if r["rule"] == "max_people"
    )
    assert trimmed["people_dropped"] > trimmed["clips_trimmed"] > 0
    with (tmp_path / "ds5" / "trimmed.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == trimmed["clips_trimmed"]
    assert sum(int(line["people_dropped"]) for line in lines) == trimmed["people_dropped"]


def test_nothing_left_is_told_with_the_reasons(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SkelkitError, match=r"got none: of 60, dropped by failed 6, presence 11, min_frames 43"
    ):
        made(shards, tmp_path / "ds", min_frames=1000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shards"]


def test_a_share_without_clips_changes_nothing(shards: Path, tmp_path: Path) -> None:
    made(shards, tmp_path / "one", near_duplicates=0.01)
    make_shard(shards / "part-9.h5", [])
    made(shards, tmp_path / "two", near_duplicates=0.01)
    one, two = folder_bytes(tmp_path / "one"), folder_bytes(tmp_path / "two")
    assert one["dropped.csv"] == two["dropped.csv"] and one["index.parquet"] == two["index.parquet"]
    with pytest.raises(SkelkitError, match="of 0"):
        made(shards / "part-9.h5", tmp_path / "three")
    assert stats(shards / "part-9.h5")["clips"] == 0 and validate(shards / "part-9.h5") == []


def test_inputs_that_do_not_go_together_are_refused(shards: Path, tmp_path: Path) -> None:
    make_shard(tmp_path / "twice.h5", [3])
    with pytest.raises(ShardError, match=r"'clip0003' in .*part-0.h5 and in .*twice.h5"):
        build([shards, tmp_path / "twice.h5"], tmp_path / "ds", BuildSettings())
    make_shard(tmp_path / "coco.h5", [100], skeleton=COCO17)
    assert build([shards, tmp_path / "coco.h5"], tmp_path / "ds", BuildSettings()).clips_in == 61
    with pytest.raises(ConfigError, match="one joint set to stay"):
        build([shards, tmp_path / "coco.h5"], tmp_path / "x", BuildSettings(joints="same"))
    with pytest.raises(ConfigError, match=r"cannot become halpe26: it has nothing to make"):
        build([shards], tmp_path / "x", BuildSettings(joints="halpe26"))
    with pytest.raises(InputError, match="expected a shard"):
        build([tmp_path / "none"], tmp_path / "x", BuildSettings())
    with pytest.raises(ConfigError, match="apart from the inputs"):
        build([shards / "part-0.h5"], shards, BuildSettings())
    with pytest.raises(InputError, match="once"):
        build([shards, shards / "part-0.h5"], tmp_path / "x", BuildSettings())
    (shards / "part-2.h5").write_bytes((shards / "part-2.h5").read_bytes()[:4000])
    with pytest.raises(ShardError, match=r"part-2.h5"):
        build([shards], tmp_path / "x", BuildSettings())
    assert not (tmp_path / "x").exists()


def test_a_dataset_can_be_built_again_with_its_numbers(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(
        "source,target,reason\n" + "".join(f"{n},{n},\n" for n in (*LABELS, "a first"))
    )
    made(shards, tmp_path / "one", label_table=str(tmp_path / "table.csv"), split=RATIOS)
    again = made(tmp_path / "one", tmp_path / "two", joints="same")
    assert again.info.label_names == DatasetReader(tmp_path / "one").info.label_names
    for name in ("label_index", "split", "video_id", "presence"):
        one, two = (DatasetReader(tmp_path / n).column(name).tolist() for n in ("one", "two"))
        assert one == two


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("presense = 0.5", "did you mean presence"),
        ("presence = 'high'\nmin_frames = 1.5", "presence: expected float.*min_frames: expected int"),
        ("presence = 1.5", "expected 0 to 1"),
        ("labelled = 1", "labelled: expected bool"),
        ("presence = ", "TOML"),
    ],
)
def test_settings_from_a_file_are_checked(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match=f"(?s){told}"):
        BuildSettings.of({}, tmp_path / "s.toml")


def test_options_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("presence = 0.25\nmax_people = 2\nname = 'mine'\n")
    settings = BuildSettings.of({"presence": 0.75, "name": None}, tmp_path / "s.toml")
    assert settings == BuildSettings(name="mine", max_people=2, filters=FilterSettings(presence=0.75))


@pytest.mark.parametrize(
    "wrong",
    [
        {"gamma": 1.5},
        {"max_people": 0},
        {"people_by": "x"},
        {"target_mb": 0.0},
        {"name": "a/b"},
        {"joints": "x"},
        {"min_frames": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        BuildSettings.of(wrong)


def test_the_command_says_what_it_did(shards: Path, tmp_path: Path) -> None:
    done = at_once("build-posetics", shards, tmp_path / "ds", "--split", RATIOS, "--max-people", "1", code=0)
    assert "presence" in done.out and "60 clips -> 43" in done.out and "of their people" in done.out
    again = at_once(
        "build-posetics", shards, tmp_path / "ds", "--split", RATIOS, "--max-people", "1", "--json", code=0
    )
    assert json.loads(again.out)["built"] is False and json.loads(again.out)["clips"] == 43
    wrong = at_once("build-posetics", shards, tmp_path / "ds", "--presence", "2", code=2)
    assert "presence: expected 0 to 1" in wrong.sentence
    none = at_once("build-posetics", shards, tmp_path / "no", "--min-frames", "999", code=3)
    assert "expected some clips to be left" in none.sentence


def test_real_processes_killed_in_the_middle_give_the_same_bytes(shards: Path, tmp_path: Path) -> None:
    made(shards, tmp_path / "reference", target_mb=SMALL)
    command = ("build-posetics", shards, tmp_path / "ds", "--workers", 2, "--target-mb", SMALL)
    finished = tmp_path / "ds.building" / "made"
    with Running(*command, err=tmp_path / "err") as run:
        wait_until(lambda: [*finished.glob("*.h5")] or run.process.poll() is not None, "a finished shard")
        run.send(signal.SIGKILL, group=False)
        run.process.wait()
        wait_until(lambda: not group_members(run.process.pid), "workers to end with their parent")
    assert not (tmp_path / "ds").exists()
    assert skelkit(*command, "--json").json["built"]
    assert folder_bytes(tmp_path / "ds") == folder_bytes(tmp_path / "reference")
