"""Finding weights: an explicit path, SKELKIT_WEIGHTS, beside a user's card, the cache, then a download."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Protocol

from skelkit.errors import WeightsError
from skelkit.experts.cards import Weights

Progress = Callable[[int, int | None], None]
"""Called with bytes so far and bytes in all (None where the server does not say)."""

_TIMEOUT_S = 30
_BLOCK = 1 << 20


class Wanted(Protocol):
    """Whose weights are looked for: a card, or what a family of experts makes up in its place."""

    @property
    def name(self) -> str:
        """The expert's name."""
        ...

    @property
    def weights(self) -> Weights:
        """The file, and where it can be had."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where a user's card lies, and perhaps its network beside it."""
        ...

    @property
    def source(self) -> str:
        """What the network was made from."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A weights file that is there."""

    path: Path
    sha256: str
    checked: bool
    """Whether the card knows the sha256, or how it begins (and it agrees)."""


def cache_folder() -> Path:
    """Where downloads are kept: ``$XDG_CACHE_HOME/skelkit/weights`` or ``~/.cache/skelkit/weights``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "skelkit" / "weights"


def find_weights(card: Wanted, explicit: str | os.PathLike[str] | None = None) -> WeightsFile | None:
    """The card's file on this machine, or None.

    Args:
        card: Whose weights.
        explicit: A folder to look in first, or the file itself.

    Raises:
        WeightsError: `explicit` does not exist, or a file of the right name has the wrong content.
    """
    places: list[Path] = []
    if explicit is not None:
        given = Path(explicit)
        if not os.access(given, os.R_OK):
            raise WeightsError(
                f"expected a folder with weights at {given}, found nothing readable there; check --weights",
                path=given,
            )
        places.append(given)
    if named := os.environ.get("SKELKIT_WEIGHTS"):
        places += [Path(p) for p in named.split(os.pathsep) if p]
    if card.folder is not None:
        places.append(card.folder)
    places.append(cache_folder())
    for place in places:
        for path in (place / card.weights.file, place):
            if path.name == card.weights.file and _is_file(path):
                return _checked(card, path)
    return None


def ensure_weights(
    card: Wanted, explicit: str | os.PathLike[str] | None = None, progress: Progress | None = None
) -> WeightsFile:
    """The card's file, downloaded into the cache where it is not on this machine yet.

    Nothing is downloaded while SKELKIT_OFFLINE is set.

    Raises:
        WeightsError: not here and not to be had; the message says where to get it and where to put it.
    """
    found = find_weights(card, explicit)
    if found is not None:
        return found
    failures: list[str] = []
    if not os.environ.get("SKELKIT_OFFLINE"):
        for url in card.weights.urls:
            try:
                return _download(card, url, progress)
            except (OSError, HTTPException, WeightsError) as error:
                failures.append(f"{url}: {error}")
    raise WeightsError(_not_found(card, failures), card=card.name, tried=failures)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # in a folder we may not enter, so not ours to use
        return False


def _not_found(card: Wanted, failures: list[str]) -> str:
    text = (
        f"{card.name}: expected weights file {card.weights.file}, found none in --weights, SKELKIT_WEIGHTS"
        f"{f', {card.folder}' if card.folder else ''} or {cache_folder()}"
    )
    if failures:
        text += f"; downloading failed ({'; '.join(failures)})"
    elif card.weights.urls:
        text += "; not downloaded, since SKELKIT_OFFLINE is set"
    if card.weights.urls:
        return text + f"; try to fetch {card.weights.urls[0]} elsewhere and put it in one of these folders"
    return text + f"; it has no public address of its own (made from {card.source}): name its folder"


def _checked(card: Wanted, path: Path) -> WeightsFile:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{card.name}: cannot read {path}: {error.strerror}", path=path) from error
    wanted = card.weights.sha256
    if wanted is not None and not digest.startswith(wanted):
        raise WeightsError(
            f"{card.name}: expected {path} to have sha256 {wanted[:12]}..., got {digest[:12]}...; it is "
            "damaged or another version: fetch it again, or write a card of your own for it",
            path=path,
            expected=wanted,
            got=digest,
        )
    return WeightsFile(path=path, sha256=digest, checked=wanted is not None)


def _download(card: Wanted, url: str, progress: Progress | None) -> WeightsFile:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as reply:
        total = int(reply.headers.get("Content-Length") or 0) or None
        while block := reply.read(_BLOCK):
            buffer.write(block)
            if progress:
                progress(buffer.tell(), total)
    if total is not None and buffer.tell() != total:
        raise WeightsError(f"expected {total} bytes, the connection gave {buffer.tell()}")
    content = (
        _member(buffer, card.weights.archive_member) if card.weights.archive_member else buffer.getvalue()
    )
    with tempfile.NamedTemporaryFile(dir=folder, prefix=card.weights.file, delete=False) as temporary:
        kept = Path(temporary.name)
        try:
            temporary.write(content)
            temporary.flush()
            os.fsync(temporary.fileno())
            checked = _checked(card, kept)
            target = kept.replace(folder / card.weights.file)
        except BaseException:
            kept.unlink(missing_ok=True)
            raise
    return replace(checked, path=target)


def _member(archive: io.BytesIO, name: str) -> bytes:
    try:
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if info.filename.rsplit("/", 1)[-1] == name:
                    return opened.read(info)
            names = opened.namelist()
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted
        raise WeightsError(f"expected a zip archive, cannot unpack it: {error}") from error
    raise WeightsError(f"expected {name} inside the archive, found {names[:8]}")
