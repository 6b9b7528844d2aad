"""People drawn as Gaussians and fields must come back apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skelkit.experts.cards import AffinityFields, load_card
from skelkit.experts.decode_fields import Peaks, assemble, decode_fields, find_peaks, match_bones
from skelkit.skeletons import OPENPOSE18

_decoder = load_card("tfpose").decoder
assert isinstance(_decoder, AffinityFields)
SPEC = _decoder
HEIGHT, WIDTH, STRIDE = 46, 82, 8
BODY = {  # in units of a body's height, neck at (0, 0.2)
    "nose": (0, 0.1), "neck": (0, 0.2), "right_shoulder": (-0.1, 0.2), "right_elbow": (-0.15, 0.35),
    "right_wrist": (-0.17, 0.5), "left_shoulder": (0.1, 0.2), "left_elbow": (0.15, 0.35),
    "left_wrist": (0.17, 0.5), "right_hip": (-0.07, 0.5), "right_knee": (-0.08, 0.75),
    "right_ankle": (-0.08, 1.0), "left_hip": (0.07, 0.5), "left_knee": (0.08, 0.75),
    "left_ankle": (0.08, 1.0), "right_eye": (-0.035, 0.06), "left_eye": (0.035, 0.06),
    "right_ear": (-0.075, 0.08), "left_ear": (0.075, 0.08),
}  # fmt: skip


def person(x: float, y: float, height: float, turn: float = 0.0) -> np.ndarray:
    """(18, 2) joints in cells; the top at (x, y)."""
    body = np.asarray([BODY[j] for j in OPENPOSE18.joints]) * height
    c, s = np.cos(turn), np.sin(turn)
    return body @ np.asarray([[c, s], [-s, c]]) + [x, y]


def draw(people: list[np.ndarray], sigma: float = 0.8, width: float = 1.0) -> np.ndarray:
    """(57, h, w): heatmaps of height 0.9 and unit fields on the bones, as OpenPose is trained on."""
    maps = np.zeros((57, HEIGHT, WIDTH), np.float32)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    for joints in people:
        for k, (cx, cy) in enumerate(joints):
            if np.isfinite(cx):
                hill = 0.9 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
                maps[k] = np.maximum(maps[k], hill)
        for limb in SPEC.limbs:
            a, b = (joints[OPENPOSE18.index(j)] for j in limb.joints)
            length = np.linalg.norm(b - a)
            if not length > 0:
                continue
            ux, uy = (b - a) / length
            along = (x - a[0]) * ux + (y - a[1]) * uy
            across = np.abs((x - a[0]) * uy - (y - a[1]) * ux)
            on = (across <= width) & (along >= -0.5) & (along <= length + 0.5)
            maps[limb.channels[0]][on], maps[limb.channels[1]][on] = ux, uy
    return maps


def decode(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People's scores, joints in cells, raw scores."""
    spec = SPEC.model_copy(update={"offset": 0.0})
    ((score, joints, raw),) = decode_fields(
        [maps.transpose(1, 2, 0)[None]], spec, (HEIGHT * STRIDE, WIDTH * STRIDE), OPENPOSE18
    )
    return score, joints / STRIDE, raw


def assert_same_people(found: np.ndarray, truth: list[np.ndarray], atol: float = 0.25) -> None:
    assert len(found) == len(truth)
    for joints in truth:  # every true person is one of those found, whole
        gaps = [np.nanmax(np.abs(f - joints)) for f in found]
        best = int(np.argmin(gaps))
        assert gaps[best] < atol
        np.testing.assert_array_equal(np.isnan(found[best]), np.isnan(joints))


SCENES = {
    "one": [person(40, 3, 38)],
    "two side by side": [person(20, 3, 38), person(60, 6, 34)],
    "two that overlap in x": [person(30, 3, 38), person(37, 5, 36)],
    "three with arms across": [person(20, 2, 40), person(30, 3, 38), person(40, 2, 36)],
    "five": [person(9 + 15 * i, 2 + i, 36 - i) for i in range(5)],
    "leaning": [person(25, 4, 34, 0.4), person(50, 4, 34, -0.4)],
    "head over heels": [person(30, 42, 36, np.pi), person(55, 3, 38)],
}


@pytest.mark.parametrize("name", SCENES)
def test_people_come_back_apart(name: str) -> None:
    score, found, raw = decode(draw(SCENES[name]))
    assert_same_people(found, SCENES[name])
    assert (score > 0.5).all() and (np.diff(score) <= 0).all()
    heights = raw[np.isfinite(found[..., 0])]
    assert (heights <= 0.9).all() and (heights > 0.9 * np.exp(-0.5 / (2 * 0.8**2)) - 1e-3).all()


def test_a_hidden_arm_is_nan() -> None:
    whole, half = person(25, 3, 38), person(55, 3, 38)
    half[[OPENPOSE18.index(j) for j in ("left_elbow", "left_wrist")]] = np.nan
    _, found, raw = decode(draw([whole, half]))
    assert_same_people(found, [whole, half])
    assert (raw[np.isnan(found[..., 0])] == 0).all()


def test_joints_between_two_cells_are_one_peak() -> None:
    """Two equal neighbours must not become two peaks, on which a person could break apart."""
    joints = np.floor(person(40, 3, 38)) + 0.5
    maps = draw([joints])
    peaks = find_peaks(maps[:18], SPEC.min_peak)
    assert sorted(peaks.joint.tolist()) == list(range(18))
    assert_same_people(decode(maps)[1], [joints])


@given(st.floats(3, WIDTH - 4), st.floats(3, HEIGHT - 4), st.floats(0.8, 1.6))
def test_peaks_are_found_below_a_cell(x: float, y: float, sigma: float) -> None:
    grid_y, grid_x = np.mgrid[:HEIGHT, :WIDTH]
    hill = 0.9 * np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / (2 * sigma**2))
    peaks = find_peaks(hill[None].astype(np.float32), 0.05)
    np.testing.assert_allclose(peaks.xy, [[x, y]], atol=0.1)


@pytest.mark.parametrize("corner", [(0, 0), (WIDTH - 1, 0), (0, HEIGHT - 1), (WIDTH - 1, HEIGHT - 1)])
def test_peaks_at_the_border_are_found_and_stay_inside(corner: tuple[int, int]) -> None:
    grid_y, grid_x = np.mgrid[:HEIGHT, :WIDTH]
    hill = 0.9 * np.exp(-((grid_x - corner[0]) ** 2 + (grid_y - corner[1]) ** 2) / 2)
    peaks = find_peaks(hill[None].astype(np.float32), 0.05)
    np.testing.assert_array_equal(peaks.xy, [corner])


def test_empty_maps_hold_nobody() -> None:
    score, found, raw = decode(np.zeros((57, HEIGHT, WIDTH), np.float32))
    assert score.shape == (0,) and found.shape == (0, 18, 2) and raw.shape == (0, 18)


def test_a_few_stray_joints_are_nobody() -> None:
    joints = person(40, 3, 38)
    joints[3:] = np.nan  # nose, neck and one shoulder: fewer than min_joints
    assert len(decode(draw([joints]))[0]) == 0


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4))
def test_bones_are_the_best_of_all_assignments(seed: int, left: int, right: int) -> None:
    """One limb, a random field: the chosen bones beat every other one-to-one choice."""
    rng = np.random.default_rng(seed)
    limb = SPEC.limbs[0]
    spec = SPEC.model_copy(update={"limbs": (limb,), "min_affinity": 0.0})
    maps = np.zeros((57, HEIGHT, WIDTH), np.float32)
    ends = [OPENPOSE18.index(j) for j in limb.joints]
    for joint, count in zip(ends, (left, right), strict=True):
        spots = rng.choice(8 * 12, count, replace=False)
        maps[joint, 3 + 5 * (spots // 12), 3 + 6 * (spots % 12)] = 1
    maps[list(limb.channels)] = rng.normal(0.3, 0.5, (2, HEIGHT, WIDTH))
    peaks = find_peaks(maps[:18], 0.05)

    def total(pairs: list[tuple[int, int]]) -> float:
        """Affinity of the bones between these peaks alone, each pair by itself."""
        return sum(single.get(p, 0.0) for p in pairs)

    a, b = (np.flatnonzero(peaks.joint == e) for e in ends)
    assert (len(a), len(b)) == (left, right)
    single: dict[tuple[int, int], float] = {}
    for i, j in itertools.product(a, b):
        only = Peaks(peaks.joint[[i, j]], peaks.xy[[i, j]], peaks.score[[i, j]])
        for _, _, affinity in match_bones(maps, only, spec, OPENPOSE18):
            single[int(i), int(j)] = affinity
    shorter, longer, flip = (a, b, False) if left <= right else (b, a, True)
    best = max(
        total([(int(j), int(i)) if flip else (int(i), int(j)) for i, j in zip(shorter, order, strict=True)])
        for order in itertools.permutations(longer, len(shorter))
    )
    bones = match_bones(maps, peaks, spec, OPENPOSE18)
    assert len({i for i, _, _ in bones}) == len(bones) == len({j for _, j, _ in bones})
    assert sum(s for _, _, s in bones) == pytest.approx(best, abs=1e-5)


@given(st.data())
def test_people_are_the_connected_peaks_where_bones_do_not_conflict(data: st.DataObject) -> None:
    """Compared with flooding from peak to peak, for bones within people who own each joint once."""
    who = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=40))
    joint: list[int] = []
    for i, p in enumerate(who):
        joint.append(sum(q == p for q in who[:i]))
    keep = [i for i, j in enumerate(joint) if j < 18]
    who, joint = [who[i] for i in keep], [joint[i] for i in keep]
    count = len(who)
    pairs = [(i, j) for i in range(count) for j in range(i) if who[i] == who[j]]
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    bones = [(i, j, data.draw(st.floats(0.1, 1))) for i, j in chosen]
    spec = SPEC.model_copy(update={"min_joints": 1, "min_person": 0.0})
    peaks = Peaks(
        np.asarray(joint, np.intp),
        np.stack([np.arange(count)] * 2, axis=1).astype(np.float32),
        np.ones(count, np.float32),
    )
    _, found, _ = assemble(peaks, bones, 18, spec)
    label = list(range(count))
    for _ in range(count):
        for i, j, _ in bones:
            label[i] = label[j] = min(label[i], label[j])
    wanted = {frozenset(i for i in range(count) if label[i] == k) for k in set(label)}
    got = {frozenset(int(x) for x in f[:, 0] if np.isfinite(x)) for f in found}
    assert got == wanted


def test_surer_bones_stand_before_a_wrong_one_could_weld_two_people() -> None:
    """Peaks 0..3 are joints 0..3 of one person, 4..7 of another; bone 1-6 is wrong and the weakest."""
    peaks = Peaks(
        np.tile(np.arange(4), 2),
        np.stack([np.arange(8)] * 2, axis=1).astype(np.float32),
        np.full(8, 0.5, np.float32),
    )
    wrong = (1, 6, 0.3)
    right = [(0, 1, 0.6), (1, 2, 0.7), (2, 3, 0.8), (4, 5, 0.6), (5, 6, 0.7), (6, 7, 0.9)]
    score, found, _ = assemble(peaks, [wrong, *right], 18, SPEC)
    np.testing.assert_array_equal(found[:, :4, 0], [[4, 5, 6, 7], [0, 1, 2, 3]])  # the surer one first
    np.testing.assert_allclose(score, [(4 * 0.5 + 2.2) / 7, (4 * 0.5 + 2.1) / 7], rtol=1e-6)


@pytest.mark.parametrize("length", [5, HEIGHT // 2, 30, 60])
def test_bones_longer_than_half_the_picture_are_doubted(length: int) -> None:
    limb = SPEC.limbs[0]
    maps = np.zeros((57, HEIGHT, WIDTH), np.float32)
    maps[limb.channels[0]] = 1  # along +x everywhere
    a, b = (OPENPOSE18.index(j) for j in limb.joints)
    peaks = Peaks(
        np.asarray([a, b]), np.asarray([[5, 9], [5 + length, 9]], np.float32), np.ones(2, np.float32)
    )
    ((_, _, affinity),) = match_bones(maps, peaks, SPEC, OPENPOSE18)
    assert affinity == pytest.approx(min(1, HEIGHT / 2 / length), rel=1e-5)
