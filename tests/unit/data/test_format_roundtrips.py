"""What is written in a format comes back: places, missing joints, scores, names, labels, splits, sizes."""

from __future__ import annotations

import csv
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from format_samples import LABELS, clip_of, export, good, load, read, same_facts
from hypothesis import given, settings
from hypothesis import strategies as st

from skelkit.data.formats import FORMATS
from skelkit.data.formats.base import WriteOptions
from skelkit.data.formats.naming import safe_path
from skelkit.errors import OutputError
from skelkit.skeletons import COCO17, LCR13, NTU25, OPENPOSE18, OPENPOSE25, POSETICS17
from skelkit.structures import Skeleton

Row = tuple[str, Skeleton, int, float, bool, bool]
ROWS: list[Row] = [
    # format, joints, dimensions, error in pixels (or metres), whether scores and identities survive
    ("pyskl", COCO17, 2, 0, True, False),
    ("pyskl", NTU25, 3, 0, True, False),
    ("posetics-json", LCR13, 2, 0.002, False, True),
    ("posetics-json", LCR13, 3, 0.002, False, True),
    ("unik", POSETICS17, 2, 0.001, False, False),
    ("unik", NTU25, 3, 1e-6, False, False),
    ("kinetics-skeleton", OPENPOSE18, 2, 0.001, True, True),
    ("openpose", OPENPOSE18, 2, 0.001, True, True),
    ("openpose", OPENPOSE25, 2, 0.001, True, True),
    ("coco", COCO17, 2, 0.001, True, True),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1].name}-{row[2]}d")
@given(seed=st.integers(0, 2**32 - 1), people=st.integers(1, 2))
@settings(deadline=None, max_examples=4)
def test_roundtrip(
    tmp_path_factory: pytest.TempPathFactory,
    row: Row,
    seed: int,
    people: int,
) -> None:
    name, skeleton, dimensions, error, scored, named = row
    folder = tmp_path_factory.mktemp("formats")
    form = {"skeleton": skeleton, "dimensions": dimensions, "people": people}
    clips = [
        clip_of("b/S001 (2)", seed=seed, split="train", **form),
        clip_of("a", seed=seed + 1, split="val", frames=7, size=(1080, 1920), label=0, **form),
    ]
    path = export(name, clips, folder)
    back = {clip.video_id: (clip, seq) for clip, seq in good(read(name, path, dimensions=dimensions))}
    assert set(back) == {"a", "b/S001 (2)"}
    for clip, tracks in clips:
        got, sequence = back[clip.video_id]
        want = tracks.to_sequence()
        if name == "coco":  # frames without people are not in it
            want = want.__class__(**_frames_of(want, sequence.frame_indices))
        same_facts(got, replace(clip, num_frames=want.num_frames))
        assert sequence.skeleton == skeleton and sequence.image_size == want.image_size
        np.testing.assert_array_equal(np.isnan(sequence.keypoints), np.isnan(want.keypoints))
        np.testing.assert_allclose(sequence.keypoints, want.keypoints, atol=error)
        if named:
            np.testing.assert_array_equal(sequence.track_ids, want.track_ids)
        seen = np.isfinite(want.keypoints[..., 0])
        wanted = want.scores if scored else seen.astype(np.float32)
        np.testing.assert_allclose(sequence.scores, wanted, atol=1 / 512)
        assert (sequence.scores[seen] > 0).all()


def _frames_of(sequence: object, frames: np.ndarray) -> dict[str, object]:
    values = {name: getattr(sequence, name) for name in sequence.__slots__}  # type: ignore[attr-defined]
    values |= {name: values[name][:, frames] for name in ("keypoints", "scores", "confidence")}
    return values | {name: values[name][frames] for name in ("frame_indices", "pts_s")}


def test_every_format_that_writes_is_tested() -> None:
    writable = {name for name in FORMATS.names() if load(name).write is not None}
    assert writable == {row[0] for row in ROWS} | {"ssta-npz"}


def test_ssta_files_hold_one_person_each(tmp_path: Path) -> None:
    clips = [clip_of("one", people=1), clip_of("two", seed=5, size=(240, 320))]
    path = export("ssta-npz", clips, tmp_path)
    back = {clip.video_id: (clip, seq) for clip, seq in good(read("ssta-npz", path))}
    assert sorted(back) == ["one", "two-person4", "two-person7"]
    same_facts(back["one"][0], clips[0][0])
    for name, clip, person in (("one", 0, 0), ("two-person4", 1, 0), ("two-person7", 1, 1)):
        want = clips[clip][1].to_sequence().keypoints[person]
        np.testing.assert_allclose(back[name][1].keypoints[0], want, atol=0.001)
        assert back[name][1].image_size == clips[clip][1].image_size


def test_pyskl_is_read_by_plain_pickle(tmp_path: Path) -> None:
    clips = [clip_of("a"), clip_of("b", seed=1, split="val"), clip_of("c", seed=2, split="")]
    path = export("pyskl", clips, tmp_path)
    content = pickle.loads(path.read_bytes())
    assert content["split"] == {"train": ["a"], "val": ["b"]}
    first = content["annotations"][0]
    assert first["frame_dir"] == "a" and first["label"] == 1 and type(first["label"]) is int
    assert first["img_shape"] == first["original_shape"] == (480, 640) and first["total_frames"] == 12
    assert first["keypoint"].shape == (2, 12, 17, 2) and first["keypoint"].dtype == np.float32
    assert first["keypoint_score"].shape == (2, 12, 17) and first["keypoint"].flags.writeable
    assert b"numpy._core" not in path.read_bytes()  # numpy 1 does not know that name
    assert (tmp_path / "out.label_map.txt").read_text() == "drink water\nwave, (both) hands\n"
    assert [clip.split for clip, _ in read("pyskl", path)] == ["train", "val", ""]
    assert [clip.video_id for clip, _ in read("pyskl", path, splits=("val",))] == ["b"]


def test_pyskl_as_float16_says_what_it_costs(tmp_path: Path) -> None:
    small, large = clip_of("small"), clip_of("large", size=(1080, 1920))
    options = WriteOptions(label_names=LABELS, half=True)
    form = load("pyskl")
    assert form.write is not None
    assert list(form.write([small], tmp_path / "small.pkl", options)) == []
    (note,) = form.write([small, large], tmp_path / "both.pkl", options)
    assert note.startswith("1 clips reach beyond 1024")
    (_, first), (_, second) = good(read("pyskl", tmp_path / "both.pkl"))
    np.testing.assert_allclose(first.keypoints, small[1].to_sequence().keypoints, atol=0.25)
    np.testing.assert_allclose(second.keypoints, large[1].to_sequence().keypoints, atol=0.5)


def test_unik_arrays_are_what_its_reader_wants(tmp_path: Path) -> None:
    clip, tracks = clip_of("a", skeleton=POSETICS17, people=3, frames=20)
    path = export("unik", [(clip, tracks)], tmp_path, WriteOptions(frames=8, people=2))
    data = np.load(path / "train_data_joint.npy")
    assert data.shape == (1, 2, 8, 17, 2) and data.dtype == np.float32
    names, labels = pickle.loads((path / "train_label.pkl").read_bytes())
    assert names == ["a"] and labels == [1]
    sequence = tracks.to_sequence()
    present = sequence.present().sum(axis=1)
    chosen = sorted(np.argsort(-present, kind="stable")[:2])
    x = sequence.keypoints[chosen[0], :8, :, 0]
    np.testing.assert_allclose(data[0, 0, :, :, 0], np.nan_to_num(x / 640 * 2 - 1), atol=1e-6)
    y = sequence.keypoints[chosen[0], :8, :, 1]
    np.testing.assert_allclose(data[0, 1, :, :, 0], np.nan_to_num(y / 640 * 2 - 480 / 640), atol=1e-6)


def test_unik_grows_in_its_file(tmp_path: Path) -> None:
    clips = [clip_of(f"c{i}", seed=i, skeleton=POSETICS17) for i in range(25)]
    path = export("unik", clips, tmp_path, WriteOptions(frames=12, people=2))
    assert np.load(path / "train_data_joint.npy").shape == (25, 2, 12, 17, 2)


def test_folders_say_in_a_table_what_the_format_has_no_place_for(tmp_path: Path) -> None:
    path = export("posetics-json", [clip_of("a", skeleton=LCR13)], tmp_path)
    (line,) = csv.DictReader((path / "clips.csv").open())
    assert line["file"] == "train/a.json" and line["width"] == "640" and line["split"] == "train"
    table = json.loads((path / "train_label.json").read_text())
    assert table == {"a": {"has_skeleton": True, "label": LABELS[1], "label_index": 1}}
    (path / "clips.csv").unlink()  # as the originals come
    ((clip, _),) = read("posetics-json", path)
    assert (clip.video_id, clip.split, clip.label, clip.label_index) == ("a", "train", LABELS[1], 1)


@pytest.mark.parametrize("name", ["kinetics-skeleton", "openpose", "coco", "posetics-json", "ssta-npz"])
@pytest.mark.parametrize(
    "video_id",
    ["../../up", "/etc/x", "a/../../b", ".hidden", "a\\..\\b", "x" * 400, "a\nb", "\udcff", "a//b"],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str, video_id: str) -> None:
    skeleton = (load(name).joints or (COCO17,))[0]
    dest = export(name, [clip_of(video_id, skeleton=skeleton, people=1, split="../../x")], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [dest.name]
    outside = [p for p in dest.rglob("*") if not p.resolve().is_relative_to(dest.resolve())]
    hidden = [p for p in dest.rglob("*") if p.name.startswith(".") or len(p.name) > 160]
    assert outside == hidden == []
    assert len(good(read(name, dest))) == 1


@given(st.text(min_size=1, max_size=300))
def test_safe_paths_stay_below(video_id: str) -> None:
    safe = safe_path(video_id)
    assert not safe.startswith("/") and safe_path(safe) == safe
    assert all(p and p[0] != "." and len(p.encode()) <= 120 for p in safe.split("/"))


def test_different_names_stay_different() -> None:
    names = ["a?", "a!", "a/b", "a_b", "..", ".", "a/../b", "a\\b"]
    assert len({safe_path(name) for name in names}) == len(names)


def test_clips_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        export("coco", [clip_of("a"), clip_of("a", seed=1)], tmp_path)
