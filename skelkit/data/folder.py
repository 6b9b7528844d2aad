"""The folder of a dataset in the making: names, the small files beside the shards, appearing whole."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skelkit.data.dataset import INDEX_FILE, INFO_FILE, DatasetInfo
from skelkit.data.files import output_error
from skelkit.errors import ConfigError, OutputError

NO_SPLIT = "all"
"""The split of clips that have none."""
DROPPED_FILE = "dropped.csv"
DROPPED_COLUMNS = ("video_id", "source", "label", "shard", "rule", "value", "limit", "detail")

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_plain(name: str, what: str) -> str:
    """`name`, which is to be part of file names.

    Raises:
        ConfigError: it has other characters than letters, digits, ``_``, ``-`` and ``.``.
    """
    if not _PLAIN.fullmatch(name):
        raise ConfigError(
            f"expected {what} of letters, digits, '_', '-' and '.', got {name!r}; it is part of file names"
        )
    return name


def shard_name(name: str, split: str, number: int, count: int) -> str:
    """File name of a shard."""
    return f"{name}-{split}-{number:05d}-of-{count:05d}.h5"


def plain_text(text: str) -> str:
    """Text as the index and CSV files can hold it: bytes that are not UTF-8 as \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_index(folder: Path, table: Any) -> str:
    """Write the index (a pyarrow table, see `index_table`); returns its sha256."""
    import pyarrow.parquet as pq

    path = folder / INDEX_FILE
    pq.write_table(table, path, compression="zstd")
    return sha256_of(path)


def write_csv(path: Path, columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> None:
    """Write a table of text."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for line in lines:
            writer.writerow({k: plain_text(v) if isinstance(v, str) else v for k, v in line.items()})


def write_info(folder: Path, info: DatasetInfo) -> None:
    """Write ``dataset.json``."""
    (folder / INFO_FILE).write_text(info.to_json(), encoding="utf-8")


def check_vacant(folder: Path) -> None:
    """Refuse a place where something is.

    Raises:
        ConfigError: a file or a folder with content is there, or there is no folder to put it in.
    """
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} exists already; choose another name for the dataset", path=folder)
    if not folder.absolute().parent.is_dir():
        raise ConfigError(
            f"expected an existing folder for {folder}; create {folder.absolute().parent}", path=folder
        )


def publish(made: Path, folder: Path) -> None:
    """Bring the content of `made` to the disk and give it its name.

    Raises:
        OutputError: something is there now, or the operating system refuses.
    """
    try:
        for entry in (*made.iterdir(), made):
            sync(entry)
        made.replace(folder)
        sync(folder.absolute().parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise OutputError(
                f"cannot write {folder}: something else has appeared there; choose another name", path=folder
            ) from error
        raise output_error(error, folder) from error


def sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(folder: Path) -> None:
    """Leave nothing of an unfinished folder."""
    shutil.rmtree(folder, ignore_errors=True)
