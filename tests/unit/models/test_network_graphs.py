from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelkit.errors import ConfigError
from skelkit.models.graph import UNREACHED, adjacency, centre_of, distances, scales, spatial_partition
from skelkit.skeletons import SKELETONS, get_skeleton
from skelkit.structures import Skeleton

CHAIN = Skeleton(
    name="chain", joints=("a", "neck", "c", "d"), edges=(("a", "neck"), ("neck", "c"), ("c", "d"))
)


def test_distances_of_a_chain() -> None:
    np.testing.assert_array_equal(
        distances(adjacency(CHAIN)), [[0, 1, 2, 3], [1, 0, 1, 2], [2, 1, 0, 1], [3, 2, 1, 0]]
    )


@given(st.integers(1, 9), st.data())
def test_distances_are_those_of_a_search(size: int, data: st.DataObject) -> None:
    links = data.draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=12))
    connected = np.zeros((size, size), bool)
    for a, b in links:
        connected[a, b] = connected[b, a] = a != b
    far = distances(connected)
    for start in range(size):
        expected = [UNREACHED] * size
        expected[start] = 0
        queue = [start]
        for joint in queue:
            for other in np.flatnonzero(connected[joint]):
                if expected[other] == UNREACHED:
                    expected[other] = expected[joint] + 1
                    queue.append(int(other))
        assert far[start].tolist() == expected


def test_spatial_partition_of_a_chain() -> None:
    root, inward, outward = spatial_partition(CHAIN)
    np.testing.assert_allclose(np.diag(root), [1 / 2, 1 / 3, 1 / 3, 1 / 2])
    assert inward[1, 0] == pytest.approx(1 / 3)  # the neck, nearer to the centre, enters a
    assert inward[2, 3] == pytest.approx(1 / 3)
    assert outward[0, 1] == pytest.approx(1 / 2)
    assert inward[0, 1] == outward[1, 0] == 0


@pytest.mark.parametrize("name", sorted(SKELETONS))
def test_partition_of_every_joint_set(name: str) -> None:
    skeleton = get_skeleton(name)
    graph = spatial_partition(skeleton)
    linked = adjacency(skeleton) | np.eye(skeleton.num_joints, dtype=bool)
    np.testing.assert_array_equal(graph.sum(axis=0) > 0, linked)
    assert ((graph > 0).sum(axis=0) <= 1).all()  # every bone lies in one subset
    np.testing.assert_allclose(graph.sum(axis=(0, 2)), 1, rtol=1e-6)


def test_centres_are_those_of_the_published_graphs() -> None:
    assert centre_of(get_skeleton("openpose18")) == "neck"
    assert get_skeleton("ntu25").index(centre_of(get_skeleton("ntu25"))) == 20
    assert centre_of(get_skeleton("coco17")) == "nose"


def test_joints_out_of_reach_lie_in_the_root_subset() -> None:
    torn = Skeleton(name="torn", joints=("neck", "a", "b", "c", "d"), edges=(("neck", "a"), ("b", "c")))
    root, inward, outward = spatial_partition(torn)
    assert root[2, 3] == root[3, 2] == pytest.approx(0.5)
    assert root[4, 4] == 1
    assert (inward[2:] == 0).all()
    assert (outward[2:] == 0).all()


def test_scales_are_symmetric_and_disjoint() -> None:
    connected = adjacency(get_skeleton("posetics17"))
    graph = scales(connected, 20)
    np.testing.assert_allclose(graph, graph.transpose(0, 2, 1), atol=1e-6)
    np.testing.assert_array_equal(graph[0], np.eye(17))
    np.testing.assert_array_equal(graph[-1], np.eye(17))  # beyond the longest chain
    away = (graph > 0) & ~np.eye(17, dtype=bool)
    assert (away.sum(axis=0) <= 1).all()
    np.testing.assert_array_equal(away[1], connected)
    assert scales(adjacency(CHAIN), 2)[1][0, 1] == pytest.approx(1 / np.sqrt(2 * 3))


def test_no_bones() -> None:
    with pytest.raises(ConfigError, match="UNIK"):
        spatial_partition(Skeleton(name="dots", joints=("neck", "b")))
