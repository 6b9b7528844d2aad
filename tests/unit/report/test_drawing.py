from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from people import PAIR

from skelkit.report import PeoplePainter
from skelkit.report.palette import LEFT, MIDDLE, RIGHT, colour_of
from skelkit.skeletons import COCO17, SKELETONS

NOSE, LEFT_HAND, RIGHT_HAND = (200.0, 120.0), (300.0, 200.0), (100.0, 200.0)


def draw(
    keypoints: object, score: float = 1.0, size: tuple[int, int] = (400, 400), level: int = 90
) -> np.ndarray:
    image = np.full((*size, 3), level, np.uint8)
    points = np.asarray(keypoints, np.float32)
    people = len(points)
    PeoplePainter(PAIR).draw(
        image,
        points,
        np.full(points.shape[:2], score, np.float32),
        np.full(people, np.nan, np.float32),
        np.arange(people),
    )
    return image


def at(image: np.ndarray, point: tuple[float, float]) -> np.ndarray:
    return image[round(point[1]), round(point[0])].astype(int)


def test_joints_and_bones_have_the_colour_of_their_side() -> None:
    image = draw([[NOSE, LEFT_HAND, RIGHT_HAND]])
    for point, colour in ((NOSE, MIDDLE), (LEFT_HAND, LEFT), (RIGHT_HAND, RIGHT)):
        assert np.abs(at(image, point) - colour).max() <= 2
    assert np.abs(at(image, (250, 160)) - LEFT).max() <= 30  # one pixel wide: not all of it is full
    assert np.abs(at(image, (150, 160)) - RIGHT).max() <= 30


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_every_joint_set_can_be_drawn(skeleton) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 180, (1, skeleton.num_joints, 2)).astype(np.float32)
    image = np.zeros((200, 200, 3), np.uint8)
    PeoplePainter(skeleton).draw(
        image, points, np.ones(points.shape[:2], np.float32), np.ones(1, np.float32), np.array([7])
    )
    for colour in (LEFT, RIGHT):
        assert (np.abs(image.astype(int) - colour).max(-1) <= 2).sum() > 20


def test_a_missing_joint_is_not_drawn_nor_its_bones() -> None:
    whole = draw([[NOSE, LEFT_HAND, RIGHT_HAND]])
    partial = draw([[NOSE, (np.nan, np.nan), RIGHT_HAND]])
    assert (at(partial, LEFT_HAND) == 90).all()
    assert (at(partial, (250, 160)) == 90).all()
    assert (at(partial, (150, 160)) == at(whole, (150, 160))).all()


def test_nobody_leaves_the_picture_as_it_is() -> None:
    assert (draw(np.full((2, 3, 2), np.nan)) == 90).all()
    assert (draw(np.zeros((0, 3, 2))) == 90).all()


def test_the_surer_the_joint_the_stronger_its_colour() -> None:
    off = [
        int(np.abs(at(draw([[NOSE, LEFT_HAND, RIGHT_HAND]], s), LEFT_HAND) - 90).max()) for s in (0, 0.2, 1)
    ]
    assert 0 < off[0] < off[1] / 2 < off[2] / 3


def test_a_doubtful_bone_does_not_cover_a_sure_one() -> None:
    def bone(right_hand: tuple[float, float]) -> np.ndarray:
        image = np.zeros((200, 200, 3), np.uint8)
        points = np.array([[(20, 100), (180, 100), right_hand]], np.float32)
        scores = np.array([[1.0, 1.0, 0.0]], np.float32)
        PeoplePainter(PAIR).draw(image, points, scores, np.ones(1, np.float32), np.zeros(1, np.int64))
        return image[100, 50:80].astype(int)  # the middle of the line; its margins are mixtures

    assert np.abs(bone((100, 100)) - bone((np.nan, np.nan))).max() <= 10


def test_lines_grow_with_the_picture_and_stay_thin_on_small_people() -> None:
    def coloured_share(size: int, person: float) -> float:
        points = np.array([[(0.5, 0.3), (0.5 + person, 0.3 + person), (0.5, 0.3 + person)]]) * size
        image = draw(points, size=(size, size))
        blue = np.abs(image.astype(int) - LEFT).max(-1) <= 40
        return blue.sum() / (size * person * 2**0.5)  # a line's area by its length: its width

    widths = [coloured_share(size, 0.4) for size in (270, 540, 1080)]
    assert widths == pytest.approx([1, 2, 4], rel=0.35)
    assert coloured_share(1080, 0.08) < 0.6 * widths[2]


def test_the_label_stands_above_the_head_in_the_colour_of_its_person() -> None:
    image = draw([[NOSE, LEFT_HAND, RIGHT_HAND]])
    rows, columns = np.nonzero((image == colour_of(0)).all(-1))
    assert rows.max() < NOSE[1]
    assert NOSE[1] - rows.max() < 30
    assert abs(columns.mean() - NOSE[0]) < 5


def test_the_confidence_is_written_where_there_is_room() -> None:
    def label_width(confidence: float, scale: float) -> int:
        image = np.zeros((400, 400, 3), np.uint8)
        points = np.array([[NOSE, LEFT_HAND, RIGHT_HAND]], np.float32) * np.float32(scale)
        scores, certainty = np.ones((1, 3), np.float32), np.array([confidence], np.float32)
        PeoplePainter(PAIR).draw(image, points, scores, certainty, np.array([5]))
        return int(np.ptp(np.nonzero((image == colour_of(5)).all(-1))[1]))

    assert label_width(0.5, 1) > 1.7 * label_width(np.nan, 1)
    assert label_width(0.5, 0.1) == label_width(np.nan, 0.1)


def test_a_persons_colour_is_stable_and_differs_from_its_neighbours() -> None:
    assert colour_of(3) == colour_of(3)
    colours = np.array([colour_of(i) for i in range(5)])
    apart = np.abs(colours[:, None] - colours[None]).max(-1)
    assert apart[~np.eye(5, dtype=bool)].min() > 30
    assert all(0 <= c <= 255 for i in (-1, 10**12) for c in colour_of(i))


@settings(max_examples=60, deadline=None)
@given(
    keypoints=hnp.arrays(
        np.float32, (2, 17, 2), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)
    ),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_any_joints_on_any_picture_draw_without_a_failure(
    keypoints: np.ndarray, size: tuple[int, int]
) -> None:
    image = np.zeros((*size, 3), np.uint8)
    PeoplePainter(COCO17).draw(
        image, keypoints, np.ones((2, 17), np.float32), np.ones(2, np.float32), np.array([-1, 2**62])
    )
    assert image.shape == (*size, 3)
