"""Opening files of strangers: bounded in size, and any damage as one typed error."""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.errors import InputError

MAX_JSON_BYTES = 2**28
"""256 MiB of JSON text take some 4 GiB of memory."""
MAX_ARRAY_BYTES = 2**29
"""Of one array in an npz file once it is unpacked: a thousand times smaller on disk, if it is malicious."""

_DAMAGE = (
    ValueError,  # with UnicodeError, JSONDecodeError
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,  # JSON nested a thousand deep
    MemoryError,
    EOFError,
    SyntaxError,  # numpy's headers
    tokenize.TokenError,
    NotImplementedError,  # zip features
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], expected: str) -> Iterator[None]:
    """What goes wrong in here becomes an InputError: `path` is not what was `expected`."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # numbers that no pixel has become infinite
            yield
    except OSError as error:
        raise InputError(
            f"cannot read {path}, expected {expected}: {error.strerror or error}", path=path
        ) from error
    except _DAMAGE as error:
        raise InputError(
            f"{path}: expected {expected}, got something else, or it is damaged "
            f"({type(error).__name__}: {str(error)[:200]})",
            path=path,
        ) from error


def read_json(path: Path, expected: str) -> tuple[Any, str]:
    """The content of a JSON file, and the file's sha256.

    Raises:
        InputError: it cannot be read, is no JSON, or is larger than `MAX_JSON_BYTES`.
    """
    with reading(path, expected):
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise ValueError(f"{size} bytes; at most {MAX_JSON_BYTES} are read")
        data = path.read_bytes()
        return json.loads(data), sha256(data).hexdigest()


def read_npz(path: Path, names: Sequence[str], expected: str) -> dict[str, npt.NDArray[Any]]:
    """These arrays of an npz file, as far as it has them; no Python objects, no zip bombs.

    Raises:
        InputError: it cannot be read, is no npz file, or an array is larger than `MAX_ARRAY_BYTES`.
    """
    with reading(path, expected), zipfile.ZipFile(path) as archive:
        there = set(archive.namelist())
        return {name: _member(archive, f"{name}.npy") for name in names if f"{name}.npy" in there}


def _member(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    size = archive.getinfo(name).file_size
    if size > MAX_ARRAY_BYTES:
        raise ValueError(f"{name} unpacks to {size} bytes; at most {MAX_ARRAY_BYTES} are read")
    with archive.open(name) as member:
        npy: Any = np.lib.format
        version = npy.read_magic(member)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read_header(member)
        if dtype.kind not in "biufSU":
            raise ValueError(f"{name} holds {dtype}, neither numbers nor text")
        content = member.read()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{name} claims the shape {shape} and has {len(content)} bytes")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C").copy()


def files_below(path: Path, pattern: str) -> list[Path]:
    """The file itself, or the files of a folder and its folders, sorted.

    Raises:
        InputError: nothing there.
    """
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob(pattern) if p.is_file()) if path.is_dir() else []
    if not found:
        what = f"files {pattern} in" if path.is_dir() else "a file or a folder at"
        raise InputError(f"expected {what} {path}, found nothing; try checking the path", path=path)
    return found
