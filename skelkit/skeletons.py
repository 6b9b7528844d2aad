"""Joint sets of the field, and remapping between them by joint name.

Left and right always mean the person's own. A joint that a set lacks may be derived from joints it has
(`DERIVATIONS`); a joint derived from a missing joint is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from skelkit.errors import ConfigError
from skelkit.structures import Float32, Skeleton

_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_LIMB_EDGES = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
)


def _skeleton(name: str, joints: str, edges: str = "") -> Skeleton:
    """A joint set from words; limb bones, flip pairs and parts follow from the names.

    In ``joints`` and ``edges`` the words ``L_x`` and ``R_x`` stand for ``left_x`` and ``right_x``.
    ``edges`` holds the bones that are not limb bones, as ``parent-child``.
    """

    def full(word: str) -> str:
        return {"L_": "left_", "R_": "right_"}.get(word[:2], word[:2]) + word[2:]

    names = tuple(full(w) for w in joints.split())
    have = set(names)
    bones = [(full(a), full(b)) for a, b in (e.split("-") for e in edges.split())]
    bones += [e for e in _LIMB_EDGES if have.issuperset(e)]
    pairs = [(j, "right_" + j[5:]) for j in names if j.startswith("left_") and "right_" + j[5:] in have]
    in_part: dict[str, tuple[str, ...]] = {}
    for side in ("left", "right"):
        for part, words in (
            ("arm", ("shoulder", "elbow", "wrist", "hand", "hand_tip", "thumb")),
            ("leg", ("hip", "knee", "ankle", "foot", "big_toe", "small_toe", "heel")),
        ):
            in_part[f"{side}_{part}"] = tuple(f"{side}_{w}" for w in words if f"{side}_{w}" in have)
    limbs = {j for group in in_part.values() for j in group}
    trunk = {"neck", "chest", "thorax", "spine", "belly", "pelvis", "mid_hip"}
    in_part["trunk"] = tuple(j for j in names if j in trunk)
    in_part["head"] = tuple(j for j in names if j not in trunk and j not in limbs)
    return Skeleton(
        name=name,
        joints=names,
        edges=tuple(bones),
        flip_pairs=tuple(pairs),
        parts={k: v for k, v in in_part.items() if v},
    )


_BOX = "L_shoulder-R_shoulder L_hip-R_hip L_shoulder-L_hip R_shoulder-R_hip"
_FACE = "nose-L_eye nose-R_eye L_eye-L_ear R_eye-R_ear"

COCO17 = _skeleton(
    "coco17",
    "nose L_eye R_eye L_ear R_ear L_shoulder R_shoulder L_elbow R_elbow L_wrist R_wrist "
    "L_hip R_hip L_knee R_knee L_ankle R_ankle",
    f"{_FACE} nose-L_shoulder nose-R_shoulder {_BOX}",
)
OPENPOSE18 = _skeleton(
    "openpose18",
    "nose neck R_shoulder R_elbow R_wrist L_shoulder L_elbow L_wrist "
    "R_hip R_knee R_ankle L_hip L_knee L_ankle R_eye L_eye R_ear L_ear",
    f"neck-nose neck-L_shoulder neck-R_shoulder neck-L_hip neck-R_hip {_FACE}",
)
OPENPOSE25 = _skeleton(
    "openpose25",
    "nose neck R_shoulder R_elbow R_wrist L_shoulder L_elbow L_wrist mid_hip "
    "R_hip R_knee R_ankle L_hip L_knee L_ankle R_eye L_eye R_ear L_ear "
    "L_big_toe L_small_toe L_heel R_big_toe R_small_toe R_heel",
    f"neck-nose neck-L_shoulder neck-R_shoulder neck-mid_hip mid_hip-L_hip mid_hip-R_hip {_FACE} "
    "L_ankle-L_big_toe L_ankle-L_small_toe L_ankle-L_heel "
    "R_ankle-R_big_toe R_ankle-R_small_toe R_ankle-R_heel",
)
LSP14 = _skeleton(
    "lsp14",
    "R_ankle R_knee R_hip L_hip L_knee L_ankle R_wrist R_elbow R_shoulder L_shoulder L_elbow L_wrist "
    "neck head_top",
    f"neck-head_top neck-L_shoulder neck-R_shoulder {_BOX}",
)
EDVARD14 = _skeleton(
    "edvard14",
    "head_top neck R_shoulder R_elbow R_wrist L_shoulder L_elbow L_wrist "
    "R_hip R_knee R_ankle L_hip L_knee L_ankle",
    f"neck-head_top neck-L_shoulder neck-R_shoulder {_BOX}",
)
AIC14 = _skeleton(
    "aic14",
    "R_shoulder R_elbow R_wrist L_shoulder L_elbow L_wrist "
    "R_hip R_knee R_ankle L_hip L_knee L_ankle head_top neck",
    f"neck-head_top neck-L_shoulder neck-R_shoulder {_BOX}",
)
CROWDPOSE14 = _skeleton(
    "crowdpose14",
    "L_shoulder R_shoulder L_elbow R_elbow L_wrist R_wrist L_hip R_hip L_knee R_knee L_ankle R_ankle "
    "head_top neck",
    f"neck-head_top neck-L_shoulder neck-R_shoulder {_BOX}",
)
MPII16 = _skeleton(
    "mpii16",
    "R_ankle R_knee R_hip L_hip L_knee L_ankle pelvis thorax neck head_top "
    "R_wrist R_elbow R_shoulder L_shoulder L_elbow L_wrist",
    "pelvis-thorax thorax-neck neck-head_top thorax-L_shoulder thorax-R_shoulder pelvis-L_hip pelvis-R_hip",
)
POSETRACK17 = _skeleton(
    "posetrack17",
    "nose neck head_top L_ear R_ear L_shoulder R_shoulder L_elbow R_elbow L_wrist R_wrist "
    "L_hip R_hip L_knee R_knee L_ankle R_ankle",
    f"neck-nose nose-head_top neck-L_shoulder neck-R_shoulder {_BOX}",
)
HALPE26 = _skeleton(
    "halpe26",
    "nose L_eye R_eye L_ear R_ear L_shoulder R_shoulder L_elbow R_elbow L_wrist R_wrist "
    "L_hip R_hip L_knee R_knee L_ankle R_ankle head_top neck mid_hip "
    "L_big_toe R_big_toe L_small_toe R_small_toe L_heel R_heel",
    f"{_FACE} neck-nose nose-head_top neck-L_shoulder neck-R_shoulder neck-mid_hip "
    "mid_hip-L_hip mid_hip-R_hip L_ankle-L_big_toe L_ankle-L_small_toe L_ankle-L_heel "
    "R_ankle-R_big_toe R_ankle-R_small_toe R_ankle-R_heel",
)
JHMDB15 = _skeleton(
    "jhmdb15",
    "neck belly head R_shoulder L_shoulder R_hip L_hip R_elbow L_elbow R_knee L_knee "
    "R_wrist L_wrist R_ankle L_ankle",
    "belly-neck neck-head neck-L_shoulder neck-R_shoulder belly-L_hip belly-R_hip",
)
LCR13 = _skeleton(
    "lcr13",
    "R_ankle L_ankle R_knee L_knee R_hip L_hip R_wrist L_wrist R_elbow L_elbow R_shoulder L_shoulder head",
    f"head-L_shoulder head-R_shoulder {_BOX}",
)
LCR17 = _skeleton(
    "lcr17",
    "R_ankle L_ankle R_knee L_knee R_hip L_hip R_wrist L_wrist R_elbow L_elbow R_shoulder L_shoulder head "
    "pelvis spine thorax neck",
    "pelvis-spine spine-thorax thorax-neck neck-head thorax-L_shoulder thorax-R_shoulder "
    "pelvis-L_hip pelvis-R_hip",
)
POSETICS17 = _skeleton(
    "posetics17",
    "head lower_head neck chest mid_hip L_shoulder R_shoulder L_elbow R_elbow L_wrist R_wrist "
    "L_hip R_hip L_knee R_knee L_ankle R_ankle",
    "mid_hip-chest chest-neck neck-lower_head lower_head-head neck-L_shoulder neck-R_shoulder "
    "mid_hip-L_hip mid_hip-R_hip",
)
_HANDS_AND_FEET = (
    "L_wrist-L_hand L_hand-L_hand_tip L_wrist-L_thumb L_ankle-L_foot "
    "R_wrist-R_hand R_hand-R_hand_tip R_wrist-R_thumb R_ankle-R_foot"
)
POSETICS25 = _skeleton(
    "posetics25",
    "head lower_head neck chest mid_hip L_shoulder R_shoulder L_elbow R_elbow L_wrist R_wrist "
    "L_hip R_hip L_knee R_knee L_ankle R_ankle "
    "L_hand R_hand L_hand_tip R_hand_tip L_thumb R_thumb L_foot R_foot",
    "mid_hip-chest chest-neck neck-lower_head lower_head-head neck-L_shoulder neck-R_shoulder "
    f"mid_hip-L_hip mid_hip-R_hip {_HANDS_AND_FEET}",
)
H36M17 = _skeleton(
    "h36m17",
    "pelvis R_hip R_knee R_ankle L_hip L_knee L_ankle spine thorax nose head_top "
    "L_shoulder L_elbow L_wrist R_shoulder R_elbow R_wrist",
    "pelvis-spine spine-thorax thorax-nose nose-head_top thorax-L_shoulder thorax-R_shoulder "
    "pelvis-L_hip pelvis-R_hip",
)
NTU25 = _skeleton(
    "ntu25",
    "mid_hip spine neck head L_shoulder L_elbow L_wrist L_hand R_shoulder R_elbow R_wrist R_hand "
    "L_hip L_knee L_ankle L_foot R_hip R_knee R_ankle R_foot thorax L_hand_tip L_thumb R_hand_tip R_thumb",
    "mid_hip-spine spine-thorax thorax-neck neck-head thorax-L_shoulder thorax-R_shoulder "
    f"mid_hip-L_hip mid_hip-R_hip {_HANDS_AND_FEET}",
)

SKELETONS: Mapping[str, Skeleton] = MappingProxyType(
    {
        s.name: s
        for s in (
            COCO17,
            OPENPOSE18,
            OPENPOSE25,
            LSP14,
            EDVARD14,
            AIC14,
            CROWDPOSE14,
            MPII16,
            POSETRACK17,
            HALPE26,
            JHMDB15,
            LCR13,
            LCR17,
            POSETICS17,
            POSETICS25,
            H36M17,
            NTU25,
        )
    }
)

LIMB_JOINTS: tuple[str, ...] = tuple(f"{side}_{limb}" for side in ("left", "right") for limb in _LIMBS)
"""The 12 joints that every joint set here has: shoulders, elbows, wrists, hips, knees, ankles."""

DERIVATIONS: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        # joint: ways to make it, best first; each way is the mean of the joints it names.
        "mid_hip": (("pelvis",), ("left_hip", "right_hip")),
        "pelvis": (("mid_hip",), ("left_hip", "right_hip")),
        "neck": (("left_shoulder", "right_shoulder"),),
        "thorax": (("neck",), ("left_shoulder", "right_shoulder")),
        "chest": (("neck", "mid_hip"),),
        "spine": (("chest",), ("thorax", "pelvis"), ("neck", "mid_hip")),
        "belly": (("chest",), ("neck", "mid_hip")),
        "head": (("nose",), ("left_ear", "right_ear"), ("left_eye", "right_eye"), ("head_top", "neck")),
        "nose": (("head",), ("left_eye", "right_eye"), ("left_ear", "right_ear"), ("head_top", "neck")),
        "lower_head": (("head", "neck"),),
    }
)
"""How a joint that a set lacks follows from others (FORMATS: mid hip, neck, chest, second head joint)."""

EXTRAPOLATIONS: Mapping[str, tuple[str, str, float]] = MappingProxyType(
    {
        f"{side}_{joint}": (f"{side}_{start}", f"{side}_{end}", beyond)
        for side in ("left", "right")
        for joint, start, end, beyond in (
            ("hand", "elbow", "wrist", 0.37),
            ("thumb", "elbow", "wrist", 0.55),
            ("hand_tip", "elbow", "wrist", 0.74),
            ("foot", "knee", "ankle", 0.16),
        )
    }
)
"""Joints on the straight continuation of a bone: {joint: (start, end, beyond)} is end + beyond (end - start).

The 8 joints on fingers and feet that UNIK derives linearly to match the 25 joints of NTU (thesis, section
3.7.3); the paper gives no factors. Ours are body proportions of Winter, Biomechanics and Motor Control of
Human Movement: forearm 0.146, hand 0.108, shank 0.246, ankle above the sole 0.039 of the body height. So
the tip of the hand lies 0.108 / 0.146 = 0.74 of a forearm beyond the wrist, its middle half as far, the
thumb between; the foot 0.039 / 0.246 = 0.16 of a shank beyond the ankle."""


def get_skeleton(name: str) -> Skeleton:
    """The joint set of this name.

    Raises:
        ConfigError: no such set.
    """
    try:
        return SKELETONS[name]
    except KeyError:
        raise ConfigError(f"unknown joint set {name!r}; known are {', '.join(sorted(SKELETONS))}") from None


def recipe(joint: str, source: Skeleton) -> dict[str, float] | None:
    """How `joint` is made from the joints of `source`: {source joint: weight}, or None if it can't be.

    A joint that the source has is itself; any other follows `DERIVATIONS`, the first way that works, or
    `EXTRAPOLATIONS`. The weights add up to 1; those of extrapolated joints are negative in part.
    """
    return _recipe(joint, source, frozenset())


def _recipe(joint: str, source: Skeleton, asked: frozenset[str]) -> dict[str, float] | None:
    if joint in source.joints:
        return {joint: 1.0}
    if joint in asked:  # a derivation that leads back to itself
        return None
    for way in DERIVATIONS.get(joint, ()):
        parts = [_recipe(part, source, asked | {joint}) for part in way]
        if any(p is None for p in parts):
            continue
        weights: dict[str, float] = {}
        for part in parts:
            for name, weight in (part or {}).items():
                weights[name] = weights.get(name, 0.0) + weight / len(way)
        return weights
    if joint in EXTRAPOLATIONS:
        start, end, beyond = EXTRAPOLATIONS[joint]
        if start in source.joints and end in source.joints:
            return {end: 1.0 + beyond, start: -beyond}
    return None


def remap(keypoints: Float32, scores: Float32, source: Skeleton, target: Skeleton) -> tuple[Float32, Float32]:
    """Keypoints and scores of one joint set as another's, by joint name.

    Args:
        keypoints: (..., K, C) of `source`.
        scores: (..., K) of `source`.
        source: The joint set given.
        target: The joint set wanted.

    Returns:
        Keypoints (..., K', C) and scores (..., K') of `target`. A derived joint has the lowest score
        among the joints it is made of; one that can't be made, or is made of a missing joint, is NaN
        with score 0.
    """
    if source == target:
        return keypoints, scores
    out = np.full((*keypoints.shape[:-2], target.num_joints, keypoints.shape[-1]), np.nan, np.float32)
    out_scores = np.zeros((*scores.shape[:-1], target.num_joints), np.float32)
    for k, joint in enumerate(target.joints):
        weights = recipe(joint, source)
        if weights is None:
            continue
        at = [source.index(name) for name in weights]
        w = np.asarray(list(weights.values()), np.float32)
        out[..., k, :] = np.einsum("...kc,k->...c", keypoints[..., at, :], w)
        seen = np.isfinite(out[..., k, :]).all(axis=-1)
        out_scores[..., k] = np.where(seen, scores[..., at].min(axis=-1), 0)
    return out, out_scores
