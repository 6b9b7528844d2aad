"""What others wrote -> a shard or a dataset."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from skelkit.data import Clip, DatasetWriter, ShardWriter, empty_sequence
from skelkit.data.dataset import DatasetInfo
from skelkit.data.formats import FORMATS
from skelkit.data.formats.base import Format, Item, ReadOptions
from skelkit.data.formats.files import reading
from skelkit.data.formats.label_files import read_labels
from skelkit.errors import ConfigError, InputError, ShardError
from skelkit.pipelines.outputs import made_beside
from skelkit.pipelines.spool import open_ours
from skelkit.skeletons import get_skeleton
from skelkit.structures import Skeleton, SkeletonSequence, Tracks

_Write = Callable[[SkeletonSequence | Tracks, Clip], None]


@dataclass(slots=True, kw_only=True)
class ImportSummary:
    """What was read."""

    output: Path
    clips: int = 0
    """In the output, the failed ones included."""
    frames: int = 0
    poses: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Clips that could not be read, and why; those of a name that was there already are not in the output."""

    @property
    def exit_code(self) -> int:
        """0 all read; 1 some clips failed."""
        return int(bool(self.failed))


def settings(
    *,
    joints: str | None = None,
    dimensions: int | None = None,
    fps: float | None = None,
    image_size: tuple[int, int] | None = None,
    labels: Path | None = None,
    splits: Sequence[str] = (),
    skip: Path | None = None,
) -> ReadOptions:
    """Options of an import, checked.

    Args:
        joints: See `ReadOptions.joints`, by name.
        dimensions: See `ReadOptions.dimensions`.
        fps: See `ReadOptions.fps`.
        image_size: (W, H).
        labels: See `read_labels`.
        splits: See `ReadOptions.splits`.
        skip: A file with a name of a clip in every line, for example NTU's lists of bad samples.

    Raises:
        ConfigError: a value that makes no sense.
        InputError: a file that cannot be read.
    """
    if dimensions not in (None, 2, 3):
        raise ConfigError(f"expected 2 or 3 dimensions, got {dimensions}")
    if fps is not None and not (0 < fps < math.inf):
        raise ConfigError(f"expected frames per second above 0, got {fps}")
    if image_size is not None and not 0 < min(image_size) <= max(image_size) < 2**31:
        raise ConfigError(f"expected a size of the picture in pixels, got {image_size}")
    options = ReadOptions(
        joints=None if joints is None else get_skeleton(joints),
        dimensions=dimensions,
        fps=fps,
        image_size=None if image_size is None else (image_size[1], image_size[0]),
        splits=tuple(splits),
    )
    if labels is not None:
        options = replace(options, labels=read_labels(labels))
    if skip is not None:
        with reading(skip, "names of clips, one in a line"):
            lines = skip.read_text("utf-8").splitlines()
        options = replace(options, skip=frozenset(line.strip().removesuffix(".skeleton") for line in lines))
    return options


def import_(
    format_name: str,
    inputs: Sequence[Path],
    output: Path,
    options: ReadOptions,
    *,
    overwrite: bool = False,
    show: Callable[[int], None] = lambda done: None,
) -> ImportSummary:
    """Read clips of another format into one shard (``.h5``) or a dataset's folder.

    Args:
        format_name: One of `skelkit.data.formats.FORMATS`.
        inputs: Files and folders.
        output: A shard or a folder.
        options: What the files may not say.
        overwrite: Replace a shard or a dataset.
        show: Called with the number of clips done.

    Raises:
        ConfigError: unknown format, or the output exists.
        InputError: not one clip could be read; nothing is written.
        OutputError: the output cannot be written.
    """
    form: Format = FORMATS.load(format_name)
    items = form.read(inputs, options)
    failed, first = _until_first(items)
    skeleton, dimensions = first[1].skeleton, first[1].keypoints.shape[-1]
    names = {"format": format_name, "inputs": [path.name for path in inputs]}
    recipe = {"job": "import", **names, "options": _plain(options)}
    summary = ImportSummary(output=output)
    seen: set[str] = set()
    header = {
        "skeleton": skeleton,
        "dimensions": dimensions,
        "coordinate_unit": "m" if dimensions == 3 else "px",
        "recipe": recipe,
    }
    with _target(output, header, options.labels.names, overwrite=overwrite) as write:
        for clip, tracks in chain(((c, None) for c in failed), [first], items):
            if clip.video_id in seen:
                summary.failed.append((clip.video_id, f"another clip has this name; left out {clip.source}"))
                continue
            seen.add(clip.video_id)
            _put(write, clip, tracks, (skeleton, dimensions), summary)
            show(len(seen))
    return summary


def _until_first(items: Iterator[Item]) -> tuple[list[Clip], tuple[Clip, Tracks]]:
    """The first clip that could be read, which says what the others are like, and those before it."""
    failed: list[Clip] = []
    for clip, tracks in items:
        if tracks is not None:
            return failed, (clip, tracks)
        failed.append(clip)
    if failed:
        raise InputError(
            f"expected clips, not one of {len(failed)} could be read; the first: {failed[0].detail}"
        )
    raise InputError("expected clips, found none; try another input, or other options (--split)")


def _put(
    write: _Write, clip: Clip, tracks: Tracks | None, form: tuple[Skeleton, int], summary: ImportSummary
) -> None:
    if tracks is not None:
        try:
            write(tracks, clip)
        except (ShardError, ConfigError) as error:
            clip = replace(
                clip, status="failed", num_frames=0, width=0, height=0, fps=0.0, label="", label_index=-1
            )
            clip = replace(clip, detail=error.message, split="")
        else:
            summary.clips += 1
            summary.frames += clip.num_frames
            summary.poses += len(tracks)
            return
    summary.failed.append((clip.video_id, clip.detail))
    try:
        write(empty_sequence(form[0], video_id=clip.video_id, dimensions=form[1]), clip)
    except ShardError:  # not even its name can be stored
        return
    summary.clips += 1


@contextmanager
def _target(
    output: Path, header: dict[str, Any], label_names: Sequence[str], *, overwrite: bool
) -> Iterator[_Write]:
    if output.suffix.lower() == ".h5":
        if output.exists():
            open_ours(output).close()
            if not overwrite:
                raise ConfigError(f"{output} exists; choose another name, or replace it with --overwrite")
        with ShardWriter(output, **header) as shard:
            yield lambda sequence, clip: shard.write(sequence, clip=clip)
        return
    with (
        made_beside(output, overwrite=overwrite, is_ours=_is_dataset) as folder,
        DatasetWriter(
            folder,
            name=re.sub(r"[^A-Za-z0-9_.-]|^[.-]", "_", output.name),
            label_names=label_names,
            **header,
        ) as dataset,
    ):
        yield dataset.write


def _is_dataset(folder: Path) -> bool:
    try:
        DatasetInfo.read(folder)
    except ShardError:
        return False
    return True


def _plain(options: ReadOptions) -> dict[str, Any]:
    size = options.image_size
    return {
        "joints": options.joints and options.joints.name,
        "dimensions": options.dimensions,
        "fps": options.fps,
        "image_size": None if size is None else [size[1], size[0]],
        "splits": list(options.splits),
        "labels": len(options.labels.names) or len(options.labels.of_clip),
        "skipped": len(options.skip),
    }
