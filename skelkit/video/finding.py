"""What the user names -> clips: files, folders, globs, numbered images, manifests."""

from __future__ import annotations

import glob
import math
import os
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from skelkit.errors import InputError
from skelkit.video.formats import IMAGES, MANIFESTS, VIDEOS, extension
from skelkit.video.manifest import Entry, read_manifest
from skelkit.video.naming import Found, name_all
from skelkit.video.sources import Source, SourceKind

_NUMBERED = re.compile(r"(.*?)(\d+)")


def find_sources(inputs: Sequence[str | os.PathLike[str]]) -> list[Source]:
    """All clips the user means, sorted by name; the same whatever the order of the inputs.

    An input is a file (taken whatever its extension), a folder (searched with its subfolders: videos,
    folders of numbered images as one clip each, other images as one-frame clips; hidden names are passed
    over), a glob where no such file exists, or a manifest (``.txt``, ``.csv``; paths relative to its folder).
    What is found but cannot be opened later (a listed file that is missing, a subfolder that may not be
    read, a link to nowhere) is a source too, so that it ends as a failed row and is not passed over.

    Raises:
        InputError: an input has no name, does not exist or may not be read, a glob matches nothing, nothing
            is in it.
    """
    return name_all(clip for given in inputs for clip in _expand(os.fsdecode(given)))


def _expand(given: str) -> Iterator[Found]:
    if not given:  # which Path would take for the working folder
        raise InputError(
            "expected the path of an input, got an empty text; try checking what names it", path=""
        )
    try:
        mode = Path(given).stat().st_mode
    except FileNotFoundError:
        yield from _matches(given)
        return
    except OSError as error:
        raise _unreadable(given, error.strerror) from error
    if not os.access(given, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise _unreadable(given, "no permission")
    if stat.S_ISDIR(mode):
        clips = list(_search(given))
        if not clips:
            raise InputError(
                f"expected videos or images in the folder {given!r}, got none with an extension of theirs "
                "(.mp4, .avi, .mkv, .jpg ...); try naming other files one by one",
                path=given,
            )
        yield from clips
    elif extension(given) in MANIFESTS:
        yield from (_listed(entry, os.path.dirname(given)) for entry in read_manifest(given))  # noqa: PTH120
    else:
        yield Found(path=given, kind=_kind(given))


def _unreadable(given: str, why: str | None) -> InputError:
    remedy = "its permissions" if why == "no permission" else "the path"
    return InputError(f"expected to read {given!r}, got an error: {why}; try checking {remedy}", path=given)


def _kind(path: str) -> SourceKind:
    return "image" if extension(path) in IMAGES else "video"


def _matches(pattern: str) -> Iterator[Found]:
    """Clips of a glob: files of known extensions, and what its folders hold."""
    matched = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []  # noqa: PTH207
    if not matched:
        if glob.has_magic(pattern):
            text = f"expected files that match {pattern!r}, got none; try checking the pattern"
        else:
            text = (
                f"expected a video, a folder, a glob or a manifest, got {pattern!r}, which does not exist; "
                "try checking the path"
            )
        raise InputError(text, path=pattern)
    clips: list[Found] = []
    for path in matched:
        if Path(path).is_dir():
            clips += _search(path)
        elif extension(path) in VIDEOS | IMAGES:
            clips.append(Found(path=path, kind=_kind(path)))
    if not clips:
        raise InputError(
            f"expected videos or images to match {pattern!r}, got {len(matched)} other files; "
            "try naming them one by one",
            path=pattern,
        )
    yield from clips


def _listed(entry: Entry, folder: str) -> Found:
    """The clip of a manifest's line; where it is listed by a path below the manifest, it is named so."""
    path = os.path.join(folder, entry.path)  # noqa: PTH118 - pathlib would tidy the path as given
    below = not Path(entry.path).is_absolute() and ".." not in Path(entry.path).parts
    base = (folder or ".") if below else None
    kind, files = _kind(path), _frames_in(path) if os.path.isdir(path) else ()  # noqa: PTH112
    if files:
        kind = "frames"
    return Found(path=path, kind=kind, files=files, label=entry.label, video_id=entry.video_id, base=base)


def _frames_in(folder: str) -> tuple[str, ...]:
    """The frames of a folder that was listed as one clip; nothing where it is none or may not be read."""
    try:
        names = _content(folder)[1]
    except OSError:  # opening the clip will tell why
        return ()
    return _numbered([name for name in names if extension(name) in IMAGES])


def _search(root: str) -> Iterator[Found]:
    """Clips in a folder and below. Every folder is entered once, so that links in a circle end."""
    seen: set[tuple[int, int]] = set()
    folders, links = [root], list[str]()
    while folders or links:
        # Real folders before links to them: a clip gets the name of the place where it lies.
        folder = folders.pop() if folders else links.pop(0)
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            below, names = _content(folder)
        except OSError:
            yield Found(path=folder, kind="video", base=root)  # opening it will tell why
            continue
        for path in below:
            (links if Path(path).is_symlink() else folders).append(path)
        yield from _clips_of(folder, names, root)


def _content(folder: str) -> tuple[list[str], list[str]]:
    """Paths of the subfolders and names of the files, sorted; links to nowhere count as files, pipes do not.

    Raises:
        OSError: the folder may not be read.
    """
    with os.scandir(folder) as scan:
        entries = sorted((e for e in scan if not e.name.startswith(".")), key=lambda e: e.name)
    folders = [e.path for e in entries if Path(e.path).is_dir()]
    files = [e.name for e in entries if Path(e.path).is_file() or (e.is_symlink() and e.path not in folders)]
    return folders, files


def _clips_of(folder: str, names: Sequence[str], root: str) -> Iterator[Found]:
    videos = [n for n in names if extension(n) in VIDEOS]
    images = [n for n in names if extension(n) in IMAGES]
    if not videos and (files := _numbered(images)):
        yield Found(path=folder, kind="frames", files=files, base=root)
        return
    for name in (*videos, *images):
        path = os.path.join(folder, name)  # noqa: PTH118
        yield Found(path=path, kind=_kind(path), base=root)


def _numbered(images: Sequence[str]) -> tuple[str, ...]:
    """The images in numeric order where they are the frames of one clip, else nothing.

    They are where there are two or more, all names share what stands before their number, and the numbers
    fill at least half of an even progression: 1, 2, 3 ... or 0, 5, 10 ..., with gaps, but not the far-apart
    numbers of an image collection (COCO's 000000000139.jpg).
    """
    matches = [_NUMBERED.fullmatch(Path(name).stem) for name in images]
    numbers = {int(m[2]): name for m, name in zip(matches, images, strict=True) if m}
    prefixes = {m[1] if m else None for m in matches}
    if len(images) < 2 or len(numbers) < len(images) or len(prefixes) > 1:
        return ()
    order = sorted(numbers)
    step = math.gcd(*(b - a for a, b in pairwise(order)))
    if 2 * len(order) < (order[-1] - order[0]) // step + 1:
        return ()
    return tuple(numbers[n] for n in order)
