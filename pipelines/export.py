"""Shards and datasets -> what others read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skelkit.data.clip import Clip
from skelkit.data.formats import FORMATS
from skelkit.data.formats.base import Format, WriteOptions
from skelkit.data.formats.folders import TABLE
from skelkit.data.formats.own import open_clips, with_joints
from skelkit.errors import ConfigError
from skelkit.pipelines.outputs import made_beside
from skelkit.skeletons import get_skeleton
from skelkit.structures import Skeleton, Tracks


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary:
    """What was written."""

    output: Path
    joints: str
    clips: int
    left_out: dict[str, int]
    """Clips that were not written, by reason."""
    notes: tuple[str, ...]
    """What was lost on the way."""


def export(
    source: Path,
    format_name: str,
    output: Path,
    *,
    splits: Sequence[str] = (),
    joints: str | None = None,
    frames: int = 300,
    people: int = 2,
    half: bool = False,
    overwrite: bool = False,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> ExportSummary:
    """Write the clips of a shard or a dataset in another format, those with people.

    Args:
        source: A shard, or a dataset's folder.
        format_name: One of `skelkit.data.formats.FORMATS`.
        output: The file or folder to make.
        splits: Those wanted; none = all.
        joints: Joint set of the result; None = the source's own if the format takes it, else the format's.
        frames: See `WriteOptions.frames`.
        people: See `WriteOptions.people`.
        half: See `WriteOptions.half`.
        overwrite: Replace a file, or a folder that is an export.
        show: Called with clips done and clips in all.

    Raises:
        ConfigError: unknown format, joints or split, or one that does not take such clips; the output
            exists.
        ShardError, InputError: the source cannot be read.
        OutputError: the output cannot be written.
    """
    form: Format = FORMATS.load(format_name)
    if form.write is None:
        raise ConfigError(f"{format_name} is only read; try another format")
    if frames < 1 or people < 1:
        raise ConfigError(f"expected at least 1 frame and 1 person, got {frames} and {people}")
    with open_clips(source) as ours:
        if ours.dimensions not in form.dimensions:
            raise ConfigError(
                f"{format_name} takes coordinates of {' or '.join(map(str, form.dimensions))} dimensions, "
                f"{source} has {ours.dimensions}"
            )
        skeleton = _skeleton(form, format_name, joints, ours.skeleton)
        options = WriteOptions(label_names=ours.label_names, frames=frames, people=people, half=half)
        left_out: Counter[str] = Counter()
        positions = ours.positions(splits)
        is_ours = Path.is_file if form.extension else _is_export
        with made_beside(output, overwrite=overwrite, is_ours=is_ours) as made:
            if not form.extension:
                made.mkdir()
            chosen = ours.clips(positions)
            clips = _fit(chosen, form, skeleton, left_out, lambda done: show(done, len(positions)))
            notes = form.write(clips, made, options)
    return ExportSummary(
        output=output,
        joints=skeleton.name,
        clips=len(positions) - left_out.total(),
        left_out=dict(left_out),
        notes=tuple(notes),
    )


def _fit(
    clips: Iterable[tuple[Clip, Tracks]],
    form: Format,
    skeleton: Skeleton,
    left_out: Counter[str],
    show: Callable[[int], None],
) -> Iterator[tuple[Clip, Tracks]]:
    """What of the clips the format can hold; the others are counted."""
    for done, (clip, tracks) in enumerate(clips, start=1):
        people = with_joints(tracks, skeleton)
        if clip.status != "ok":
            left_out[clip.status] += 1
        elif not len(people):
            left_out[f"no joint of {skeleton.name}"] += 1
        elif form.needs_size and not (clip.width and clip.height):
            left_out["size of the picture unknown"] += 1
        else:
            yield clip, people
        show(done)


def _skeleton(form: Format, name: str, joints: str | None, own: Skeleton) -> Skeleton:
    if joints is None:
        return own if not form.joints or own in form.joints else form.joints[0]
    wanted = get_skeleton(joints)
    if form.joints and wanted not in form.joints:
        raise ConfigError(
            f"{name} has the joints of {' or '.join(s.name for s in form.joints)}, not {joints}"
        )
    return wanted


def _is_export(folder: Path) -> bool:
    return (folder / TABLE).is_file()
