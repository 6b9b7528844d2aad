import numpy as np
import pytest

from skelkit.skeletons import COCO17, LCR13, NTU25, POSETICS17, POSETICS25, SKELETONS, recipe, remap


@pytest.mark.parametrize("source", SKELETONS.values(), ids=lambda s: s.name)
def test_every_joint_set_becomes_posetics_and_weights_add_up_to_one(source) -> None:
    for target in (LCR13, POSETICS17, POSETICS25):
        for joint in target.joints:
            weights = recipe(joint, source)
            assert weights is not None, (joint, source.name)
            assert sum(weights.values()) == pytest.approx(1)


def test_posetics25_is_posetics17_and_eight_joints_of_ntu() -> None:
    assert POSETICS25.joints[:17] == POSETICS17.joints
    extra = POSETICS25.joints[17:]
    assert len(extra) == 8 and set(extra) < set(NTU25.joints)


def test_hands_and_feet_lie_beyond_the_limb_and_vanish_with_it() -> None:
    pose = np.random.default_rng(0).normal(0, 100, (1, 17, 2)).astype(np.float32)
    pose[:, COCO17.index("right_elbow")] = np.nan
    got, scores = remap(pose, np.ones((1, 17), np.float32), COCO17, NTU25)
    at = dict(zip(NTU25.joints, got[0], strict=True))
    forearm = at["left_wrist"] - at["left_elbow"]
    np.testing.assert_allclose(at["left_hand_tip"], at["left_wrist"] + 0.74 * forearm, rtol=1e-4)
    assert np.isnan(at["right_hand"]).all() and np.isfinite(at["right_wrist"]).all()
    assert scores[0, NTU25.index("right_thumb")] == 0
