"""Public LCR-Net++ checkpoints (Rogez, Weinzaepfel and Schmid 2019) as networks of ours.

Such a file, ``InTheWild-ResNet50.pkl`` for instance, is a pickle of a dictionary:

============  =====================================================================================
anchor_poses  (K, 5 J): the x of all joints, their y, and X, Y, Z in 3-D; the last three are left out
cfg           settings that change Detectron.pytorch's own
model         weights by name: ``Conv_Body``, ``RPN``, ``Box_Head`` (fifth stage), ``Pose_Outs``
ppi_params    of the authors' pose proposal integration, which needs 3-D poses; ours is used instead
============  =====================================================================================

The format is that which the public test code reads (LCR-Net release 2.0 and naver/lcrnet-v2-improved-ppi,
with roytseng-tw/Detectron.pytorch). Nothing more of the files is documented, and none was at hand: that our
network computes what the test code describes is tested with random weights, equality on the real ones is not.
The names of 17 joints follow from the bones that the public demo draws. Networks with a feature pyramid, for
hands or for faces are refused.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skelkit.errors import ConfigError, WeightsError
from skelkit.experts.lcrnet.c4 import C4, PIXEL_MEANS
from skelkit.experts.lcrnet.network import LCRNet
from skelkit.experts.lcrnet.pickles import read_pickle
from skelkit.skeletons import LCR13, LCR17
from skelkit.structures import Float32, Skeleton

_SKELETONS = (LCR13, LCR17)
_VALUES = 5
"""Per joint: two in the picture, three in space."""
_POSE_SCALE = 5.0
"""By which the test code divides what the regression gives."""
_NETWORK: Mapping[str, tuple[Any, Any]] = {
    # setting: (what our network needs, what Detectron.pytorch takes where a file does not say)
    "MODEL.CONV_BODY": ("ResNet.ResNet50_conv4_body", ""),
    "MODEL.CLS_AGNOSTIC_BBOX_REG": (False, False),
    "FPN.FPN_ON": (False, False),
    "RESNETS.STRIDE_1X1": (True, True),
    "RPN.CLS_ACTIVATION": ("sigmoid", "sigmoid"),
    "RPN.OUT_DIM_AS_IN_DIM": (True, True),
    "TEST.RPN_MIN_SIZE": (0, 0),
    "FAST_RCNN.ROI_BOX_HEAD": ("ResNet.ResNet_roi_conv5_head", ""),
    "FAST_RCNN.ROI_XFORM_METHOD": ("RoIAlign", "RoIPoolF"),
    "FAST_RCNN.ROI_XFORM_RESOLUTION": (14, 14),
    "FAST_RCNN.ROI_XFORM_SAMPLING_RATIO": (0, 0),
}
_LAYERS = {
    "backbone.": "Conv_Body.",
    "localisation.head.conv.0.0.": "RPN.RPN_conv.",
    "localisation.head.cls_logits.": "RPN.RPN_cls_score.",
    "localisation.head.bbox_pred.": "RPN.RPN_bbox_pred.",
    "shared.": "Box_Head.",
    "classification.": "Pose_Outs.cls_score.",
    "regression.": "Pose_Outs.pose_pred.",
}
"""Beginnings of names, ours: public."""
_SHOWN = 4


def import_public(path: Path) -> tuple[LCRNet, Skeleton, dict[str, Any]]:
    """A public checkpoint; nothing in it is executed.

    Args:
        path: Of the pickle.

    Returns:
        The network in evaluation mode, its joint set, and the facts that `save_network` wants: ``side``, of
        the squares in which it is refined. At inference pictures have the sides that the checkpoint says.

    Raises:
        WeightsError: the file cannot be read without running code from it, or is of another network.
    """
    content = read_pickle(path)
    if lacking := [key for key in ("anchor_poses", "cfg", "model") if key not in content]:
        raise WeightsError(
            f"expected a public LCR-Net++ checkpoint in {path}, it lacks {', '.join(lacking)}; it holds "
            f"{_some(map(str, content))}",
            path=path,
        )
    anchors, skeleton = _anchors(content["anchor_poses"], path)
    c4, means = _settings(content["cfg"], path)
    network = LCRNet(torch.from_numpy(anchors), c4)
    network.load_state_dict(_state(network, content["model"], means, path))
    side = -(-c4.longer_side // 32) * 32
    return network.eval(), skeleton, {"side": side, "imported": path.name}


def _anchors(poses: Any, path: Path) -> tuple[Float32, Skeleton]:
    """Anchor poses (K, J, 2)."""
    shape = poses.shape if isinstance(poses, np.ndarray) and poses.dtype.kind == "f" else ()
    skeleton = {(len(poses), _VALUES * s.num_joints): s for s in _SKELETONS}.get(shape) if shape else None
    if skeleton is None or not len(poses) or not np.isfinite(poses).all():
        raise WeightsError(
            f"expected anchor_poses of (K, {_VALUES} J) finite numbers, J = 13 or 17 joints, in {path}; "
            f"got {shape or type(poses).__name__}; networks for other joints are not supported",
            path=path,
        )
    plane = poses.reshape(len(poses), _VALUES, skeleton.num_joints)[:, :2].transpose(0, 2, 1)
    return np.ascontiguousarray(plane, np.float32), skeleton


def _settings(cfg: Any, path: Path) -> tuple[C4, Tensor]:
    """What differs between networks, and the pixel means (3, 1, 1)."""
    try:
        found = {name: _setting(cfg, name, default) for name, (_, default) in _NETWORK.items()}
        other = [
            f"{name}: expected {needed!r}, got {found[name]!r}"
            for name, (needed, _) in _NETWORK.items()
            if found[name] != needed
        ]
        c4 = C4(
            shorter_side=int(_setting(cfg, "TEST.SCALE", 600)),
            longer_side=int(_setting(cfg, "TEST.MAX_SIZE", 1000)),
            sizes=tuple(float(v) for v in _setting(cfg, "RPN.SIZES", (64, 128, 256, 512))),
            ratios=tuple(float(v) for v in _setting(cfg, "RPN.ASPECT_RATIOS", (0.5, 1, 2))),
            candidates=int(_setting(cfg, "TEST.RPN_PRE_NMS_TOP_N", 12000)),
            regions=int(_setting(cfg, "TEST.RPN_POST_NMS_TOP_N", 2000)),
            overlap=float(_setting(cfg, "TEST.RPN_NMS_THRESH", 0.7)),
        )
        means = np.asarray(_setting(cfg, "PIXEL_MEANS", PIXEL_MEANS), np.float32).reshape(3, 1, 1)
    except (ConfigError, TypeError, ValueError) as error:
        raise WeightsError(f"expected Detectron's settings as cfg in {path}: {error}", path=path) from error
    if other:
        raise WeightsError(
            f"{path} is of a network that we do not have ({'; '.join(other)}); those on ResNet-50 without a "
            "feature pyramid can be imported, such as InTheWild-ResNet50",
            path=path,
            settings=other,
        )
    return c4, torch.from_numpy(means)


def _setting(cfg: Any, name: str, default: Any) -> Any:
    """One of them; texts that say a Python value are that value, as when Detectron reads its YAML."""
    found = cfg
    for key in name.split("."):
        if not isinstance(found, dict):
            raise TypeError(f"{name}: expected a dictionary around {key}, got a {type(found).__name__}")
        if key not in found:
            return default
        found = found[key]
    if isinstance(found, str):
        try:
            return literal_eval(found)
        except (ValueError, SyntaxError):
            return found
    return found


def _state(network: LCRNet, model: Any, means: Tensor, path: Path) -> dict[str, Tensor]:
    """The network's state with the file's weights in it."""
    if not isinstance(model, dict) or not all(isinstance(value, Tensor) for value in model.values()):
        raise WeightsError(f"expected tensors by name as model in {path}, found other things", path=path)
    state = network.state_dict()
    names = {_public(name): name for name in state if _public(name)}
    shapes = {public: tuple(state[name].shape) for public, name in names.items()}
    for part in ("weight", "bias"):
        public = f"{_LAYERS['regression.']}{part}"
        shapes[public] = ((network.num_anchors + 1) * _VALUES * network.num_joints, *shapes[public][1:])
    _check(shapes, model, path)
    for public, name in names.items():
        tensor = model[public].float()
        state[name] = _plane(tensor, network.num_joints) if name.startswith("regression.") else tensor
    return state | {"backbone.mean": means}


def _public(name: str) -> str:
    """A parameter's public name; empty if it has none."""
    if name == "backbone.mean" or name.endswith(("running_mean", "running_var")):
        return ""
    return next((new + name.removeprefix(old) for old, new in _LAYERS.items() if name.startswith(old)), "")


def _check(shapes: dict[str, tuple[int, ...]], model: dict[str, Tensor], path: Path) -> None:
    missing = [name for name in shapes if name not in model]
    unexpected = [str(name) for name in model if name not in shapes]
    other = [
        f"{name} {tuple(model[name].shape)} instead of {shape}"
        for name, shape in shapes.items()
        if name in model and tuple(model[name].shape) != shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    if said := [f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names]:
        raise WeightsError(
            f"expected the {len(shapes)} parameters of LCR-Net++ on ResNet-50 in {path}: {'; '.join(said)}",
            path=path,
            missing=missing,
            unexpected=unexpected,
            shapes=other,
        )


def _plane(tensor: Tensor, joints: int) -> Tensor:
    """((K + 1) 5 J, ...) -> (K J 2, ...): without background and depth, joint by joint, and as it is used."""
    by_class = tensor.view(-1, _VALUES, joints, *tensor.shape[1:])[1:, :2]
    return by_class.transpose(1, 2).flatten(0, 2) / _POSE_SCALE


def _some(names: Collection[str] | Any) -> str:
    every = list(names)
    return ", ".join(every[:_SHOWN]) + (", ..." if len(every) > _SHOWN else "")
