"""Import and export through the command line: shards, datasets, failures, outputs that are there already."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skelkit.cli import app, main
from skelkit.cli.import_ import FORMAT_NAMES
from skelkit.data import Clip, ShardReader, ShardWriter, empty_sequence
from skelkit.data.dataset import DatasetReader
from skelkit.data.formats import FORMATS
from skelkit.skeletons import COCO17, LCR13
from skelkit.structures import SkeletonSequence

LABELS = ("sit", "stand up")


def sequence(name: str, *, seed: int, size: tuple[int, int] = (480, 640)) -> SkeletonSequence:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, min(size), (2, 20, 17, 2)).astype(np.float32)
    points[rng.random(points.shape[:3]) < 0.2] = np.nan
    points[1, 5:9] = np.nan
    seen = np.isfinite(points).all(axis=-1)
    return SkeletonSequence(
        skeleton=COCO17,
        keypoints=points,
        scores=np.where(seen, rng.random(seen.shape), 0).astype(np.float32),
        confidence=np.where(seen.any(axis=-1), 0.9, np.nan).astype(np.float32),
        track_ids=np.arange(2),
        frame_indices=np.arange(20),
        pts_s=np.arange(20) / 25,
        video_id=name,
        fps=25.0,
        image_size=size,
        sources=("movenet",),
    )


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Five clips: three with people (one of a picture of unknown size), one without, one failed."""
    path = tmp_path / "in.h5"
    with ShardWriter(path, skeleton=COCO17, recipe={"job": "test"}) as writer:
        for i, (name, split) in enumerate([("a/one", "train"), ("two", "val"), ("no size", "train")]):
            people = sequence(name, seed=i, size=(0, 0) if name == "no size" else (480, 640))
            if name == "no size":
                people = replace(people, keypoints=people.keypoints + 1)
            writer.write(people, clip=Clip.of(people, label=LABELS[i % 2], split=split))
        nobody = empty_sequence(COCO17, video_id="nobody", image_size=(480, 640))
        writer.write(nobody, clip=Clip.of(nobody, label="sit", split="train"))
        broken = empty_sequence(COCO17, video_id="broken")
        writer.write(broken, clip=Clip.of(broken, status="failed", detail="no picture in it"))
    return path


def run(*arguments: object) -> int:
    """Exit code of a command that does not fail as a whole."""
    code = app([str(a) for a in arguments], standalone_mode=False)
    return int(code or 0)


def fails(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["skelkit", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def equal(have: Path, want: Path, names: tuple[str, ...], joints: list[int] | None = None) -> None:
    """Clips of two shards, within the error of storage."""
    with ShardReader(have) as a, ShardReader(want) as b:
        for name in names:
            one, other = a[a.find(name)], b[b.find(name)]
            known, wanted = a.clip(a.find(name)), b.clip(b.find(name))
            assert (known.label, known.split) == (wanted.label, wanted.split)
            assert one.image_size == other.image_size and one.num_frames == other.num_frames
            np.testing.assert_array_equal(np.isnan(one.keypoints), np.isnan(other.keypoints))
            np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1 / 16)
            np.testing.assert_allclose(one.scores, other.scores, atol=1 / 256)


@pytest.mark.parametrize("form", ["pyskl", "coco"])
def test_there_and_back(shard: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / ("x.pkl" if form == "pyskl" else "x")
    assert run("export", shard, form, there) == 0
    said = capsys.readouterr()
    assert "3 clips with the joints of coco17" in said.out
    assert "left out: 1 clips (no_person)" in said.err and "left out: 1 clips (failed)" in said.err
    assert run("import", form, there, tmp_path / "back.h5") == 0
    assert "3 clips (0 failed), 60 frames" in capsys.readouterr().out
    equal(tmp_path / "back.h5", shard, ("a/one", "two", "no size"))
    with ShardReader(tmp_path / "back.h5") as back:
        assert back.recipe["job"] == "import" and back.recipe["format"] == form
        assert {c: int(i) for c, i in zip(back.video_ids, back.column("label_index"), strict=True)} == {
            "a/one": 0,
            "two": 1,
            "no size": 0,
        }


def test_a_dataset_and_its_splits(shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("export", shard, "pyskl", tmp_path / "x.pkl")
    assert run("import", "pyskl", tmp_path / "x.pkl", tmp_path / "my data") == 0
    with DatasetReader(tmp_path / "my data") as dataset:
        assert dataset.info.splits == {"train": 2, "val": 1}
        assert dataset.info.label_names == LABELS
    assert run("export", tmp_path / "my data", "unik", tmp_path / "u", "--split", "val", "--frames", 8) == 0
    assert "note: 1 clips are longer than 8 frames" in capsys.readouterr().err
    assert np.load(tmp_path / "u" / "val_data_joint.npy").shape == (1, 2, 8, 17, 2)
    assert not (tmp_path / "u" / "train_data_joint.npy").exists()
    assert run("import", "pyskl", tmp_path / "x.pkl", tmp_path / "v.h5", "--split", "val") == 0
    with ShardReader(tmp_path / "v.h5") as back:
        assert back.video_ids == ["two"]


def test_joints_are_mapped_by_name(shard: Path, tmp_path: Path) -> None:
    run("export", shard, "posetics-json", tmp_path / "p")
    first = json.loads((tmp_path / "p" / "train" / "a" / "one.json").read_text())
    assert len(first["frames"][0][0]["pose2d"]) == 26
    run("import", "posetics-json", tmp_path / "p", tmp_path / "back.h5")
    with ShardReader(tmp_path / "back.h5") as back, ShardReader(shard) as source:
        assert back.skeleton == LCR13
        have, want = back[back.find("two")], source[source.find("two")]
        for joint in ("left_wrist", "right_ankle"):
            mine, its = have.keypoints[:, :, LCR13.index(joint)], want.keypoints[:, :, COCO17.index(joint)]
            np.testing.assert_allclose(mine, its, atol=1 / 16 + 0.001)
    run("export", shard, "pyskl", tmp_path / "l.pkl", "--joints", "lcr13")
    content = pickle.loads((tmp_path / "l.pkl").read_bytes())
    assert content["annotations"][0]["keypoint"].shape == (2, 20, 13, 2)


def test_clips_without_a_size_are_left_out_where_it_is_needed(
    shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", shard, "kinetics-skeleton", tmp_path / "k") == 0
    assert "left out: 1 clips (size of the picture unknown)" in capsys.readouterr().err
    assert sorted(p.stem for p in (tmp_path / "k").rglob("*.json") if "label" not in p.name) == ["one", "two"]


def test_a_bad_file_is_a_failed_clip(shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("export", shard, "openpose", tmp_path / "o")
    bad = tmp_path / "o" / "a" / "one" / "one_000000000003_keypoints.json"
    bad.write_text(bad.read_text()[:50])
    assert run("import", "openpose", tmp_path / "o", tmp_path / "back.h5") == 1
    assert re.search(r"failed: a/one: .*one_000000000003_keypoints\.json", capsys.readouterr().err)
    with ShardReader(tmp_path / "back.h5") as back:
        assert back.status == {"ok": 2, "no_person": 0, "failed": 1}
        assert "expected OpenPose JSON" in back.clip(back.find("a/one")).detail
    assert run("import", "openpose", tmp_path / "o", tmp_path / "data") == 1
    with DatasetReader(tmp_path / "data") as dataset:
        assert dataset.clip(dataset.find("a/one")).status == "failed"


def test_clips_that_do_not_fit_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for name, joints in (("a", 17), ("b", 26), ("c", 17)):
        result = [{"image_id": 0, "keypoints": [5.0, 6.0, 0.5] * joints}]
        (tmp_path / "in" / f"{name}.json").write_text(json.dumps(result))
    assert run("import", "coco", tmp_path / "in", tmp_path / "in", tmp_path / "out.h5") == 1
    said = capsys.readouterr().err
    assert "failed: b: clip 'b': expected the sequence with joint set coco17, got halpe26" in said
    assert said.count("another clip has this name") == 3
    with ShardReader(tmp_path / "out.h5") as back:
        assert back.video_ids == ["a", "b", "c"] and back.status["ok"] == 2


def test_existing_outputs(shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"pyskl": tmp_path / "x.pkl", "coco": tmp_path / "x"}
    for form, there in outputs.items():
        run("export", shard, form, there)
        assert fails(monkeypatch, "export", shard, form, there) == 2
        assert fails(monkeypatch, "export", shard, form, there, "--split", "nosuch", "--overwrite") == 2
        assert run("export", shard, form, there, "--split", "val", "--overwrite") == 0
    assert sorted(p.name for p in outputs["coco"].iterdir()) == ["clips.csv", "two.json"]
    for there in (tmp_path / "back.h5", tmp_path / "back"):
        run("import", "pyskl", outputs["pyskl"], there)
        assert fails(monkeypatch, "import", "pyskl", outputs["pyskl"], there) == 2
        assert run("import", "pyskl", outputs["pyskl"], there, "--overwrite") == 0
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("x")
    assert fails(monkeypatch, "export", shard, "coco", precious, "--overwrite") == 2
    assert fails(monkeypatch, "import", "pyskl", outputs["pyskl"], precious, "--overwrite") == 2
    assert (precious / "thesis.tex").read_text() == "x"
    assert fails(monkeypatch, "export", shard, "coco", tmp_path / "no" / "such") == 3
    assert not list(tmp_path.glob(".skelkit*"))


def test_wrong_calls(shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch RAN'\ntR.")
    (tmp_path / "nobody.json").write_text("[]")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for arguments in (
        ("import", "pyskl", tmp_path / "evil.pkl", tmp_path / "out.h5"),
        ("import", "pysk", tmp_path / "evil.pkl", tmp_path / "out.h5"),
        ("import", "coco", tmp_path / "empty", tmp_path / "out.h5"),
        ("import", "coco", shard, tmp_path / "out.h5", "--image-size", "big"),
        ("import", "coco", shard, tmp_path / "out.h5", "--fps", 0),
        ("import", "coco", shard, tmp_path / "out.h5", "--joints", "coco"),
        ("import", "coco", shard, tmp_path / "out.h5", "--dimensions", 4),
        ("import", "coco", shard, tmp_path / "out.h5"),  # every clip fails
        ("import", "coco", tmp_path / "nobody.json", tmp_path / "out.h5", "--split", "a", "--split", "b"),
        ("export", shard, "ntu", tmp_path / "out"),
        ("export", shard, "kinetics-skeleton", tmp_path / "out", "--joints", "lcr13"),
        ("export", shard, "unik", tmp_path / "out", "--frames", 0),
        ("export", tmp_path / "none.h5", "unik", tmp_path / "out"),
    ):
        assert fails(monkeypatch, *arguments) == 2, arguments
    assert not (tmp_path / "out.h5").exists() and not (tmp_path / "out").exists()
    assert not list(Path().iterdir())


def test_the_help_names_every_format() -> None:
    assert [name for name in FORMATS.names() if name not in FORMAT_NAMES] == []


def test_the_pack_as_shards(pack: Path, tmp_path: Path) -> None:
    three = tmp_path / "watchtv.h5"
    assert run("import", "ssta-npz", pack / "ssta-watchtv", three, "--image-size", "640x480") == 0
    with ShardReader(three) as back:
        assert back.status["ok"] == 3 and back[0].image_size == (480, 640)
    assert run("import", "jhmdb", pack / "jhmdb", tmp_path / "jhmdb") == 0
    with DatasetReader(tmp_path / "jhmdb") as dataset:
        assert dataset.info.splits == {"test": 176, "train": 433} and len(dataset.info.label_names) == 14
