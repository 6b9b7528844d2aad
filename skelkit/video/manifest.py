"""Lists of clips: text (one path per line) and CSV."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skelkit.errors import InputError
from skelkit.video.formats import IMAGES, VIDEOS, extension

_SEPARATOR = re.compile(r"\s*,\s*|\s+")
_PATH_COLUMNS = ("path", "video", "file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a manifest."""

    path: str
    """As listed."""
    label: str | None = None
    """As listed."""
    video_id: str | None = None
    """As listed."""


def read_manifest(path: str) -> list[Entry]:
    """Entries of a ``.txt`` or ``.csv`` manifest, in order.

    Text: one path per line, optionally followed by a tab, a comma or white space and a label. A path may have
    spaces: it ends where a file of that name exists, or at a known extension. ``#`` begins a comment line.
    CSV: a header with the column ``path`` (or ``video``, ``file``) and optionally ``label``, ``video_id``.

    Raises:
        InputError: not a readable text file, nothing listed, no such column, a row without a path.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise InputError(
            f"expected a readable manifest, got {path!r}: {error.strerror}; try checking its permissions",
            path=path,
        ) from error
    if "\0" in text:
        raise InputError(f"expected a text file, got {path!r}, which is not one", path=path)
    folder = os.path.dirname(path)  # noqa: PTH120 - keeps the path as given
    entries = list(_from_csv(path, text) if extension(path) == ".csv" else _from_text(text, folder))
    if not entries:
        raise InputError(
            f"expected a manifest that lists clips, got {path!r}, which lists none; try a path on each line",
            path=path,
        )
    return entries


def _from_text(text: str, folder: str) -> Iterator[Entry]:
    for raw in text.split("\n"):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        ends = [(len(line), len(line)), *(match.span() for match in _SEPARATOR.finditer(line))]
        # Without a file or an extension to go by, the label is the last word.
        end, label = next((e for e in ends if _is_clip(folder, line[: e[0]])), ends[-1])
        yield Entry(path=line[:end], label=line[label:] or None)


def _is_clip(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)  # noqa: PTH118
    return extension(name) in VIDEOS | IMAGES or os.path.exists(path)  # noqa: PTH110 - False for any nonsense


def _from_csv(path: str, text: str) -> Iterator[Entry]:
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        columns = {str(name).strip().lower(): name for name in rows.fieldnames or ()}
        column = next((columns[c] for c in _PATH_COLUMNS if c in columns), None)
        if column is None:
            raise InputError(
                f"expected a column path (or video, file) in {path!r}, got "
                f"{', '.join(columns) or 'an empty file'}; try adding a header line",
                path=path,
            )
        for row in rows:
            cells = {low: (row[name] or "").strip() for low, name in columns.items()}
            listed = (row[column] or "").strip()
            if not listed:
                raise InputError(f"expected a path in line {rows.line_num} of {path!r}, got none", path=path)
            yield Entry(path=listed, label=cells.get("label") or None, video_id=cells.get("video_id") or None)
    except csv.Error as error:
        raise InputError(
            f"expected CSV in {path!r}, got an error in line {rows.line_num}: {error}", path=path
        ) from error
