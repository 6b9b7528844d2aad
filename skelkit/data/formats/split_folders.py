"""Writing clips as JSON files in a folder per split, with a table of labels beside each folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from skelkit.data.clip import Clip
from skelkit.data.files import output_error
from skelkit.data.folder import NO_SPLIT, plain_text
from skelkit.data.formats.folders import LABEL_TABLE, ClipFiles
from skelkit.data.formats.naming import safe_name, safe_path
from skelkit.structures import Tracks


def write_split_folders(
    clips: Iterable[tuple[Clip, Tracks]], dest: Path, content: Callable[[Clip, Tracks], dict[str, Any]]
) -> None:
    """``<split>/<clip>.json`` and ``<split>_label.json``.

    Raises:
        OutputError: the operating system refuses.
    """
    with ExitStack() as open_files:
        files = open_files.enter_context(ClipFiles(dest))
        tables: dict[str, Any] = {}
        try:
            for clip, tracks in clips:
                split = safe_name(clip.split or NO_SPLIT)
                text = json.dumps(content(clip, tracks), allow_nan=False, separators=(",", ":"))
                files.write(clip, text, ".json", below=f"{split}/")
                first = split not in tables
                if first:
                    path = dest / f"{split}{LABEL_TABLE}"
                    tables[split] = open_files.enter_context(path.open("x", encoding="utf-8"))
                entry = {
                    "has_skeleton": True,
                    "label": plain_text(clip.label),
                    "label_index": clip.label_index,
                }
                name = json.dumps(safe_path(clip.video_id))
                tables[split].write(f"{'{' if first else ','}\n{name}: {json.dumps(entry)}")
            for table in tables.values():
                table.write("\n}\n")
        except OSError as error:
            raise output_error(error, dest) from error
