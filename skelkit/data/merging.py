"""Several shards -> one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skelkit.data.layout import Header
from skelkit.data.reader import ShardReader
from skelkit.data.writer import ShardWriter
from skelkit.errors import ShardError

_MAX_OPEN = 8
"""Parts kept open while clips are taken from them in turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSummary:
    """What a merge did."""

    path: Path
    num_parts: int
    num_clips: int
    num_frames: int
    num_rows: int
    """Pose rows, without the experts'."""


def merge_shards(
    out_path: str | os.PathLike[str],
    parts: Sequence[str | os.PathLike[str]],
    *,
    order: Sequence[str] | None = None,
) -> MergeSummary:
    """Copy the clips of `parts` into one shard, byte for byte the one that writing them in one go gives.

    Clips are copied one at a time as stored; memory is that of the clips' names and a few open parts.

    Args:
        out_path: The shard made; it appears when all is copied, and may be one of the parts.
        parts: Shards with the same joint sets, experts, unit and recipe.
        order: Every video_id of the parts, in the order wanted; None = part after part.

    Raises:
        ShardError: no parts, a damaged part, parts that differ (with the first difference), a video_id in
            two parts, or an order that is not the clips'. Nothing is written then.
        OutputError: the disk is full, or writing is not permitted.
    """
    paths = [Path(part) for part in parts]
    header, where = _survey(paths)
    frames = rows = 0
    with (
        OpenShards(paths) as readers,
        ShardWriter(
            out_path,
            skeleton=header.skeleton,
            recipe=header.recipe,
            experts=header.experts,
            dimensions=header.dimensions,
            coordinate_unit=header.coordinate_unit,
        ) as writer,
    ):
        for part, index in where.values() if order is None else _ordered(where, order):
            record = readers[part].record(index)
            writer.append(record)
            frames += record.clip.num_frames
            rows += len(record.groups["poses"])
    return MergeSummary(
        path=Path(out_path), num_parts=len(paths), num_clips=len(where), num_frames=frames, num_rows=rows
    )


def _survey(paths: Sequence[Path]) -> tuple[Header, dict[str, tuple[int, int]]]:
    """The parts' common header, and video_id -> (part, position in it)."""
    header: Header | None = None
    where: dict[str, tuple[int, int]] = {}
    for part, path in enumerate(paths):
        with ShardReader(path) as reader:
            header = header or reader.header
            if difference := first_difference(_settings(header), _settings(reader.header)):
                name, expected, got = difference[0], brief(difference[1]), brief(difference[2])
                raise ShardError(
                    f"cannot merge: {name} is {expected} in {paths[0]}, but {got} in {path}; "
                    "merge shards of one recipe only",
                    path=path,
                    expected=expected,
                    got=got,
                )
            for index, video_id in enumerate(reader.video_ids):
                if video_id in where:
                    first = paths[where[video_id][0]]
                    raise ShardError(
                        f"cannot merge: clip {video_id!r} is in {first} and in {path}; leave one of them out",
                        path=path,
                        video_id=video_id,
                    )
                where[video_id] = part, index
    if header is None:
        raise ShardError("expected at least one shard to merge, got none")
    return header, where


def _ordered(where: Mapping[str, tuple[int, int]], order: Sequence[str]) -> Iterator[tuple[int, int]]:
    if len(set(order)) != len(order) or set(order) != where.keys():
        extra, missing = sorted(set(order) - where.keys()), sorted(where.keys() - set(order))
        raise ShardError(
            f"cannot merge: expected an order naming each of the {len(where)} clips once, got {len(order)}; "
            f"first unknown: {extra[:1] or 'none'}, first left out: {missing[:1] or 'none'}"
        )
    return (where[video_id] for video_id in order)


def _settings(header: Header) -> dict[str, Any]:
    return {
        "dimensions": header.dimensions,
        "coordinate_unit": header.coordinate_unit,
        "skeleton": header.skeleton.to_dict(),
        "experts": {name: skeleton.to_dict() for name, skeleton in header.experts.items()},
        "recipe": header.recipe,
    }


def first_difference(a: Any, b: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """Where two JSON values first differ, and what stands there in each; None where they are equal."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            inner = f"{name}.{key}" if name else key
            if key not in a or key not in b:
                return inner, a.get(key, "absent"), b.get(key, "absent")
            if found := first_difference(a[key], b[key], inner):
                return found
        return None
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return next((d for i, (x, y) in pairs if (d := first_difference(x, y, f"{name}[{i}]"))), None)
    return None if a == b and type(a) is type(b) else (name, a, b)


def brief(value: Any) -> str:
    """A value as it stands in a sentence."""
    text = str(value)
    return text if len(text) <= 80 else text[:79] + "…"


class OpenShards:
    """Readers of several shards, opened when asked for; the last few stay open."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._open: dict[int, ShardReader] = {}  # the one used last stands last

    def __getitem__(self, part: int) -> ShardReader:
        reader = self._open.pop(part, None)
        if reader is None:
            reader = ShardReader(self._paths[part])
            if len(self._open) >= _MAX_OPEN:
                self._open.pop(next(iter(self._open))).close()
        self._open[part] = reader
        return reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in self._open.values():
            reader.close()
