"""Pure functions that compare poses, and classes, with ground truth."""

from skelkit.metrics.classification import (
    confusion_matrix,
    mean_class_accuracy,
    per_class_accuracy,
    top_k_accuracy,
)
from skelkit.metrics.matching import match_to_truth, take_matched
from skelkit.metrics.poses import JointwiseResult, mpjpe, oks, oks_matrix, pck, pckh, pose_errors
from skelkit.metrics.scales import bbox_scale, head_scale, torso_scale

__all__ = [
    "JointwiseResult",
    "bbox_scale",
    "confusion_matrix",
    "head_scale",
    "match_to_truth",
    "mean_class_accuracy",
    "mpjpe",
    "oks",
    "oks_matrix",
    "pck",
    "pckh",
    "per_class_accuracy",
    "pose_errors",
    "take_matched",
    "top_k_accuracy",
    "torso_scale",
]
