"""Damaged and nonsensical files of every format: typed errors only, nothing run, nothing huge."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_samples import clip_of, export, jhmdb_file, load, read, skeleton_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skelkit.data import ShardWriter
from skelkit.data.formats import FORMATS, files
from skelkit.data.formats.base import Item, ReadOptions
from skelkit.errors import InputError, SkelkitError
from skelkit.skeletons import COCO17

SAMPLES = FORMATS.names()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[tuple[Path, bytes]]]]:
    """A whole sample of every format: what to read, and its files with their content."""
    made = {}
    for name in SAMPLES:
        folder = tmp_path_factory.mktemp(name)
        if name == "ntu":
            path = skeleton_file(folder / "S001C001P001R001A001.skeleton", [[1], [1, 2]])
        elif name == "jhmdb":
            path = jhmdb_file(folder / "gt_test_1.npz")
        else:
            skeleton = (load(name).joints or (COCO17,))[0]
            path = export(name, [clip_of("a", skeleton=skeleton, frames=3, people=1)], folder)
        found = sorted(p for p in folder.rglob("*") if p.is_file())
        made[name] = path, [(p, p.read_bytes()) for p in found]
        assert all(tracks is not None for _, tracks in read(name, path))
    return made


def consume(name: str, path: Path, folder: Path) -> None:
    """Read, and store what comes; errors of ours only."""
    options = ReadOptions(image_size=(100, 200), fps=25.0)
    with contextlib.suppress(SkelkitError):
        for clip, tracks in load(name).read([path], options):
            assert (tracks is None) == (clip.status == "failed")
            if tracks is not None:
                header: dict[str, Any] = {
                    "dimensions": tracks.keypoints.shape[-1],
                    "coordinate_unit": "m" if tracks.keypoints.shape[-1] == 3 else "px",
                }
                with ShardWriter(folder / "x.h5", skeleton=tracks.skeleton, recipe={}, **header) as shard:
                    shard.write(tracks, clip=clip)


BOUNDED = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.data())
@BOUNDED
def test_flipped_bytes_and_truncation(
    tmp_path: Path, samples: dict[str, tuple[Path, list[tuple[Path, bytes]]]], name: str, data: st.DataObject
) -> None:
    path, contents = samples[name]
    victim, whole = data.draw(st.sampled_from(contents))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 6))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(whole)))]
    try:
        victim.write_bytes(damaged)
        consume(name, path, tmp_path)
    finally:
        victim.write_bytes(whole)


WORDS = (
    "frames data people label label_index skeleton pose score frame_index pose2d keypoints image_id track_id "
    "person_id pose_keypoints_2d instances keypoint_scores category_id idx frame_id instance_info"
)
KEYS = st.sampled_from(WORDS.split())
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([[1.0] * 26, [1.0] * 51, [1e300] * 54, [[1, 2]] * 17, [0.5] * 17, 2**31, -1, ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@pytest.mark.parametrize("name", ["coco", "kinetics-skeleton", "openpose", "posetics-json"])
@given(value=VALUES)
@BOUNDED
def test_json_of_any_shape(tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "a_000000000001_keypoints.json"
    path.write_text(json.dumps(value))
    consume(name, path, tmp_path)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in nested lists and dicts."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, part in inner for place in _places(part, (*at, key)))]


def _replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    copy = value.copy()
    copy[at[0]] = _replaced(value[at[0]], at[1:], new)
    return copy


@pytest.mark.parametrize("name", ["coco", "kinetics-skeleton", "openpose", "posetics-json"])
@given(data=st.data())
@BOUNDED
def test_json_with_one_thing_wrong(
    tmp_path: Path, samples: dict[str, tuple[Path, list[tuple[Path, bytes]]]], name: str, data: st.DataObject
) -> None:
    _, contents = samples[name]
    content = json.loads(next(text for p, text in contents if p.suffix == ".json" and "label" not in p.name))
    at = data.draw(st.sampled_from(_places(content)))
    path = tmp_path / "a_000000000001_keypoints.json"
    path.write_text(json.dumps(_replaced(content, at, data.draw(VALUES))))
    consume(name, path, tmp_path)


ARRAYS = [np.zeros((1, 2, 17, 2), np.float32), np.zeros((0, 9, 17, 2)), np.ones(3), np.int64(3)]
PICKLED = st.recursive(
    st.none()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.sampled_from(ARRAYS),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=4,
)


@given(data=st.data())
@BOUNDED
def test_pickles_with_one_thing_wrong(
    tmp_path: Path, samples: dict[str, tuple[Path, list[tuple[Path, bytes]]]], data: st.DataObject
) -> None:
    _, contents = samples["pyskl"]
    content = pickle.loads(next(text for p, text in contents if p.suffix == ".pkl"))
    at = data.draw(st.sampled_from(_places(content)))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(_replaced(content, at, data.draw(PICKLED))))
    consume("pyskl", tmp_path / "a.pkl", tmp_path)


@given(content=PICKLED, shape=st.lists(st.integers(0, 3), min_size=1, max_size=6))
@BOUNDED
def test_unik_with_any_labels(tmp_path: Path, content: Any, shape: list[int]) -> None:
    np.save(tmp_path / "train_data_joint.npy", np.ones(shape, np.float32))
    (tmp_path / "train_label.pkl").write_bytes(pickle.dumps(content))
    consume("unik", tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["coco", "openpose", "posetics-json", "unik", "ssta-npz"])
@given(text=st.text(max_size=80))
@BOUNDED
def test_any_table_of_clips(
    tmp_path: Path, samples: dict[str, tuple[Path, list[tuple[Path, bytes]]]], name: str, text: str
) -> None:
    path, contents = samples[name]
    table, whole = next((p, text) for p, text in contents if p.name == "clips.csv")
    try:
        table.write_text(
            whole.decode().replace("640", text, 1).replace("train", text), "utf-8", "surrogatepass"
        )
        consume(name, path, tmp_path)
    finally:
        table.write_bytes(whole)


def failure(items: list[Item]) -> str:
    ((clip, tracks),) = items
    assert tracks is None
    return clip.detail


def test_json_nested_deep(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 200_000)
    assert "RecursionError" in failure(read("coco", tmp_path / "a.json"))


def test_json_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 10)
    (tmp_path / "a.json").write_text("[" + " " * 20 + "]")
    assert "at most 10 are read" in failure(read("coco", tmp_path / "a.json"))


def npz(path: Path, header: bytes, content: bytes) -> Path:
    """An npz file with one array, made by hand."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kpts.npy", header + content)
    return path


def npy_header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()


@pytest.mark.parametrize(
    ("header", "content"),
    [
        (npy_header((10**12, 17, 2)), b"\0" * 64),  # a huge array that is not there
        (npy_header((2**62, 2**62, 2)), b"\0" * 64),
        (npy_header((-1, 17, 2)), b"\0" * 17 * 8),
        (npy_header((2,), "|O"), pickle.dumps([1, 2])),
        (npy_header((0, 17, 2), "<f4,<f4"), b""),
        (npy_header((1, 17, 2), "<c8"), b"\0" * 17 * 16),
        (b"\x93NUMPY\x01\x00" + struct.pack("<H", 20) + b"__import__('os')    ", b""),
        (b"\x93NUMPY\x01\x00" + struct.pack("<H", 60_000) + b"(" * 60_000, b""),
        (b"\x93NUMPY\x07\x00", b""),
    ],
)
def test_arrays_that_are_not_what_they_say(tmp_path: Path, header: bytes, content: bytes) -> None:
    assert "SST-A" in failure(read("ssta-npz", npz(tmp_path / "a.npz", header, content)))
    with pytest.raises(InputError):
        files.read_npz(tmp_path / "a.npz", ("kpts",), "an array")


def test_a_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_ARRAY_BYTES", 10_000)
    path = npz(tmp_path / "a.npz", npy_header((10_000, 17, 2)), b"\0" * 10_000 * 17 * 8)
    assert path.stat().st_size < 10_000
    assert "at most 10000 are read" in failure(read("ssta-npz", path))


def test_an_array_longer_than_its_file_is_not_mapped(tmp_path: Path) -> None:
    (tmp_path / "train_data_joint.npy").write_bytes(npy_header((10**9, 2, 300, 17, 2)) + b"\0" * 100)
    (tmp_path / "train_label.pkl").write_bytes(pickle.dumps((["a"], [0])))
    with pytest.raises(InputError, match="UNIK array"):
        read("unik", tmp_path)


def test_ntu_that_promises_frames_without_end(tmp_path: Path) -> None:
    (tmp_path / "a.skeleton").write_text(f"{10**15}\n" + "0\n" * 5)
    assert "skeleton" in failure(read("ntu", tmp_path / "a.skeleton"))
