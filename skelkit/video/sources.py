"""One clip on disk: what it is, and whether it has changed since."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skelkit.video.failures import unreadable

SourceKind = Literal["video", "frames", "image"]
"""A video file, a folder of numbered images that are one clip, or a single image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A clip to be read. It need not exist: what cannot be opened becomes a failed row, not a lost one."""

    video_id: str
    """Name of the clip, unique among those found together; clean UTF-8 on one line."""
    path: str
    """The file or folder as the user named it; undecodable bytes as surrogates, so that it opens."""
    kind: SourceKind
    """How it is read."""
    files: tuple[str, ...] = ()
    """Names of the images in the folder `path`, in numeric order, where the kind is ``frames``."""
    label: str | None = None
    """Action label from a manifest."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files the clip consists of, in order."""
        folder = Path(self.path)
        return tuple(folder / name for name in self.files) or (folder,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a clip looks like from outside: cheap, and different after nearly every change."""

    size: int
    """Bytes in all files."""
    mtime_ns: int
    """Time of the latest change, nanoseconds."""


def fingerprint(source: Source) -> Fingerprint:
    """Size and age of a clip, without reading it.

    Raises:
        VideoError: a file is missing or out of reach.
    """
    try:
        stats = [path.stat() for path in source.paths]
    except OSError as error:
        raise unreadable(source.path, error) from error
    return Fingerprint(size=sum(s.st_size for s in stats), mtime_ns=max(s.st_mtime_ns for s in stats))


def sha256(source: Source) -> str:
    """Hash of a clip's content, hexadecimal; for a folder of images over names and contents in order.

    Raises:
        VideoError: a file cannot be read.
    """
    try:
        digests = [_digest(path) for path in source.paths]
    except OSError as error:
        raise unreadable(source.path, error) from error
    if source.kind != "frames":
        return digests[0].hex()
    whole = hashlib.sha256()
    for name, digest in zip(source.files, digests, strict=True):
        whole.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() + digest)
    return whole.hexdigest()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
