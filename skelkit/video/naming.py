"""Clips found -> sources with unique names that do not depend on the order in which they were named."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from skelkit.errors import InputError
from skelkit.video.sources import Source, SourceKind

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A clip before it has a name."""

    path: str
    """As the user named it."""
    kind: SourceKind
    """How it is read."""
    files: tuple[str, ...] = ()
    """Names of the images in a folder that is one clip."""
    label: str | None = None
    """Label from a manifest."""
    video_id: str | None = None
    """Name from a manifest; never changed."""
    base: str | None = None
    """Folder that was named and that the clip was found under; None where the clip itself was named."""


def name_all(found: Iterable[Found]) -> list[Source]:
    """Sources with unique names, sorted by name; a file found twice is one source.

    A name is the path below the folder that was named, without extension (the file's name alone where the
    file itself was named). Clips that would share a name keep their extensions; those that still would
    are told apart by as many parent folders as it takes.

    Raises:
        InputError: one file with two labels, or one name given to two files.
    """
    clips = _merge(found)
    names = [_names(clip) for clip in clips]
    level = [0] * len(clips)
    while True:
        groups: dict[str, list[int]] = defaultdict(list)
        for i, candidates in enumerate(names):
            groups[candidates[level[i]]].append(i)
        clashes = [g for g in groups.values() if len(g) > 1]
        if not clashes:
            break
        for group in clashes:
            movable = [i for i in group if level[i] + 1 < len(names[i])]
            if not movable:
                paths = [clips[i].path for i in group]
                raise InputError(
                    f"expected one clip of the name {names[group[0]][-1]!r}, got "
                    f"{' and '.join(map(repr, paths))}; try another video_id in the manifest",
                    path=paths[0],
                )
            for i in movable:
                level[i] += 1
    sources = [
        Source(video_id=n[k], path=c.path, kind=c.kind, files=c.files, label=c.label)
        for c, n, k in zip(clips, names, level, strict=True)
    ]
    return sorted(sources, key=lambda s: s.video_id)


def _merge(found: Iterable[Found]) -> list[Found]:
    """One entry per file (and name in a manifest): the one found under the highest folder."""
    groups: dict[tuple[str, str | None], list[Found]] = defaultdict(list)
    for clip in found:
        groups[os.path.abspath(clip.path), clip.video_id].append(clip)  # noqa: PTH100 - links stay as they are
    merged = []
    for group in groups.values():
        labels = sorted({c.label for c in group if c.label is not None})
        if len(labels) > 1:
            raise InputError(
                f"expected one label per clip, got {' and '.join(map(repr, labels))} for {group[0].path!r}; "
                "try listing it once",
                path=group[0].path,
            )
        best = max(group, key=lambda c: (_depth(c), c.path))
        merged.append(replace(best, label=labels[0] if labels else None))
    return merged


def _parts(clip: Found) -> tuple[str, ...]:
    return Path(os.path.abspath(clip.path)).parts[1:]  # noqa: PTH100


def _depth(clip: Found) -> int:
    """How many parts of the path the shortest name has."""
    if clip.base is None:
        return 1
    return max(1, len(_parts(clip)) - len(Path(os.path.abspath(clip.base)).parts[1:]))  # noqa: PTH100


def _names(clip: Found) -> list[str]:
    """Candidate names from short to long."""
    if clip.video_id is not None:
        return [_clean(clip.video_id)]
    parts, depth = _parts(clip), _depth(clip)
    tails = ["/".join(parts[-n:]) for n in range(depth, len(parts) + 1)] or ["/"]
    stem = tails[0] if clip.kind == "frames" else tails[0].removesuffix(Path(tails[0]).suffix)
    return [_clean(name) for name in (stem, *tails)]


def _clean(name: str) -> str:
    """UTF-8 text on one line, different for different names: the rest as backslash escapes."""
    text = name.replace("\\", "\\\\").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
