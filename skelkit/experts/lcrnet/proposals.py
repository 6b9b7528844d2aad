"""The region proposal network, which learns nothing where it is in doubt whether somebody is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork

from skelkit.experts.lcrnet.targets import in_doubt

_NOT_COUNTED = -1
"""What torchvision's losses leave out."""


class Proposals(RegionProposalNetwork):  # type: ignore[misc]  # torchvision is not typed
    """torchvision's, with targets that also have ``doubtful`` boxes (D, 4)."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels (person, background, not counted) and boxes of the anchors of every picture."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        counted: Any = [
            torch.where((own == 0) & in_doubt(where, target["doubtful"]), _NOT_COUNTED, own)
            for own, where, target in zip(labels, anchors, targets, strict=True)
        ]
        return counted, boxes
