"""What is wrong with a shard or a dataset is found and named; what is right is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import at_once
from made_shards import make_shard, people, run_here

from skelkit.data import Clip, DatasetWriter
from skelkit.data.dataset import DatasetInfo
from skelkit.data.folder import sha256_of
from skelkit.errors import InputError
from skelkit.pipelines import workers
from skelkit.pipelines.build_posetics import build
from skelkit.pipelines.build_settings import BuildSettings
from skelkit.pipelines.validate import validate
from skelkit.skeletons import LCR13


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "run", run_here)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    make_shard(folder / "part.h5", range(24))
    before, workers.run = workers.run, run_here
    options = {"split": "train=0.7,val=0.3", "group": "source", "target_mb": 0.06}
    build([folder / "part.h5"], folder / "ds", BuildSettings.of(options))
    workers.run = before
    return folder / "ds"


@pytest.fixture
def dataset(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "ds"))


def told(path: Path) -> list[str]:
    return [f"{problem.file}: {problem.what}" for problem in validate(path) if problem.grave]


def resealed(dataset: Path, change: Callable[[Any], None]) -> list[str]:
    """What is told after a change in the first shard by someone who mends the checksum too."""
    path = dataset / DatasetInfo.read(dataset).shards[0].name
    with h5py.File(path, "r+") as h5:
        change(h5)
    text = json.loads((dataset / "dataset.json").read_text())
    text["shards"][0] |= {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    (dataset / "dataset.json").write_text(json.dumps(text))
    found = told(dataset)
    assert found and all(line.startswith(path.name) for line in found), found
    return found


def test_a_sound_dataset_and_shard_are_valid(dataset: Path) -> None:
    assert validate(dataset) == []
    for shard in dataset.glob("*.h5"):
        assert validate(shard) == []
    done = at_once("validate", dataset, code=0)
    assert "valid" in done.out


def test_a_flipped_byte_anywhere_is_found_and_the_shard_named(dataset: Path) -> None:
    shards = sorted(dataset.glob("*.h5"))
    path = shards[1]
    whole = path.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 7).astype(int).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        assert [line.split(":")[0] for line in told(dataset)] == [path.name]
    done = at_once("validate", dataset, "--json", code=1)
    assert json.loads(done.out)["problems"][0]["file"] == path.name
    assert "damaged or replaced" in done.out


def test_missing_stray_and_truncated_files_are_told_together(dataset: Path) -> None:
    shards = sorted(dataset.glob("*.h5"))
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-100])
    (dataset / "stray.h5").write_bytes(b"x")
    (dataset / "dropped.csv").write_text("video_id,rule\n")
    (dataset / "index.parquet").write_bytes((dataset / "index.parquet").read_bytes()[:-1] + b"?")
    found = "\n".join(told(dataset))
    for text in (
        f"{shards[0].name}: is missing",
        f"{shards[1].name}: is damaged or replaced",
        "stray.h5: is no part",
        "dropped.csv: has 0 clips",
        "index.parquet: is damaged",
    ):
        assert text in found


def test_no_dataset_is_told(dataset: Path, tmp_path: Path) -> None:
    (dataset / "dataset.json").write_text("{}")
    assert told(dataset)[0].startswith("dataset.json: ")
    (tmp_path / "x.h5").write_bytes(b"nothing")
    assert "not a shard" in told(tmp_path / "x.h5")[0]
    with pytest.raises(InputError, match="found nothing"):
        validate(tmp_path / "none")


def put(path: str, where: Any, value: Any) -> Callable[[Any], None]:
    def change(h5: Any) -> None:
        h5[path][where] = value

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (put("poses/frame", 3, 10**6), "poses outside its frames"),
        (put("poses/frame", 3, 1), "frames out of order"),
        (put("poses/track", 3, 99), "num_people"),
        (put("poses/keypoints", (3, 2, 0), -32768), "some coordinates only"),
        (put("poses/keypoints", 3, -32768), "without a joint"),
        (put("poses/confidence", 3, 1.5), "confidences outside"),
        (put("poses/scores", (3, 2), 7), "mean score"),
        (put("poses/keypoints", (3, 2), -32768), "scores for joints not seen"),
        (put("clips/status", 0, "no_person"), "status that its poses belie"),
        (put("clips/status", 0, "fine"), "status"),
        (put("clips/video_id", 0, ""), "video_id"),
        (put("clips/label", 0, "clapping hands"), "label that is not the one of its number"),
        (put("clips/label_index", 0, 70), "label that is not the one of its number"),
        (put("clips/split", 0, "val"), "not of split train"),
        (put("clips/width", 0, 1), "width is not what index.parquet says"),
        (put("clips/num_rows", 0, 1), "one after the other"),
        (put("frames/pts_s", 2, 77.0), "frames out of order"),
        (put("poses/confidence", slice(0, 20), 0.95), "mean_confidence is not what"),
    ],
)
def test_damage_behind_a_mended_checksum_is_found(
    dataset: Path, change: Callable[[Any], None], expected: str
) -> None:
    assert expected in "\n".join(resealed(dataset, change))


def test_leakage_between_splits_is_found(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "ds", name="x", skeleton=LCR13, recipe={}) as writer:
        for i, (split, sha, source, seed) in enumerate(
            [
                ("train", "a", "one.mp4", 1),
                ("val", "a", "two.mp4", 2),
                ("val", "b", "one.mp4", 3),
                ("train", "c", "x.mp4", 4),
                ("val", "d", "y.mp4", 4),
                ("val", "e", "z.mp4", 3),
                ("train", "f", "all.pkl", 5),
                ("val", "f", "all.pkl", 6),
            ]
        ):
            sequence = people(seed, video_id=f"clip{i}")
            writer.write(sequence, Clip.of(sequence, split=split, sha256=sha, source=source))
    problems = validate(tmp_path / "ds")
    found = "\n".join(problem.what for problem in problems if problem.grave)
    assert "1 source files (by sha256) are in two splits: a (1 train, 1 val)" in found
    assert "1 sources are in two splits: one.mp4" in found
    assert "1 clips with the same poses are in two splits" in found
    assert [p.what for p in problems if not p.grave] == [
        "1 clips have the poses of another one of their split"
    ]


def test_leakage_by_the_group_that_was_asked_for_is_found(tmp_path: Path) -> None:
    recipe = {"settings": {"group": r"^(p\d)"}}
    with DatasetWriter(tmp_path / "ds", name="x", skeleton=LCR13, recipe=recipe) as writer:
        for i, (name, split) in enumerate([("p1_a", "train"), ("p1_b", "val"), ("p2_c", "val")]):
            sequence = people(i, video_id=name)
            writer.write(sequence, Clip.of(sequence, split=split))
    assert [line for line in told(tmp_path / "ds") if "groups" in line and "p1 (1 train, 1 val)" in line]
