"""A stand-in for ``mmcv._ext``, mmcv's compiled operators, made of torchvision's and plain torch.

It has what the networks here call when they predict, on the CPU and on a GPU. Any other operator is there,
too, since mmcv looks for all of them as it is imported, but says where to get it when it is called. Results
agree with the compiled operators' to rounding.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor
from torchvision import ops

from skelkit.errors import ExpertError

_NAME = "mmcv._ext"


class Operators(ModuleType):
    """The module mmcv sees."""

    def __getattr__(self, name: str) -> Any:
        """Operators that are not among ours."""
        if name.startswith("__"):
            raise AttributeError(name)

        def lacking(*_: Any, **__: Any) -> NoReturn:
            raise ExpertError(
                f"this network needs mmcv's operator {name!r}, which only the compiled mmcv has; try: "
                "pip uninstall mmcv-lite && pip install mmcv==2.1.0 (builds for 10 to 20 minutes, needs a "
                "C++20 compiler)",
                operator=name,
            )

        return lacking


def register() -> None:
    """Put the stand-in where mmcv looks for its operators, unless it has compiled ones."""
    if registered() or find_spec(_NAME) is not None:
        return
    module = Operators(_NAME, __doc__)
    module.__spec__ = ModuleSpec(_NAME, loader=None)
    for operator in (
        nms,
        softnms,
        roi_align_forward,
        deform_conv_forward,
        modulated_deform_conv_forward,
        ms_deform_attn_forward,
    ):
        setattr(module, operator.__name__, operator)
    sys.modules[_NAME] = module


def registered() -> bool:
    """Whether the stand-in is in place."""
    return isinstance(sys.modules.get(_NAME), Operators)


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the (N, 4) boxes kept, best first."""
    if offset:  # a box from pixel 3 to pixel 5 is 3 wide
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    kept: Tensor = ops.nms(boxes, scores, iou_threshold)
    return kept


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Boxes lose score by their overlap with better ones (Bodla et al., Soft-NMS, 2017).

    Args:
        boxes: (N, 4).
        scores: (N,).
        dets: (N, 5) filled with the kept boxes and their lowered scores, best first.
        iou_threshold: Overlap from which the linear way lowers, and the plain one drops.
        sigma: Of the Gaussian way.
        min_score: Boxes that fall below are dropped.
        method: 0 plain, 1 linear, 2 Gaussian.
        offset: 1 where a box from pixel 3 to pixel 5 is 3 wide.

    Returns:
        Indices of the kept boxes, in the order of `dets`.
    """
    sized = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    left, scores = torch.arange(len(boxes)), scores.clone()
    kept: list[int] = []
    while len(left):
        best = int(left[scores[left].argmax()])
        dets[len(kept)] = torch.cat([boxes[best], scores[best, None]])
        kept.append(best)
        left = left[left != best]
        overlap = ops.box_iou(sized[best, None], sized[left])[0]
        if method == 2:
            weight = torch.exp(-(overlap**2) / sigma)
        else:
            weight = torch.where(overlap >= iou_threshold, 1 - overlap if method == 1 else 0.0, 1.0)
        scores[left] = scores[left] * weight
        left = left[scores[left] >= min_score]
    return torch.as_tensor(kept, dtype=torch.long)


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Features under (R, 5) boxes of frames, averaged in cells, into `output`."""
    if pool_mode != 1:
        raise ExpertError(
            "RoIAlign by maximum needs the compiled mmcv; the mean is what published networks use"
        )
    size = (aligned_height, aligned_width)
    output.copy_(ops.roi_align(features, rois, size, spatial_scale, sampling_ratio, aligned))


def deform_conv_forward(  # noqa: PLR0917  (mmcv's order)
    features: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    kW: int,  # noqa: N803  (mmcv's names)
    kH: int,  # noqa: N803
    dW: int,  # noqa: N803
    dH: int,  # noqa: N803
    padW: int,  # noqa: N803
    padH: int,  # noqa: N803
    dilationW: int,  # noqa: N803
    dilationH: int,  # noqa: N803
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Convolution at shifted places (Dai et al., Deformable Convolutional Networks, 2017)."""
    output.copy_(
        ops.deform_conv2d(
            features,
            offset,
            weight,
            stride=(dH, dW),
            padding=(padH, padW),
            dilation=(dilationH, dilationW),
        )
    )


def modulated_deform_conv_forward(  # noqa: PLR0917
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """The same with a weight for each place (Zhu et al., Deformable ConvNets v2, 2019)."""
    output.copy_(
        ops.deform_conv2d(
            features,
            offset,
            weight,
            bias if with_bias else None,
            stride=(stride_h, stride_w),
            padding=(pad_h, pad_w),
            dilation=(dilation_h, dilation_w),
            mask=mask,
        )
    )


def ms_deform_attn_forward(
    value: Tensor,
    shapes: Tensor,
    starts: Tensor,
    locations: Tensor,
    weights: Tensor,
    *,
    im2col_step: int,
) -> Tensor:
    """Attention at a few places of several feature maps; mmcv has it in plain torch, for the CPU."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    attended: Tensor = multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)
    return attended
