"""Pure functions that compare poses with ground truth."""

from skelkit.metrics.matching import match_to_truth, take_matched
from skelkit.metrics.poses import JointwiseResult, mpjpe, oks, oks_matrix, pck, pckh, pose_errors
from skelkit.metrics.scales import bbox_scale, head_scale, torso_scale

__all__ = [
    "JointwiseResult",
    "bbox_scale",
    "head_scale",
    "match_to_truth",
    "mpjpe",
    "oks",
    "oks_matrix",
    "pck",
    "pckh",
    "pose_errors",
    "take_matched",
    "torso_scale",
]
