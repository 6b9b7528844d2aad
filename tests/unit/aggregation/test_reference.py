from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelkit.aggregation.reference import like_reference
from skelkit.errors import ConfigError


def by_hand(poses: list[np.ndarray]) -> np.ndarray:
    """The script's rule, joint by joint; of equal distances the later candidate."""
    frames = max(len(p) for p in poses)
    one, two, three = (np.concatenate([p, np.zeros((frames - len(p), 17, 2))]) for p in poses)
    out = np.zeros((frames, 17, 2))
    for t in range(frames - 1):
        for k in range(17):
            a, b, c = one[t, k], two[t, k], three[t, k]
            if t == 0:
                options = [(b - c, b), (b - a, b), (a - c, c)]
            else:
                options = [(p - out[t - 1, k], p) for p in (b, c, a)]
            lengths = [np.sqrt((d**2).sum()) for d, _ in options]
            best = max(i for i, length in enumerate(lengths) if length == min(lengths))
            out[t, k] = options[best][1]
    return out


@given(st.lists(st.integers(0, 6), min_size=3, max_size=3), st.integers(0, 2**32 - 1))
def test_does_what_the_script_does_ties_and_zeros_included(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    poses = [rng.integers(0, 3, (n, 17, 2)).astype(np.float32) for n in lengths]  # ties everywhere
    got, confidence = like_reference(poses)
    np.testing.assert_array_equal(got, by_hand(poses))
    assert len(confidence) == max(lengths)


def test_quirks_on_real_poses(pack: Path) -> None:
    names = ("Alphapose2d", "LCRNet2d", "OP2d")
    files = [pack / "ssta-watchtv" / f"WatchTV_p02_r03_v05_c05_{n}.npz" for n in names]
    poses = [np.load(f)["kpts"] for f in files]
    got, confidence = like_reference(poses)
    np.testing.assert_array_equal(got, by_hand(poses).astype(np.float32))
    assert got.shape == (1380, 17, 2) and (got[-1] == 0).all() and confidence[-1] == 0
    assert ((confidence == 0) | (confidence >= 0.06)).all()


def test_takes_three_experts_only() -> None:
    with pytest.raises(ConfigError, match="exactly three"):
        like_reference([np.zeros((5, 17, 2), np.float32)] * 2)
    with pytest.raises(ConfigError, match="17, 2"):
        like_reference([np.zeros((5, 13, 2), np.float32)] * 3)
