from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skelkit.errors import ConfigError
from skelkit.geometry import box_iou, extents, joint_sigmas, oks_kernel, oks_sums
from skelkit.skeletons import COCO17, SKELETONS

boxes = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 5), st.just(4)), elements=st.floats(-100, 100, width=32)
)


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 2, 2], [5, 5, 5, 5]], np.float32)
    b = np.array([[1, 0, 3, 2], [0, 0, 2, 2], [np.nan] * 4], np.float32)
    assert np.allclose(box_iou(a, b), [[1 / 3, 1, 0], [0, 0, 0]])


@given(boxes, boxes)
def test_iou_is_symmetric_and_in_range(a: np.ndarray, b: np.ndarray) -> None:
    iou = box_iou(a, b)
    assert iou.shape == (len(a), len(b))
    assert np.array_equal(iou, box_iou(b, a).T)
    assert np.all((iou >= 0) & (iou <= 1 + 1e-12))


def test_extents_leave_missing_joints_out() -> None:
    pose = np.array([[[1, 5], [np.nan, np.nan], [3, 2]], [[np.nan, np.nan]] * 3], np.float32)
    found = extents(pose)
    assert found.dtype == np.float32
    assert np.array_equal(found[0], [1, 2, 3, 5])
    assert np.isnan(found[1]).all()
    assert extents(np.zeros((0, 3, 2), np.float32)).shape == (0, 4)


def test_every_joint_set_has_sigmas_and_coco_its_own() -> None:
    for skeleton in SKELETONS.values():
        assert joint_sigmas(skeleton).shape == (skeleton.num_joints,)
    published = [0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062]
    published += [0.107, 0.107, 0.087, 0.087, 0.089, 0.089]
    assert joint_sigmas(COCO17).tolist() == published
    with pytest.raises(ConfigError, match="tail"):
        joint_sigmas(("nose", "tail"))


def test_kernel_is_cocos() -> None:
    # pycocotools: vars = (2 sigma)^2; e = d^2 / vars / area / 2; exp(-e)
    got = oks_kernel(np.array([[9.0, np.nan]]), np.array([400.0]), np.array([0.079, 0.079]))
    assert np.allclose(got, [[np.exp(-9 / (2 * 0.079) ** 2 / 400 / 2), 0]])


def test_sums_count_only_shared_joints() -> None:
    a = np.zeros((1, 3, 2), np.float32)
    b = np.zeros((2, 3, 2), np.float32)
    b[1, 2] = np.nan
    sums, shared = oks_sums(a, b, np.array([1.0, 1.0]), np.full(3, 0.1))
    assert sums.tolist() == [[3, 2]]
    assert shared.tolist() == [[3, 2]]
