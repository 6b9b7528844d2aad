"""Joint sets out of MMPose's dataset meta information."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skelkit.skeletons import SKELETONS
from skelkit.structures import Skeleton

_ALSO_CALLED = {"head_top": {"top_head", "head"}, "neck": {"upper_neck", "head_bottom"}, "mid_hip": {"hip"}}
"""MMPose's names for the same joint on a person."""


def skeleton_of(meta: Mapping[str, Any]) -> Skeleton:
    """The joint set of parsed meta information: ours where the joints are the same, else a new one.

    Args:
        meta: As of ``mmpose.datasets.datasets.utils.parse_pose_metainfo``.
    """
    names = tuple(str(meta["keypoint_id2name"][k]) for k in range(len(meta["keypoint_id2name"])))
    for known in SKELETONS.values():
        if len(known.joints) == len(names) and all(
            ours == theirs or theirs in _ALSO_CALLED.get(ours, ())
            for ours, theirs in zip(known.joints, names, strict=True)
        ):
            return known
    flipped = [int(k) for k in meta["flip_indices"]]
    return Skeleton(
        name=f"{meta['dataset_name']}{len(names)}",
        joints=names,
        edges=tuple((names[a], names[b]) for a, b in meta["skeleton_links"]),
        flip_pairs=tuple(_left_first(names[a], names[b]) for a, b in enumerate(flipped) if a < b),
    )


def _left_first(one: str, other: str) -> tuple[str, str]:
    return (other, one) if one.startswith("right") else (one, other)
