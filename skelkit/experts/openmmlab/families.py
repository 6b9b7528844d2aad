"""The kinds of models in OpenMMLab's indexes, and whether they work here; no network is made for that."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from importlib.util import find_spec

from skelkit.errors import MissingExtraError
from skelkit.experts.openmmlab.environment import require
from skelkit.experts.openmmlab.index import Entry, entries

MMPRETRAIN = "pip install --no-deps mmpretrain==1.2.0 && pip install einops modelindex mat4py"
"""What to type for networks with a backbone of mmpretrain, such as ViTPose."""
FAILS = {
    "edpose": "fails in MMPose itself, whatever mmcv is installed",
    "image_pose_lift": "lifts poses to 3D, and sees no pictures",
    "internet": "poses of hands in 3D",
    "motionbert": "lifts poses to 3D, and sees no pictures",
    "video_pose_lift": "lifts poses to 3D, and sees no pictures",
}
"""Families of mmpose (folders of its configs) that are no experts here, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models of one kind."""

    name: str
    """What stands before a model's name, and the folder of the configs: ``mmpose: rtmo``."""
    models: int
    """In the index."""
    aliases: tuple[str, ...]
    """Short names of some of them."""
    works: str
    """``yes``, with what some of them need beyond; or why not; or how to find out."""


def families() -> list[Family]:
    """All kinds of models of mmpose, and mmdet's as one.

    Raises:
        MissingExtraError: OpenMMLab's packages are not installed; what to type is said.
    """
    require()
    found = defaultdict[str, list[Entry]](list)
    for entry in entries("mmpose"):
        found[folder(entry)].append(entry)
    rows = [
        Family(
            name=f"mmpose: {kind}",
            models=len(some),
            aliases=_aliases(some),
            works=f"no: {FAILS[kind]}" if kind in FAILS else _yes(some),
        )
        for kind, some in sorted(found.items())
    ]
    every = entries("mmdet")
    works = "detectors of people do; to see: skelkit experts check mmdet:NAME@random"
    return [*rows, Family(name="mmdet", models=len(every), aliases=_aliases(every), works=works)]


def missing() -> str:
    """What to type before there are any families; empty where the packages are installed."""
    try:
        require()
    except MissingExtraError as error:
        return error.message
    return ""


def folder(entry: Entry) -> str:
    """The folder of a method: of mmpose below that of the task, ``configs/body_2d_keypoint/rtmo/...``."""
    parts = entry.config.parts
    return parts[min(len(parts) - parts[::-1].index("configs") + 1, len(parts) - 2)]


def _yes(some: list[Entry]) -> str:
    if find_spec("mmpretrain") is not None:
        return "yes"
    lacking = sum("mmpretrain" in entry.config.read_text("utf-8") for entry in some)
    return f"yes; {lacking} need mmpretrain, such as ViTPose" if lacking else "yes"


def _aliases(some: list[Entry] | tuple[Entry, ...]) -> tuple[str, ...]:
    return tuple(sorted({alias.strip() for entry in some for alias in entry.aliases}))
