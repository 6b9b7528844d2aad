"""CSV files that people write: labels, splits, merge tables."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from skelkit.errors import ConfigError

_SHOWN = 20
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,7}$")


def read_csv(text: str, name: str, *columns: str) -> list[tuple[int, dict[str, str]]]:
    """Lines of a CSV file with a header, each with its number; lines that begin with # are comments.

    Args:
        text: The file's content.
        name: The file, for messages.
        columns: What must be there.

    Raises:
        ConfigError: a column is missing, or a line has more or fewer fields than the header.
    """
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    reader = csv.reader(line for _, line in lines)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise ConfigError(f"{name}: expected a CSV file, got: {error}") from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    if lacking := [column for column in columns if column not in header]:
        raise ConfigError(
            f"{name}: expected a CSV file with a header that has {', '.join(columns)}; "
            f"{', '.join(lacking)} not among {', '.join(header) or 'nothing'}"
        )
    if len(rows) != len(lines):
        raise ConfigError(f"{name}: expected every field on one line, got a quoted line break")
    if bad := [i for (i, _), row in zip(lines, rows, strict=True) if len(row) != len(header)]:
        raise ConfigError(f"{name}: expected {len(header)} fields, got others in {problems_at(bad)}")
    return [
        (i, dict(zip(header, (cell.strip() for cell in row), strict=True)))
        for (i, _), row in zip(lines[1:], rows[1:], strict=True)
    ]


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", path=path) from error


def read_by_clip(path: Path, column: str) -> dict[str, str]:
    """A column of a CSV file, by clip.

    Clips are named by a column ``video_id``, ``path`` or ``filename``, or as Kinetics does by
    ``youtube_id``, ``time_start`` and ``time_end`` (<id>_<6 digits>_<6 digits>).

    Raises:
        ConfigError: no such columns, or two values for one clip; all such clips are named.
    """
    rows = read_csv(read_text(path), str(path), column)
    name_of = _naming(rows[0][1] if rows else {"video_id": ""}, path)
    found: dict[str, str] = {}
    doubles = []
    for number, row in rows:
        name = name_of(row)
        if not name:
            raise ConfigError(f"{path}: expected a clip's name, got none in line {number}")
        if found.setdefault(name, row[column]) != row[column]:
            doubles.append(f"{name} (line {number}: {row[column]}, before: {found[name]})")
    if doubles:
        raise ConfigError(f"{path}: expected one {column} for each clip, got {listed(doubles)}")
    return found


def lookup(by_clip: Mapping[str, str], names: Sequence[str]) -> list[str | None]:
    """The value of every clip; None where there is none.

    Extensions in the file do not matter, nor folders that only one side names: ``waving/one.mp4`` tells of
    the clips ``waving/one``, ``train/waving/one`` and, unless another line ends alike, ``one``.
    """
    whole = {_EXTENSION.sub("", name): value for name, value in by_clip.items()} | dict(by_clip)
    ends: dict[str, str | None] = {}
    for name, value in whole.items():
        for end in _ends(name)[1:]:
            ends[end] = value if ends.get(end, value) == value else None
    return [
        next((whole[end] for end in _ends(name) if end in whole), None) or ends.get(name) for name in names
    ]


def _ends(name: str) -> list[str]:
    """A path without its first folders, the longest first."""
    parts = name.split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def listed(items: Sequence[str]) -> str:
    """Many things in one sentence."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more


def problems_at(lines: Sequence[int]) -> str:
    """Numbers of lines in one sentence."""
    return f"line {', '.join(map(str, lines[:_SHOWN]))}" + (" and more" if len(lines) > _SHOWN else "")


def _naming(row: Mapping[str, str], path: Path) -> Callable[[Mapping[str, str]], str]:
    for column in ("video_id", "path", "filename"):
        if column in row:
            return lambda row: row[column]
    if {"youtube_id", "time_start", "time_end"} <= row.keys():
        return _kinetics
    raise ConfigError(
        f"{path}: expected a column video_id, path or filename, or youtube_id with time_start and time_end; "
        f"got {', '.join(row)}",
        path=path,
    )


def _kinetics(row: Mapping[str, str]) -> str:
    try:
        return f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}"
    except ValueError as error:
        raise ConfigError(f"clip {row['youtube_id']}: expected whole seconds, got {error}") from error
