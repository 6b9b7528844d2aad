"""Which joints several experts are compared on, and sequences from one joint set to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from skelkit.skeletons import LCR13, recipe, remap
from skelkit.structures import Skeleton, SkeletonSequence


def to_skeleton(sequence: SkeletonSequence, target: Skeleton) -> SkeletonSequence:
    """The same people in another joint set, matched by joint name (`skelkit.skeletons.remap`).

    A joint that ``target`` has and the sequence lacks is derived where that is possible; derived from a
    missing joint, or not derivable, it is NaN with score 0.
    """
    keypoints, scores = remap(sequence.keypoints, sequence.scores, sequence.skeleton, target)
    return replace(sequence, skeleton=target, keypoints=keypoints, scores=scores)


def shared_joints(experts: Sequence[Skeleton], target: Skeleton | None) -> Skeleton:
    """The joint set to aggregate in, so that the result can be turned into ``target``.

    Experts with one and the same joint set keep it, where ``target`` is that set or None. All others meet
    in the 13 joints of LCR-Net++, which every expert has or can make (thesis, section 3.6.2), and joints
    that follow from these are derived after aggregation: a neck, for instance, then means the same whoever
    the experts were. Joints that do not follow from the 13 (eyes, ears, toes) are kept where at least one
    expert has them, as far as ``target`` wants them.
    """
    first = experts[0]
    if all(e == first for e in experts) and target in (None, first):
        return first
    native = dict.fromkeys(j for e in experts for j in e.joints)
    extra = [j for j in native if recipe(j, LCR13) is None and (target is None or j in target.joints)]
    if not extra:
        return LCR13
    known = {*LCR13.joints, *extra}

    def pairs(of: str) -> tuple[tuple[str, str], ...]:
        found = (p for s in (LCR13, *experts) for p in getattr(s, of) if known.issuperset(p))
        return tuple(dict.fromkeys(found))

    return Skeleton(
        name=f"lcr13+{len(extra)}",
        joints=(*LCR13.joints, *extra),
        edges=pairs("edges"),
        flip_pairs=pairs("flip_pairs"),
    )
