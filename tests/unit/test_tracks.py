"""Rows and dense arrays are the same people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelkit.errors import ConfigError
from skelkit.skeletons import COCO17
from skelkit.structures import SkeletonSequence, Tracks


def people(seed: int, m: int, t: int, c: int = 2) -> SkeletonSequence:
    """Joints and whole people missing here and there, as a tracker gives them."""
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0, 500, (m, t, 17, c)).astype(np.float32)
    keypoints[rng.random((m, t, 17)) < 0.3] = np.nan
    keypoints[rng.random((m, t)) < 0.5] = np.nan
    found = np.isfinite(keypoints).all(axis=-1)
    confidence = rng.random((m, t)).astype(np.float32)
    return SkeletonSequence(
        skeleton=COCO17,
        keypoints=keypoints,
        scores=np.where(found, rng.random((m, t, 17)), 0).astype(np.float32),
        confidence=np.where(found.any(axis=-1), confidence, np.float32(np.nan)),
        track_ids=rng.permutation(m) * 3,
        frame_indices=np.cumsum(rng.integers(1, 4, t)),
        pts_s=np.cumsum(rng.random(t)),
        video_id="clip",
        fps=25.0,
        image_size=(480, 640),
        sources=("a", "b"),
        label="waving",
    )


def assert_equal(one: SkeletonSequence, other: SkeletonSequence) -> None:
    for name in SkeletonSequence.__dataclass_fields__:
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            assert a == b, name


@given(
    seed=st.integers(0, 99),
    m=st.integers(0, 4),
    t=st.integers(0, 9),
    c=st.sampled_from([2, 3]),
    data=st.data(),
)
def test_there_and_back_whole_and_in_windows(seed: int, m: int, t: int, c: int, data: st.DataObject) -> None:
    dense = people(seed, m, t, c)
    tracks = Tracks.of(dense)
    assert len(tracks) == dense.present().sum()
    assert (tracks.num_people, tracks.num_frames) == (m, t)
    assert Tracks.of(tracks) is tracks
    assert_equal(tracks.to_sequence(), dense)
    start, stop = data.draw(st.integers(0, t)), data.draw(st.integers(0, t + 3))
    part = replace(
        dense,
        keypoints=dense.keypoints[:, start:stop],
        scores=dense.scores[:, start:stop],
        confidence=dense.confidence[:, start:stop],
        frame_indices=dense.frame_indices[start:stop],
        pts_s=dense.pts_s[start:stop],
    )
    assert_equal(tracks.window(start, stop), part)


def test_rows_that_cannot_be_are_refused() -> None:
    tracks = Tracks.of(people(1, 3, 20))
    nothing = tracks.keypoints.copy()
    nothing[4] = np.nan
    for changes, words in (
        ({"step": tracks.step[::-1].copy()}, "order of time"),
        ({"step": tracks.step + 1}, "0 to 19"),
        ({"person": tracks.person - 1}, "0 to 2"),
        ({"person": np.zeros_like(tracks.person)}, "once in a time step"),
        ({"keypoints": nothing}, "at least one joint"),
        ({"keypoints": tracks.keypoints[..., :1]}, "2 or 3"),
        ({"scores": tracks.scores[1:]}, "scores"),
        ({"track_ids": np.array([4, 5, 4])}, "unique"),
        ({"frame_indices": tracks.frame_indices[::-1].copy()}, "ascending"),
        ({"pts_s": tracks.pts_s[1:]}, "pts_s"),
    ):
        with pytest.raises(ConfigError, match=words):
            replace(tracks, **changes)
