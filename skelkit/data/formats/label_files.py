"""Files that name labels: a list of names, or a table of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skelkit.data.formats.base import Labels
from skelkit.data.formats.files import read_json, reading

_EXPECTED = 'label names (a line each) or a JSON table {clip: {"label": name, "label_index": number}}'


def read_labels(path: Path) -> Labels:
    """Labels of a file.

    Args:
        path: ``.json``: the table of Kinetics-skeleton and Posetics, ``{clip: {"has_skeleton", "label",
            "label_index"}}``. Anything else: a text file with the name of label 0, 1, 2 ... in every line.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    if path.suffix.lower() == ".json":
        table, _ = read_json(path, _EXPECTED)
        with reading(path, _EXPECTED):
            return Labels(of_clip={str(clip): _label(entry) for clip, entry in table.items()})
    with reading(path, _EXPECTED):
        return Labels(names=tuple(line.strip() for line in path.read_text("utf-8").splitlines()))


def _label(entry: dict[str, Any]) -> tuple[str, int]:
    name, index = entry["label"], entry.get("label_index", -1)
    if not isinstance(name, str) or not isinstance(index, int) or not -1 <= index < 2**31:
        raise ValueError(f"a label {name!r:.40} with the number {index!r:.40}")
    return name, index
