from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracking_scenes import crossing, walker

from skelkit.errors import ConfigError
from skelkit.skeletons import COCO17, EDVARD14, OPENPOSE18, remap
from skelkit.structures import Float32, Skeleton, SkeletonSequence, Tracks
from skelkit.tracking import unify_identities as unify_tracks

T = 200
PTS = np.arange(T) / 25
SETS = {"a": COCO17, "b": OPENPOSE18, "c": EDVARD14}


def unify_identities(views: dict[str, SkeletonSequence], **options: int) -> dict[str, SkeletonSequence]:
    """Dense, in which form these tests state what they expect."""
    found = unify_tracks({name: Tracks.of(view) for name, view in views.items()}, **options)
    return {name: tracks.to_sequence() for name, tracks in found.items()}


def view(
    people: np.ndarray, skeleton: Skeleton, *, noise: float = 3.0, seed: int = 0, pts_s: np.ndarray = PTS
) -> SkeletonSequence:
    """An expert's tracks of these people (M, T, 17, 2) of COCO17, NaN = not seen."""
    rng = np.random.default_rng(seed)
    points = (people + rng.normal(0, noise, people.shape)).astype(np.float32)
    keypoints, scores = remap(points, np.isfinite(points[..., 0]).astype(np.float32), COCO17, skeleton)
    seen = np.isfinite(points).all(axis=(2, 3))
    return SkeletonSequence(
        skeleton=skeleton,
        keypoints=keypoints,
        scores=scores,
        confidence=np.where(seen, np.float32(0.9), np.float32(np.nan)).astype(np.float32),
        track_ids=np.arange(len(people)) + 7,
        frame_indices=np.arange(len(pts_s)),
        pts_s=pts_s,
        video_id="scene",
        fps=25.0,
        image_size=(720, 1280),
        sources=(skeleton.name,),
    )


def hips(sequence: SkeletonSequence) -> Float32:
    """(M, T) x of the left hip."""
    return sequence.keypoints[:, :, sequence.skeleton.index("left_hip"), 0]


def agree(views: dict[str, SkeletonSequence], reach: float = 40) -> bool:
    """Whether every id is the same person in all views at all times."""
    first, *rest = [hips(v) for v in views.values()]
    return all(bool(np.all((np.abs(first - other) < reach) | np.isnan(first - other))) for other in rest)


def three_walkers() -> np.ndarray:
    return np.stack([walker(PTS, 200, 60), walker(PTS, 1100, -80, phase=1), walker(PTS, 500, 10, phase=2)])


def without(people: np.ndarray, who: int, start: int, stop: int) -> np.ndarray:
    people = people.copy()
    people[who, start:stop] = np.nan
    return people


def test_same_person_same_id_across_joint_sets() -> None:
    people = three_walkers()
    views = {
        name: view(people[order], SETS[name], seed=k)
        for k, (name, order) in enumerate({"a": [0, 1, 2], "b": [2, 0, 1], "c": [1, 2, 0]}.items())
    }
    assert not agree(views)
    found = unify_identities(views)
    assert agree(found)
    for name, sequence in found.items():
        assert sequence.track_ids.tolist() == [0, 1, 2]
        assert sequence.present().all()
        assert sequence.skeleton == SETS[name]
        assert np.all(sequence.confidence == np.float32(0.9))


def test_fragments_are_bridged_by_a_whole_track() -> None:
    whole = three_walkers()
    broken = np.concatenate([without(without(whole, 0, 80, T), 2, 0, T)[:2], without(whole, 0, 0, 95)[:1]])
    found = unify_identities({"whole": view(whole, COCO17), "broken": view(broken, OPENPOSE18, seed=1)})
    assert agree(found)
    assert found["broken"].num_people == 3
    assert sorted(found["broken"].present().sum(axis=1).tolist()) == [0, T - 15, T]


def test_people_an_expert_never_saw_are_empty_rows() -> None:
    people = three_walkers()
    found = unify_identities({"a": view(people[:2], COCO17), "b": view(people[1:], OPENPOSE18)})
    assert {v.num_people for v in found.values()} == {3}
    assert agree(found)
    for sequence in found.values():
        absent = ~sequence.present().any(axis=1)
        assert absent.sum() == 1
        assert np.all(sequence.scores[absent] == 0)
        assert np.isnan(sequence.confidence[absent]).all()
    none = view(people[:0], EDVARD14)
    assert unify_identities({"a": view(people, COCO17), "none": none})["none"].num_people == 3
    assert unify_identities({"none": none})["none"].num_people == 0


def test_two_of_one_expert_in_one_frame_stay_two() -> None:
    people = three_walkers()
    twice = np.stack([people[0], people[0] + 4])
    found = unify_identities({"a": view(people[:1], COCO17), "b": view(twice, OPENPOSE18)})
    assert found["b"].num_people == 2
    assert found["b"].present().all()
    assert found["a"].present().all(axis=1).sum() == 1


def swapped(people: np.ndarray, at: int) -> np.ndarray:
    """The first two people trade places from time step ``at`` on."""
    return np.concatenate([np.where(np.arange(T)[:, None, None] < at, people[:2], people[1::-1]), people[2:]])


def test_a_swap_in_one_expert_is_outvoted_by_two() -> None:
    people = np.stack([walker(PTS, 200, 100), walker(PTS, 1000, -100, phase=1)])  # they meet at step 100
    views = {
        "a": view(swapped(people, 103), COCO17),
        "b": view(people, OPENPOSE18, seed=1),
        "c": view(people, EDVARD14, seed=2),
    }
    found = unify_identities(views)
    assert {v.num_people for v in found.values()} == {2}
    assert agree(found)
    for sequence in found.values():
        assert follows(sequence, people)


def follows(sequence: SkeletonSequence, people: np.ndarray) -> bool:
    """Whether each id stays with its person, whichever of the two it is, but for the moment they meet."""
    x = hips(sequence)
    x = x[np.argsort(x[:, 0])]
    return bool(np.all(np.abs(x - people[:, :, 11, 0])[:, np.r_[0:97, 110:T]] < 40))


@pytest.mark.parametrize("culprit", ["a", "b"])
def test_of_two_experts_the_one_without_a_jolt_is_believed(culprit: str) -> None:
    people = np.stack([walker(PTS, 200, 100), walker(PTS, 1000, -100, phase=1)])
    views = {
        name: view(swapped(people, 102) if name == culprit else people, skeleton, seed=k)
        for k, (name, skeleton) in enumerate({"a": COCO17, "b": EDVARD14}.items())
    }
    found = unify_identities(views)
    assert {v.num_people for v in found.values()} == {2}
    assert agree(found)
    for sequence in found.values():
        assert follows(sequence, people)


def test_repeated_swaps_never_mix_people() -> None:
    people = np.stack([walker(PTS, 400 + 300 * k, 0, phase=k) for k in range(2)])
    restless = people.copy()
    for start in range(0, T, 50):
        if start % 100:
            restless[:, start : start + 50] = people[::-1, start : start + 50]
    found = unify_identities({"a": view(restless, COCO17), "b": view(people, EDVARD14)})
    assert agree(found)
    assert {v.num_people for v in found.values()} == {2}


def test_the_limit_keeps_the_same_people_in_all_experts() -> None:
    people = three_walkers()
    brief = without(people, 2, 50, T)
    found = unify_identities({"a": view(brief, COCO17), "b": view(brief[::-1], OPENPOSE18)}, max_people=2)
    assert agree(found)
    for sequence in found.values():
        assert sequence.track_ids.tolist() == [0, 1]
        assert sequence.present().all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 500), st.permutations(["a", "b", "c"]))
def test_order_of_experts_and_of_tracks_does_not_matter(seed: int, names: list[str]) -> None:
    rng = np.random.default_rng(seed)
    scene, seen = crossing(rng, seconds=4)
    views, mixed = {}, {}
    for k, name in enumerate(SETS):
        seen_here = seen & (rng.random(seen.shape) > 0.1)
        people = np.where(seen_here[..., None, None], scene.people, np.nan)
        views[name] = view(people, SETS[name], seed=k, pts_s=scene.pts_s)
        order = rng.permutation(len(people))
        mixed[name] = dataclasses.replace(
            views[name],
            keypoints=views[name].keypoints[order],
            scores=views[name].scores[order],
            confidence=views[name].confidence[order],
        )
    one, other = unify_identities(views), unify_identities({n: views[n] for n in names})
    third = unify_identities(mixed)
    for name in SETS:
        assert np.array_equal(one[name].keypoints, other[name].keypoints, equal_nan=True)
        assert np.array_equal(one[name].keypoints, third[name].keypoints, equal_nan=True)
        assert one[name].present().sum() == views[name].present().sum()  # nobody is lost or doubled
    assert agree(one)


def test_one_view_alone_is_numbered_by_the_same_rule() -> None:
    people = without(three_walkers(), 0, 0, 20)
    found = unify_identities({"a": view(people, COCO17)})["a"]
    assert np.isnan(hips(found)[2, :20]).all()
    assert found.track_ids.tolist() == [0, 1, 2]


def test_wrong_input_is_refused() -> None:
    a = view(three_walkers(), COCO17)
    with pytest.raises(ConfigError, match="at least one"):
        unify_identities({})
    with pytest.raises(ConfigError, match="one clip"):
        unify_identities({"a": a, "b": dataclasses.replace(a, video_id="other")})
    with pytest.raises(ConfigError, match="one clip"):
        unify_identities({"a": a, "b": dataclasses.replace(a, frame_indices=a.frame_indices * 2)})
    with pytest.raises(ConfigError, match="max_people"):
        unify_identities({"a": a}, max_people=0)
    deep = dataclasses.replace(a, keypoints=np.concatenate([a.keypoints, a.keypoints[..., :1]], axis=-1))
    with pytest.raises(ConfigError, match="2-D"):
        unify_identities({"a": a, "b": deep})


def test_memory_is_that_of_the_poses_however_many_tracks_there_are() -> None:
    """One person in 300 fragments: people times frames, of any type, would be 30 times the poses."""
    t, fragment = 6000, 20
    one = Tracks.of(view(walker(np.arange(t) / 25, 300, 0)[None], COCO17, pts_s=np.arange(t) / 25))
    broken = dataclasses.replace(one, person=one.step // fragment, track_ids=np.arange(t // fragment))
    views = {"a": broken, "b": broken, "c": one}
    tracemalloc.start()
    found = unify_tracks(views)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {v.num_people for v in found.values()} == {1}
    assert peak < 6_000_000 < t * t // fragment * 17 * 4


def test_who_is_kept_is_not_copied() -> None:
    tracks = Tracks.of(view(three_walkers(), COCO17))
    assert np.shares_memory(unify_tracks({"a": tracks})["a"].keypoints, tracks.keypoints)
