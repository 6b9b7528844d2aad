"""Expert cards: a network described in a small TOML file, so that users add their own without code.

A card says which file the network is, what its input must look like, how its output is decoded, and how
its raw scores become comparable. `docs` for writing one: the built-in cards in ``skelkit/experts/cards``.
"""

from __future__ import annotations

import os
import tomllib
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from skelkit.errors import ConfigError
from skelkit.registry import unknown
from skelkit.skeletons import get_skeleton
from skelkit.structures import Skeleton


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Weights(_Part):
    """The file of the network, and where it can be had."""

    file: str = Field(description="looked for in --weights, SKELKIT_WEIGHTS, beside the card, in the cache")
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{8,64}$", description="of the file itself, or its first digits"
    )
    urls: tuple[str, ...] = Field(default=(), description="mirrors, tried in order")
    archive_member: str | None = Field(
        default=None, description="name of the network inside a downloaded zip"
    )

    @field_validator("file")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if value in ("", "..") or Path(value).name != value:
            raise ValueError("expected a plain file name without folders")
        return value

    @field_validator("urls")
    @classmethod
    def _https(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [u for u in value if not u.startswith(("https://", "file://"))]:
            raise ValueError(f"expected https:// addresses, got {bad}")
        return value


class Input(_Part):
    """What the network's first input looks like, and how a picture is brought to it."""

    width: int = Field(gt=0, description="pixels; with fit = 'height' the greatest width")
    height: int = Field(gt=0, description="pixels")
    layout: Literal["NCHW", "NHWC"]
    channels: Literal["RGB", "BGR"]
    dtype: Literal["float32", "uint8"] = "float32"
    mean: tuple[float, float, float] = Field(
        default=(0, 0, 0), description="in the order of `channels`, 0..255"
    )
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        default=(1, 1, 1), description="in the order of `channels`, 0..255"
    )
    fit: Literal["crop", "letterbox", "height"] = Field(
        description="crop: around a person (top-down); letterbox: the whole picture in the top left corner; "
        "height: the whole picture scaled to `height`, the width following in steps of 8"
    )
    fill: int = Field(default=0, ge=0, le=255, description="grey value outside the picture")
    crop_scale: float = Field(default=1.25, gt=0, description="crop side over box side (fit = 'crop')")

    @model_validator(mode="after")
    def _bytes_are_not_normalised(self) -> Input:
        if self.dtype == "uint8" and (any(self.mean) or any(s != 1 for s in self.std)):
            raise ValueError("a uint8 input cannot be normalised: leave out mean and std, or use float32")
        return self


class YoloBoxes(_Part):
    """YOLO-style head: one row per anchor, boxes then class scores."""

    type: Literal["yolo"]
    strides: tuple[PositiveInt, ...] = Field(
        default=(), description="of the grids, for rows not yet decoded (YOLOX)"
    )
    objectness: bool = Field(
        default=True, description="column 4 is an objectness that multiplies the classes"
    )
    transposed: bool = Field(default=False, description="output is (B, columns, rows), as in YOLOv8")
    person_class: int = Field(default=0, ge=0)
    min_score: float = Field(default=0.1, ge=0, le=1, description="boxes below are dropped")
    nms_iou: float = Field(default=0.45, gt=0, le=1)


class EndToEndBoxes(_Part):
    """(B, N, 5) boxes x1, y1, x2, y2, score and (B, N) labels, NMS already inside (MMDeploy)."""

    type: Literal["end2end"]
    person_class: int = Field(default=0, ge=0)
    min_score: float = Field(default=0.1, ge=0, le=1)


class Heatmaps(_Part):
    """One heatmap per joint: argmax, refined below a cell."""

    type: Literal["heatmap"]
    layout: Literal["NCHW", "NHWC"]
    blur: float = Field(default=0.0, ge=0, description="Gaussian, cells: steadies the peaks of noisy maps")
    offset: float = Field(
        default=0.0,
        description="cell i lies at stride * (i + offset) pixels of the input; stride from the shapes",
    )


class SimCC(_Part):
    """Two 1-D classifications per joint, along x and along y (SimCC, RTMPose)."""

    type: Literal["simcc"]
    split_ratio: float = Field(default=2.0, gt=0, description="bins per input pixel")


class Coordinates(_Part):
    """Joints given directly, as fractions of the input (MoveNet)."""

    type: Literal["coordinates"]
    order: Literal["yxs", "xys"] = "xys"


class Limb(_Part):
    """One part-affinity field: the bone it draws and its two channels."""

    joints: tuple[str, str] = Field(description="the field points from the first to the second")
    channels: tuple[NonNegativeInt, NonNegativeInt] = Field(
        description="x and y, counted over the whole output"
    )


class AffinityFields(_Part):
    """Heatmaps and part-affinity fields of a whole picture, grouped into people (OpenPose)."""

    type: Literal["paf"]
    layout: Literal["NCHW", "NHWC"]
    offset: float = 0.0
    limbs: tuple[Limb, ...] = Field(min_length=1)
    min_peak: float = Field(default=0.05, ge=0)
    min_affinity: float = Field(default=0.05, ge=0, description="of a sample on a bone")
    min_joints: int = Field(default=4, ge=1, description="joints a person must have")
    min_person: float = Field(default=0.3, ge=0, description="mean of peaks and bones a person must have")


class OneStage(_Part):
    """(B, N, 5) boxes with scores and (B, N, K, 3) joints with scores (RTMO, YOLO-pose end to end)."""

    type: Literal["one-stage"]
    min_score: float = Field(default=0.3, ge=0, le=1)
    nms_iou: float = Field(default=0.65, gt=0, le=1)


Decoder = Annotated[
    YoloBoxes | EndToEndBoxes | Heatmaps | SimCC | Coordinates | AffinityFields | OneStage,
    Field(discriminator="type"),
]

_DECODERS_OF_KIND = {
    "detector": {"yolo", "end2end"},
    "top-down": {"heatmap", "simcc", "coordinates"},
    "bottom-up": {"paf"},
    "one-stage": {"one-stage"},
}


class Calibration(_Part):
    """Raw joint score -> [0, 1], piecewise linear and never falling.

    The target is the share of joints with that raw score that lie within 0.2 torso lengths of the truth
    (PCK@0.2), so that one number means the same from every expert. ``benchmarks/calibrate.py`` fits it.
    """

    raw: tuple[float, ...] = Field(default=(0, 1), min_length=2)
    score: tuple[float, ...] = Field(default=(0, 1), min_length=2)
    not_found_below: float = Field(
        default=0.0, description="raw scores that do not exceed this mean: joint not found (NaN)"
    )

    @model_validator(mode="after")
    def _monotone(self) -> Calibration:
        if len(self.raw) != len(self.score):
            raise ValueError(
                f"expected as many raw as score knots, got {len(self.raw)} and {len(self.score)}"
            )
        if any(b <= a for a, b in zip(self.raw, self.raw[1:], strict=False)):
            raise ValueError("expected strictly rising raw knots")
        if any(b < a for a, b in zip(self.score, self.score[1:], strict=False)):
            raise ValueError("expected score knots that never fall")
        if min(self.score) < 0 or max(self.score) > 1:
            raise ValueError("expected score knots in [0, 1]")
        return self


class Card(BaseModel):
    """A network as skelkit runs it."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, ignored_types=(cached_property,)
    )
    _folder: Path | None = PrivateAttr(default=None)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")
    kind: Literal["detector", "top-down", "bottom-up", "one-stage"]
    summary: str
    licence: str
    source: str
    verified: bool = Field(description="whether skelkit has been run with this very file")
    weights: Weights
    input: Input
    decoder: Decoder
    joints: str | None = Field(default=None, description="joint set, a name in skelkit.skeletons")
    calibration: Calibration = Calibration()

    @model_validator(mode="after")
    def _fits_together(self) -> Card:
        problems = []
        allowed = _DECODERS_OF_KIND[self.kind]
        if self.decoder.type not in allowed:
            problems.append(
                f"kind {self.kind!r} needs a decoder among {sorted(allowed)}, got {self.decoder.type!r}"
            )
        if (self.kind == "top-down") != (self.input.fit == "crop"):
            problems.append("input.fit = 'crop' belongs to kind 'top-down', and to no other")
        if getattr(self.decoder, "strides", ()) and self.input.fit == "height":
            problems.append("decoder.strides needs an input of fixed size: input.fit = 'letterbox'")
        if (self.kind == "detector") == (self.joints is not None):
            problems.append("every pose expert names its `joints`, a detector has none")
        if self.joints is not None:
            try:
                skeleton = get_skeleton(self.joints)
                for limb in getattr(self.decoder, "limbs", ()):
                    for joint in limb.joints:
                        skeleton.index(joint)
            except ConfigError as error:
                problems.append(error.message)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def folder(self) -> Path | None:
        """Where a user's card lies, and perhaps its network beside it; None for a built-in card."""
        return self._folder

    def beside(self, folder: Path) -> Card:
        """The same card, whose network lies in this folder."""
        card = self.model_copy()
        card._folder = folder
        return card

    @cached_property
    def skeleton(self) -> Skeleton:
        """The joint set of a pose expert."""
        if self.joints is None:
            raise ConfigError(f"{self.name} is a detector and has no joints")
        return get_skeleton(self.joints)


def load_card(name_or_path: str) -> Card:
    """The card of this name, or the card in a TOML file.

    Args:
        name_or_path: A built-in card's name, or a path ending in ``.toml``.

    Raises:
        ConfigError: no such card, or one that does not validate (every problem is listed).
    """
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        return _parse(path).beside(path.parent)
    known = _builtin()
    if name_or_path not in known:
        raise ConfigError(
            unknown("expert", name_or_path, known) + "; or give the path of a card ending in .toml"
        )
    return _parse(known[name_or_path])


def all_cards() -> list[Card]:
    """Every built-in card: detectors first, then by name."""
    return sorted((_parse(p) for p in _builtin().values()), key=lambda c: (c.kind != "detector", c.name))


def _builtin() -> dict[str, Path]:
    folder = Path(str(files("skelkit.experts") / "cards"))
    return {p.stem: p for p in sorted(folder.glob("*.toml"))}


def _parse(path: Path) -> Card:
    where = os.fspath(path)
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"expected a card at {where}, found no such file", path=where) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"expected a card (TOML) at {where}, cannot read it: {error}", path=where
        ) from error
    try:
        return Card.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(x) for x in e['loc']) or 'card'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise ConfigError(
            f"card {where} has {error.error_count()} problem(s): {problems}", path=where
        ) from error
