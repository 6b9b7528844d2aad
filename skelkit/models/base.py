"""What all networks share: their settings, their input, their heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
)
from torch import Tensor, nn
from torch.nn import functional

from skelkit.errors import ConfigError
from skelkit.models.maps import JointMaps, JointUnit, joint_units
from skelkit.skeletons import get_skeleton
from skelkit.structures import Skeleton


def _joint_set(value: Any) -> Any:
    try:
        if isinstance(value, str):
            return get_skeleton(value)
        return Skeleton.from_dict(dict(value)) if isinstance(value, Mapping) else value
    except ConfigError as error:
        raise ValueError(error.message) from error  # pydantic collects it with the other problems


JointSet = Annotated[
    InstanceOf[Skeleton], BeforeValidator(_joint_set), PlainSerializer(Skeleton.to_dict, return_type=dict)
]
"""A joint set: a `Skeleton`, the name of one, or what `Skeleton.to_dict` gives."""


def _odd(value: int) -> int:
    if value < 1 or value % 2 == 0:
        raise ValueError(f"expected an odd number, got {value}")
    return value


def _quarters(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value or any(c < 4 or c % 4 for c in value):
        raise ValueError(f"expected multiples of 4, got {value}")
    return value


Odd = Annotated[int, AfterValidator(_odd)]
"""A number of frames with one in the middle."""

Widths = Annotated[tuple[int, ...], AfterValidator(_quarters)]
"""Output channels of each block, multiples of 4 (embeddings have a quarter of them). Where they grow from one
block to the next, time is halved."""


class ModelConfig(BaseModel):
    """Settings of every network."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    skeleton: JointSet
    num_classes: int = Field(ge=1)
    in_channels: int = Field(default=2, ge=1, description="C: coordinates of a joint")
    num_people: int = Field(default=2, ge=1, description="M: people in a clip")
    head: Literal["clip", "frame"] = Field(
        default="clip",
        description="clip: logits (B, classes); frame: logits (B, T, classes), for segmentation",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="before the classifier")


class SkeletonModel(nn.Module):
    """A network on skeleton sequences.

    Subclasses set `name` and `Config`, and write `encode`. Keypoints are all that a network sees, those of a
    `ClipBatch`: 0 where there is no joint, as in the papers' data, and where the joint is taken to be if the
    data was told to fill in joints (`data.missing`). Whether a joint was seen (`ClipBatch.visible`) is for
    losses and figures.

    Args:
        config: Its settings.
        num_features: D, channels of the features.
        normalise_people: Whether the batch normalisation of the input knows people apart (M K C statistics,
            as in 2s-AGCN, MS-G3D, UNIK) or not (K C, as in ST-GCN).
    """

    name: ClassVar[str]
    """In the registry."""
    Config: ClassVar[type[ModelConfig]]
    """Its settings."""

    def __init__(self, config: ModelConfig, *, num_features: int, normalise_people: bool = True) -> None:
        super().__init__()
        self.config = config
        self.num_features = num_features
        per_person = config.skeleton.num_joints * config.in_channels
        self.data_bn = nn.BatchNorm1d(config.num_people * per_person if normalise_people else per_person)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(num_features, config.num_classes)

    def encode(self, x: Tensor) -> Tensor:
        """Normalised input (n, T, K, C) -> features (n, T', K, D), for n = B M people."""
        raise NotImplementedError

    def forward_features(self, keypoints: Tensor) -> Tensor:
        """Features of every person, time step and joint.

        Args:
            keypoints: float (B, M, T, K, C), without NaN; 0 where there is no joint.

        Returns:
            (B, M, T', K, D); T' is T over the network's temporal stride, rounded up.

        Raises:
            ConfigError: the shape is not what the network is made for.
        """
        self._check(keypoints)
        x = keypoints.transpose(1, 2)  # (B, T, M, K, C)
        x = self.data_bn(x.reshape(-1, self.data_bn.num_features)).view(x.shape)
        features = self.encode(x.transpose(1, 2).flatten(0, 1))
        return features.reshape(-1, self.config.num_people, *features.shape[1:])

    def forward(self, keypoints: Tensor) -> Tensor:
        """Logits: (B, classes), or (B, T, classes) with the frame-wise head.

        The clip head averages the features over people, time and joints; the frame-wise one over people and
        joints, and brings them back to T by linear interpolation.
        """
        features = self.forward_features(keypoints)  # (B, M, T', K, D)
        if self.config.head == "clip":
            pooled = features.mean(dim=(1, 2, 3))  # (B, D)
        else:
            pooled = features.mean(dim=(1, 3)).transpose(1, 2)  # (B, D, T')
            pooled = functional.interpolate(pooled, size=keypoints.shape[2], mode="linear").transpose(1, 2)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits

    @torch.no_grad()
    def maps(self, keypoints: Tensor | None = None) -> list[JointMaps]:
        """Which joints enter which others, unit by unit (figure 5 of UNIK); empty where no unit mixes joints.

        Args:
            keypoints: Clips as for `forward_features`, for what follows from them; None = the weights alone.
        """
        units = joint_units(self)
        adapted: dict[nn.Module, Tensor | None] = {}

        def look(unit: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(unit, JointUnit)  # noqa: S101  # these alone are hooked
            adapted[unit] = unit.adapted(inputs[0])

        if keypoints is not None:
            hooks = [unit.register_forward_pre_hook(look) for unit in units.values()]
            try:
                self.forward_features(keypoints)
            finally:
                for hook in hooks:
                    hook.remove()
        return [
            JointMaps(
                name=name,
                matrix=unit.matrix,
                before=unit.begun_with(),
                learned=unit.shared().detach(),
                attention=None
                if (found := adapted.get(unit)) is None
                else torch.unflatten(found, 0, (-1, self.config.num_people)),
            )
            for name, unit in units.items()
        ]

    def _check(self, keypoints: Tensor) -> None:
        c = self.config
        expected = (c.num_people, c.skeleton.num_joints, c.in_channels)
        shape = tuple(keypoints.shape)
        if len(shape) != 5 or (shape[1], *shape[3:]) != expected or shape[2] < 1:
            raise ConfigError(
                f"expected keypoints (B, M={expected[0]}, T, K={expected[1]}, C={expected[2]}), got {shape}; "
                f"try clips with the joint set {c.skeleton.name!r} and {expected[0]} people",
                expected=expected,
                got=shape,
            )


class ChannelNorm(nn.BatchNorm1d):
    """Batch normalisation over the last axis of (..., C)."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)
