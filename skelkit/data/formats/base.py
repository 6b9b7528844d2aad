"""What a format is: how clips of others come in and go out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skelkit.data.clip import Clip
from skelkit.structures import Skeleton, Tracks

Item = tuple[Clip, Tracks | None]
"""A clip and its people; None where the clip failed (`Clip.detail` says why)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a labels file says (`skelkit.data.formats.label_files`)."""

    names: tuple[str, ...] = ()
    """Name of every label number."""
    of_clip: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Label and its number by clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What a format's files may not say; where they do, they are believed."""

    joints: Skeleton | None = None
    """Joint set of the files; None = the format's, or the usual one with so many joints."""
    dimensions: int | None = None
    """2 or 3, where files hold both; None = the format's first."""
    fps: float | None = None
    image_size: tuple[int, int] | None = None
    """(H, W) in pixels."""
    labels: Labels = Labels()
    splits: tuple[str, ...] = ()
    """Where files tell splits apart: those wanted. Else one, which every clip gets."""
    skip: frozenset[str] = frozenset()
    """Clips to leave out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How files are written."""

    label_names: tuple[str, ...] = ()
    """Name of every `Clip.label_index`."""
    frames: int = 300
    """T of arrays of fixed length (unik)."""
    people: int = 2
    """M of arrays of a fixed number of people (unik)."""
    half: bool = False
    """Coordinates as float16 (pyskl)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How to read and write one format.

    Readers and writers go clip by clip: memory does not grow with the number of clips, where the format
    permits.
    """

    read: Callable[[Sequence[Path], ReadOptions], Iterator[Item]]
    """Clips of files and folders. A clip that cannot be read comes with status ``failed``; InputError only
    where nothing can be."""
    write: Callable[[Iterable[tuple[Clip, Tracks]], Path, WriteOptions], Sequence[str]] | None = None
    """Clips into an existing, empty folder, or into a file that does not exist; returns what was lost on the
    way, a sentence each. None = read only."""
    joints: tuple[Skeleton, ...] = ()
    """Joint sets that can be written, the usual one first; empty = any."""
    dimensions: tuple[int, ...] = (2,)
    """C that can be written."""
    extension: str = ""
    """Of the one file that is written; empty = a folder is."""
    needs_size: bool = False
    """Whether a clip can only be written where the size of its picture is known."""
