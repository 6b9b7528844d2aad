from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_facts import moving_clip
from people import sequence_of

from skelkit.report.strips import HEIGHT, WIDTH, draw_strip
from skelkit.skeletons import COCO17
from skelkit.structures import SkeletonSequence


def lines(svg: str) -> dict[str, np.ndarray]:
    """Class -> (lines, 4)."""
    found = re.findall(r'<path class="([^"]*)" d="([^"]*)"', svg)
    return {
        name: np.array([[float(n) for n in re.findall(r"-?[\d.]+", line)] for line in path.split("M")[1:]])
        for name, path in found
    }


def test_sides_have_their_classes_and_all_frames_one_scale() -> None:
    strip = draw_strip(moving_clip())
    found = lines(strip.svg)
    assert set(found) == {"b l", "b r", "j l", "j r", "j m"}
    left = found["b l"]
    lengths = np.hypot(left[:, 2] - left[:, 0], left[:, 3] - left[:, 1])
    assert np.ptp(lengths) < 0.3 and lengths.min() > HEIGHT / 3
    assert len(left) == strip.svg.count("<text") == strip.alt.count(" s,") + 1
    assert (np.diff(left[:, 0]) > 0).all()


def test_doubtful_bones_are_faint() -> None:
    clip = moving_clip(scores=np.tile(np.float32([0.9, 0.1, 0.9]), (1, 12, 1)))
    assert {name for name in lines(draw_strip(clip).svg) if name.endswith(" f")} == {"b l f", "j l f"}


def test_frames_follow_who_walks_through_the_picture() -> None:
    clip = moving_clip()
    points = clip.keypoints.copy()
    points[..., 0] += np.arange(12)[None, :, None] * 200
    walking = sequence_of(points, image_size=clip.image_size)
    one, other = (lines(draw_strip(c).svg)["b l"] for c in (clip, walking))
    tall = [np.abs(found[:, 3] - found[:, 1]).mean() for found in (one, other)]
    assert tall[1] > 0.9 * tall[0]


def test_a_stray_joint_does_not_make_people_tiny() -> None:
    clip = moving_clip(people=2, steps=40)
    points = clip.keypoints.copy()
    points[1, 7, 2] = 9000
    stray = sequence_of(points, image_size=clip.image_size)
    one, other = (lines(draw_strip(c).svg)["b l"] for c in (clip, stray))
    assert np.ptp(other[:, 1::2]) > 0.7 * np.ptp(one[:, 1::2])


def test_in_space_heads_are_up() -> None:
    joints = np.zeros((1, 2, 17, 3), np.float32)
    joints[0, :, :, 0] = np.linspace(-0.3, 0.3, 17)
    joints[0, :, :5, 1] = 1.7  # metres, y upwards
    joints[0, :, 5:13, 1] = 1.0
    times = np.arange(2)
    clip = SkeletonSequence(
        skeleton=COCO17,
        keypoints=joints,
        scores=np.ones((1, 2, 17), np.float32),
        confidence=np.ones((1, 2), np.float32),
        track_ids=np.array([1]),
        frame_indices=times,
        pts_s=times / 25,
        video_id="space",
        fps=25.0,
        image_size=(0, 0),
        sources=(),
    )
    heads, all_joints = (lines(draw_strip(clip).svg)[name][:, 1] for name in ("j m", "j l"))
    assert heads.max() < all_joints.max() - HEIGHT / 2  # the nose is the one joint in the middle


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 30), st.just(3), st.just(2)),
        elements=st.one_of(st.floats(-9000, 9000, width=32), st.just(np.float32(np.nan))),
    )
)
def test_anything_with_a_pose_is_drawn_within_the_picture(points: np.ndarray) -> None:
    points[0, 0, 0] = 5
    svg = draw_strip(sequence_of(points, image_size=(100, 100))).svg
    assert "nan" not in svg and "inf" not in svg
    for found in lines(svg).values():
        assert found[:, ::2].min() >= -1 and found[:, ::2].max() <= WIDTH + 1
        assert found[:, 1::2].min() >= -1 and found[:, 1::2].max() <= HEIGHT + 1


def test_a_frame_of_far_joints_only_is_drawn_as_it_is() -> None:
    points = np.full((1, 40, 3, 2), 5, np.float32)
    points[0, :, 2] = 6
    points[0, 20] = [[-9000, 0], [9000, 0], [np.nan, 0]]
    assert "nan" not in draw_strip(sequence_of(points, image_size=(100, 100))).svg
