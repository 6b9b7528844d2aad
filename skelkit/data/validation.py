"""Proof that a shard is what the format says: every column read, every row looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.data.facts import Facts, found_joints, joined, measure
from skelkit.data.preparing import blocks, first_of_people
from skelkit.data.reader import ShardReader
from skelkit.data.rows import Rows
from skelkit.errors import ShardError
from skelkit.structures import Int64

FARTHEST = {"px": 2.0**20, "m": 1000.0}
"""Coordinates beyond this are taken for damage."""
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong."""

    file: str
    what: str
    grave: bool = True
    """False for what may well be meant."""


@dataclass(slots=True, kw_only=True, eq=False)
class ShardCheck:
    """What a look at every row of a shard gave."""

    problems: list[Problem] = field(default_factory=list)
    facts: Facts | None = None
    """None where poses could not be read."""
    digests: list[bytes] = field(default_factory=list)
    """Of every clip's poses; empty for clips without."""


def check_shard(path: Path) -> ShardCheck:
    """Look at everything in a shard; what is wrong is told, nothing is raised."""
    check = ShardCheck()
    try:
        with ShardReader(path) as reader:
            _check(reader, check)
    except ShardError as error:
        check.problems.append(Problem(file=path.name, what=error.message))
    return check


def _check(reader: ShardReader, check: ShardCheck) -> None:
    name = reader.path.name
    ids = reader.video_ids
    if len(set(ids)) != len(ids):
        doubles = sorted({video_id for video_id in ids if ids.count(video_id) > 1})
        check.problems.append(Problem(file=name, what=_of_clips("comes twice", doubles)))
    for i in range(len(reader)):
        try:
            reader.clip(i)
            reader.sources(i)
        except ShardError as error:
            check.problems.append(Problem(file=name, what=error.message))
    for group in reader.header.experts:  # read whole, so that damage shows
        for i in range(len(reader)):
            reader.expert(group, i)
    num_rows = reader.column("num_rows").astype(np.int64)
    facts, joints, levels = [], 0, 0.0
    wrong: dict[str, list[str]] = {}
    for start, stop in blocks(num_rows):
        rows = reader.rows(start, stop)
        counts = num_rows[start:stop]
        for what, clips in _wrong_clips(reader, rows, counts, start, stop):
            wrong.setdefault(what, []).extend(ids[start + i] for i in clips)
        facts.append(measure(rows, counts, reader.column("num_frames")[start:stop].astype(np.int64)))
        joints += int(found_joints(rows).sum())
        levels += float(np.rint(rows.scores.astype(np.float64) * 255).sum())
        check.digests += _digests(rows, counts)
    check.problems += [Problem(file=name, what=_of_clips(what, clips)) for what, clips in wrong.items()]
    check.facts = joined(facts) if facts else None
    told_joints, told_score = reader.joint_totals("poses")
    score = levels / 255 / joints if joints else np.nan
    if told_joints != joints or not np.isclose(told_score, score, atol=1e-9, equal_nan=True):
        told = f"says {told_joints} joints with mean score {told_score:.6g}, it has {joints} with {score:.6g}"
        check.problems.append(Problem(file=name, what=f"/poses {told}"))


def _wrong_clips(
    reader: ShardReader, rows: Rows, num_rows: Int64, start: int, stop: int
) -> Iterator[tuple[str, list[int]]]:
    """What is wrong, and the clips (counted from `start`) where it is."""
    clips = np.arange(stop - start)
    clip = np.repeat(clips, num_rows)
    num_frames = reader.column("num_frames")[start:stop].astype(np.int64)
    found = found_joints(rows)
    absent = np.isnan(rows.keypoints)

    def told(what: str, bad: Any) -> Iterator[tuple[str, list[int]]]:
        if bad.any():
            yield what, np.unique(clip[bad]).tolist()

    first = first_of_people(clip, rows.track)
    new = np.zeros(len(clip), bool)
    new[first] = True
    back = np.zeros(len(clip), bool)
    back[1:] = ~new[1:] & (np.diff(rows.frame) <= 0)
    person = np.stack([clip[first], rows.track[first]], axis=1)
    _, where, again = np.unique(person, axis=0, return_index=True, return_counts=True)
    twice = np.zeros(len(clip), bool)
    twice[first[where[again > 1]]] = True
    limit = FARTHEST[reader.header.coordinate_unit]
    yield from told("has poses outside its frames", (rows.frame < 0) | (rows.frame >= num_frames[clip]))
    yield from told("has a person's frames out of order", back)
    yield from told("has a person's poses apart", twice)
    yield from told("has poses without a joint", ~found.any(axis=1))
    yield from told(
        "has joints with some coordinates only", (absent.any(axis=2) != absent.all(axis=2)).any(axis=1)
    )
    yield from told("has scores for joints not seen", ((rows.scores != 0) & ~found).any(axis=1))
    yield from told("has scores outside 0 to 1", ((rows.scores < 0) | (rows.scores > 1)).any(axis=1))
    yield from told("has coordinates out of this world", (np.abs(rows.keypoints) > limit).any(axis=(1, 2)))
    unsure = rows.confidence
    yield from told("has confidences outside 0 to 1", (unsure < 0) | (unsure > 1) | np.isinf(unsure))
    people = np.bincount(clip[first], minlength=stop - start)
    yield from _told_clips(
        "has another num_people than its poses", people != reader.column("num_people")[start:stop]
    )
    status = reader.column("status")[start:stop]
    expected = np.where(num_rows > 0, "ok", "no_person")
    yield from _told_clips(
        "has a status that its poses belie", np.asarray((status != "failed") & (status != expected), bool)
    )
    index, pts_s = reader.frames(start, stop)
    owner = np.repeat(clips, num_frames)
    same = np.diff(owner) == 0
    falls = same & ((np.diff(index) <= 0) | ~(np.diff(pts_s) >= 0))
    yield from _told_clips(
        "has frames out of order", np.isin(clips, owner[1:][falls]) if len(owner) else clips < 0
    )


def _told_clips(what: str, bad: npt.NDArray[Any]) -> Iterator[tuple[str, list[int]]]:
    if bad.any():
        yield what, np.flatnonzero(bad).tolist()


def _digests(rows: Rows, num_rows: Int64) -> list[bytes]:
    ends = np.cumsum(num_rows)
    found = []
    for end, count in zip(ends.tolist(), num_rows.tolist(), strict=True):
        here = slice(end - count, end)
        content = hashlib.blake2b(rows.keypoints[here].tobytes(), digest_size=16)
        content.update(rows.frame[here].tobytes())
        found.append(content.digest() if count else b"")
    return found


def _of_clips(what: str, clips: list[str]) -> str:
    shown = ", ".join(repr(clip) for clip in clips[:_SHOWN])
    more = f" and {len(clips) - _SHOWN} more" if len(clips) > _SHOWN else ""
    return f"{len(clips)} clip{'s' if len(clips) > 1 else ''}: {what}: {shown}{more}"
