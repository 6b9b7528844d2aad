"""Published splits that follow from the names of clips.

Toyota Smarthome (Das et al., ICCV 2019): ``Cook.Cleandishes_p02_r00_v02_c03``, subject p and camera c.
Subjects and cameras are those of the authors' public script ``smarthome_gendata.py`` and of the untrimmed
set's ``smarthome_CS_51.json``, which agree. Cameras that a cross-view protocol does not use are in no split.

NTU RGB+D 60 (Shahroudy et al., CVPR 2016) and 120 (Liu et al., TPAMI 2020): ``S001C002P003R002A013``, setup,
camera, subject, repetition, action; actions above 60 are in no split of NTU-60.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from skelkit.data.tables import listed
from skelkit.errors import ConfigError

_SMARTHOME = re.compile(r"_p(?P<subject>\d+)_r\d+_v\d+_c(?P<camera>\d+)(?=$|\D)")
_NTU = re.compile(
    r"(?<![A-Z0-9])S(?P<setup>\d{3})C(?P<camera>\d{3})P(?P<subject>\d{3})R\d{3}A(?P<action>\d{3})(?=$|\D)"
)

_SMARTHOME_CS = {3, 4, 6, 7, 9, 12, 13, 15, 17, 19, 25}
_NTU60_CS = {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}
_NTU120_CS = _NTU60_CS | {
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89),
    *(91, 92, 93, 94, 95, 97, 98, 100, 103),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A published split."""

    pattern: re.Pattern[str]
    """Finds the fields in a clip's name; each is a number."""
    example: str
    split: Callable[[Mapping[str, int]], str]
    """Fields -> split, ``""`` for none."""


def _by_camera(train: set[int], val: set[int], test: set[int]) -> Callable[[Mapping[str, int]], str]:
    splits = {
        camera: name
        for name, cameras in (("train", train), ("val", val), ("test", test))
        for camera in cameras
    }
    return lambda fields: splits.get(fields["camera"], "")


def _train_if(inside: bool) -> str:
    return "train" if inside else "test"


def _ntu60(split: Callable[[Mapping[str, int]], str]) -> Callable[[Mapping[str, int]], str]:
    return lambda fields: split(fields) if fields["action"] <= 60 else ""


def _smarthome(split: Callable[[Mapping[str, int]], str]) -> Protocol:
    return Protocol(pattern=_SMARTHOME, example="Cook.Cleandishes_p02_r00_v02_c03", split=split)


def _ntu(split: Callable[[Mapping[str, int]], str]) -> Protocol:
    return Protocol(pattern=_NTU, example="S001C002P003R002A013", split=split)


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "smarthome-cs": _smarthome(lambda f: _train_if(f["subject"] in _SMARTHOME_CS)),
        "smarthome-cv1": _smarthome(_by_camera({1}, {5}, {2})),
        "smarthome-cv2": _smarthome(_by_camera({1, 3, 4, 6, 7}, {5}, {2})),
        "ntu60-cs": _ntu(_ntu60(lambda f: _train_if(f["subject"] in _NTU60_CS))),
        "ntu60-cv": _ntu(_ntu60(lambda f: _train_if(f["camera"] in {2, 3}))),
        "ntu120-cs": _ntu(lambda f: _train_if(f["subject"] in _NTU120_CS)),
        "ntu120-cset": _ntu(lambda f: _train_if(f["setup"] % 2 == 0)),
    }
)


def by_protocol(name: str, video_ids: Sequence[str]) -> list[str]:
    """The split of every clip, ``""`` for those that the protocol does not use.

    Raises:
        ConfigError: names without the fields; all of them are told.
    """
    protocol = PROTOCOLS[name]
    found = [protocol.pattern.search(video_id) for video_id in video_ids]
    if bad := [video_id for video_id, match in zip(video_ids, found, strict=True) if match is None]:
        raise ConfigError(
            f"split {name}: expected names of clips such as {protocol.example}, got {len(bad)} others: "
            f"{listed(bad)}"
        )
    fields = ({k: int(v) for k, v in match.groupdict().items()} for match in found if match is not None)
    return [protocol.split(values) for values in fields]
