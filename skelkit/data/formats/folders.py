"""Formats of one file (or folder) per clip: finding the clips, and writing them.

What such formats have no place for stands in a table beside the files, ``clips.csv``; a folder without one
is read as well.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from skelkit.data.clip import Clip
from skelkit.data.files import output_error
from skelkit.data.folder import plain_text
from skelkit.data.formats.base import ReadOptions
from skelkit.data.formats.files import files_below, reading
from skelkit.data.formats.label_files import read_labels
from skelkit.data.formats.making import Known
from skelkit.data.formats.naming import safe_path
from skelkit.skeletons import SKELETONS

TABLE = "clips.csv"
COLUMNS = ("file", "video_id", "label", "label_index", "split", "width", "height", "fps", "joints")
LABEL_TABLE = "_label.json"
"""Ends the name of a table of labels, after the name of its folder: ``kinetics_train_label.json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A clip's file."""

    path: Path
    video_id: str
    known: Known


def find_clips(paths: Sequence[Path], suffix: str, options: ReadOptions) -> Iterator[Found]:
    """Files of clips, named by their path below the folder given, without `suffix`.

    Labels and splits come from ``clips.csv`` in the folder; or, as in Kinetics-skeleton, from tables
    ``<split>_label.json`` beside folders ``<split>``; or from the options.

    Raises:
        InputError: a path where nothing is, or a damaged table.
    """
    for path in paths:
        for found in _find(path, suffix, options):
            if found.video_id not in options.skip and wanted(found.known, options):
                yield found


def wanted(known: Known, options: ReadOptions) -> bool:
    """Whether a clip is of the splits asked for, as far as its file tells."""
    return not known.split or not options.splits or known.split in options.splits


def _find(root: Path, suffix: str, options: ReadOptions) -> Iterator[Found]:
    table = read_table(root) if (root / TABLE).is_file() else {}
    splits = sorted(p for p in root.glob(f"*{LABEL_TABLE}") if p.is_file()) if root.is_dir() else []
    parts = [(p, p.with_name(p.name.removesuffix(LABEL_TABLE))) for p in splits]
    parts = [(labels, folder) for labels, folder in parts if folder.is_dir()]
    if table:
        for path in files_below(root, f"*{suffix}"):
            if (name := path.relative_to(root).as_posix()) in table:
                video_id, known = table[name]
                yield Found(path=path, video_id=video_id, known=replace(known, source=path))
    elif parts:
        for labels, folder in parts:
            of_clip = read_labels(labels).of_clip
            for found in _plain(folder, suffix):
                label, index = of_clip.get(found.video_id, ("", -1))
                known = replace(
                    found.known, label=label, label_index=index, split=folder.name.removeprefix("kinetics_")
                )
                yield replace(found, known=known)
    else:
        yield from _plain(root, suffix)


def _plain(root: Path, suffix: str) -> Iterator[Found]:
    for path in files_below(root, f"*{suffix}"):
        name = path.name if path == root else path.relative_to(root).as_posix()
        yield Found(path=path, video_id=name.removesuffix(suffix), known=Known(source=path))


def read_table(folder: Path) -> dict[str, tuple[str, Known]]:
    """Clip and facts of every file in ``clips.csv``.

    Raises:
        InputError: it is damaged.
    """
    path = folder / TABLE
    with reading(path, f"a table of clips with the columns {', '.join(COLUMNS)}"):
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return {row["file"]: (row["video_id"], _known(row, path)) for row in csv.DictReader(file)}
        except csv.Error as error:
            raise ValueError(str(error)) from error


def _known(row: dict[str, str], path: Path) -> Known:
    size = int(row["height"]), int(row["width"])
    fps = float(row["fps"])
    if not 0 <= fps < 1e6 or not 0 <= min(size) <= max(size) < 2**31:
        raise ValueError(f"{row['file']}: size {size}, {fps} frames per second")
    return Known(
        source=path,
        image_size=size if all(size) else None,
        fps=fps or None,
        label=row["label"],
        label_index=int(row["label_index"]),
        split=row["split"],
        joints=SKELETONS.get(row["joints"]),
    )


class ClipFiles:
    """Writes clips' files and the table beside them; use as a context manager.

    Raises:
        OutputError: the operating system refuses, or a name is taken; from every method.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: TextIO = (folder / TABLE).open("w", encoding="utf-8", newline="")
        self._table = csv.writer(self._file, lineterminator="\n")
        self._table.writerow(COLUMNS)

    def line(self, clip: Clip, file: str, *, video_id: str | None = None, joints: str = "") -> None:
        """The line of a clip in the table; `joints` where the format leaves the joint set open."""
        named = clip.video_id if video_id is None else video_id
        facts = (clip.label, clip.label_index, clip.split, clip.width, clip.height, clip.fps)
        values = (file, named, *facts, joints)
        self._table.writerow([plain_text(v) if isinstance(v, str) else v for v in values])

    def path(self, clip: Clip, file: str, *, video_id: str | None = None) -> Path:
        """A new path below the folder, with its folders and its line in the table."""
        self.line(clip, file, video_id=video_id)
        path = self._folder / file
        make_folder(path.parent)
        return path

    def write(self, clip: Clip, text: str, suffix: str, *, below: str = "") -> None:
        """A text file named after the clip."""
        write_new(self.path(clip, f"{below}{safe_path(clip.video_id)}{suffix}"), text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def make_folder(path: Path) -> None:
    """A folder, with those above it.

    Raises:
        OutputError: the operating system refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, path) from error


def write_new(path: Path, text: str) -> None:
    """A text file where nothing is yet.

    Raises:
        OutputError: something is there, or the operating system refuses.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise output_error(error, path) from error
