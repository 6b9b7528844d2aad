from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skelkit.data.ssta_npz import read_ssta_npz, write_ssta_npz
from skelkit.errors import InputError, OutputError


@given(st.integers(0, 5), st.integers(1, 17), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_what_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, frames: int, joints: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(1, 900, (frames, joints, 2)).astype(np.float32)
    keypoints[rng.random((frames, joints)) < 0.3] = np.nan
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write_ssta_npz(path, keypoints)
    np.testing.assert_array_equal(read_ssta_npz(path), keypoints)
    np.testing.assert_array_equal(read_ssta_npz(path, zero_is_missing=False), np.nan_to_num(keypoints))
    assert np.load(path)["kpts"].dtype == np.float32
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]


def test_half_a_zero_is_a_place(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", kpts=np.float32([[[0, 5], [0, 0]]]))
    got = read_ssta_npz(tmp_path / "a.npz")
    assert got[0, 0].tolist() == [0, 5] and np.isnan(got[0, 1]).all()


def test_real_files(pack: Path) -> None:
    got = read_ssta_npz(pack / "ssta-watchtv" / "WatchTV_p02_r03_v05_c05_OP2d.npz")
    assert got.shape == (1380, 17, 2)
    assert np.isnan(got[:, 16, 0]).sum() == 1380 and np.isnan(got[:, 5, 0]).sum() == 4


def test_refuses_other_files(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros((3, 17, 2)))
    np.savez(tmp_path / "key.npz", other=np.zeros((3, 17, 2)))
    np.savez(tmp_path / "shape.npz", kpts=np.zeros((17, 2)))
    np.savez(tmp_path / "pickle.npz", kpts=np.asarray([{}], object))
    for name in ("text.npz", "empty.npz", "array.npy", "key.npz", "shape.npz", "pickle.npz", "none.npz"):
        with pytest.raises(InputError, match="expected"):
            read_ssta_npz(tmp_path / name)
    with pytest.raises(OutputError, match="cannot be written"):
        write_ssta_npz(tmp_path / "no" / "a.npz", np.zeros((1, 17, 2), np.float32))
