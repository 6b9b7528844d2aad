"""Graphs of joint sets, for the networks that are built on them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from skelkit.errors import ConfigError
from skelkit.structures import Float32, Skeleton

_CENTRES = ("thorax", "neck", "chest", "belly", "mid_hip", "pelvis", "nose", "head")

UNREACHED = -1
"""Distance between joints that no chain of bones connects."""


def centre_of(skeleton: Skeleton) -> str:
    """The joint nearest to the middle of the body.

    It is the first there is of thorax, neck, chest, belly, mid_hip, pelvis, nose, head: as in ST-GCN's graphs
    the neck of OpenPose and the upper spine of NTU.

    Raises:
        ConfigError: none of them.
    """
    for joint in _CENTRES:
        if joint in skeleton.joints:
            return joint
    raise ConfigError(
        f"joint set {skeleton.name!r} has none of {', '.join(_CENTRES)}; name its centre joint with `center`"
    )


def adjacency(skeleton: Skeleton) -> npt.NDArray[np.bool_]:
    """Which joints a bone connects: symmetric, (K, K), False on the diagonal.

    Raises:
        ConfigError: the joint set has no bones.
    """
    if not skeleton.edges:
        raise ConfigError(
            f"expected a joint set with bones for a graph network, got {skeleton.name!r} without; "
            "try UNIK, which needs none"
        )
    out = np.zeros((skeleton.num_joints, skeleton.num_joints), bool)
    for a, b in skeleton.edges:
        i, j = skeleton.index(a), skeleton.index(b)
        out[i, j] = out[j, i] = i != j
    return out


def distances(connected: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Number of bones between joints, `UNREACHED` where nothing connects them: (K, K) -> (K, K)."""
    reached = np.eye(len(connected), dtype=bool)
    out = np.where(reached, 0, UNREACHED)
    for hops in range(1, len(connected)):
        nearer, reached = reached, reached | (reached.astype(int) @ connected.astype(int) > 0)
        out[reached & ~nearer] = hops
    return out


def spatial_partition(skeleton: Skeleton, center: str | None = None) -> Float32:
    """Spatial configuration partitioning of ST-GCN (section 3.3), normalised by the degree of the source.

    Neighbours of a joint, itself among them, are told apart by their distance to the centre: as far as the
    joint (subset 0), nearer (1), further (2). Joints that no chain of bones connects to the centre count as
    equally far from it: all their bones lie in subset 0.

    Args:
        skeleton: The joint set; it needs bones, which need not connect everything.
        center: Its centre; None = `centre_of`.

    Returns:
        (3, K, K); [s, v, w] is the weight with which joint v enters joint w.

    Raises:
        ConfigError: no bones, or no such centre.
    """
    connected = adjacency(skeleton)
    linked = (connected | np.eye(len(connected), dtype=bool)).astype(np.float32)
    normalised = linked / linked.sum(axis=1, keepdims=True)
    far = distances(connected)[skeleton.index(center or centre_of(skeleton))]
    v, w = far[:, None], far[None, :]
    return np.stack([normalised * (v == w), normalised * (v < w), normalised * (v > w)])


def scales(connected: npt.NDArray[np.bool_], num_scales: int) -> Float32:
    """Disentangled neighbourhoods of MS-G3D (equations 4 and 5), normalised symmetrically.

    Scale k connects a joint with those at a distance of exactly k bones, and with itself; where there are
    none, with itself alone.

    Args:
        connected: (K, K) bool, as from `adjacency`.
        num_scales: Scales 0 to num_scales - 1.

    Returns:
        (num_scales, K, K) symmetric.
    """
    far = distances(connected)
    k = np.arange(num_scales)[:, None, None]
    linked = ((far == k) | np.eye(len(far), dtype=bool)).astype(np.float32)
    root = 1 / np.sqrt(linked.sum(axis=1))
    return np.asarray(linked * root[:, :, None] * root[:, None, :], np.float32)
