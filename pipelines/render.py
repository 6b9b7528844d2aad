"""A clip of a shard -> a movie or a picture of its people, on the video they were found in."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skelkit.aggregation.confidence import discarded
from skelkit.data import Clip, ShardReader
from skelkit.errors import ConfigError, InputError, OutputError
from skelkit.report import DARK, Grid, MovieWriter, Panel, draw_legend, resized, write_picture
from skelkit.structures import Int64, SkeletonSequence, UInt8
from skelkit.video import Source, find_sources, open_video, prefetch

MOVIE, PICTURE = ".mp4", ".png"
"""Kinds of output, by extension."""
POSES = "poses"
"""What stands for ``/poses`` among the names of experts."""
ALL = "all"
"""What stands for ``/poses`` and every expert."""
STRIP_FRAMES = 6
"""Frames in a picture, evenly spaced over the clip."""
_AHEAD = 2
"""Frames decoded ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSummary:
    """What was drawn."""

    output: str
    frames: int
    people: int
    """Different people, in the view that has most."""
    panels: tuple[str, ...]
    """Views side by side."""
    width: int
    """Pixels of the whole picture, before a movie is padded to even sizes."""
    height: int
    """Pixels of the whole picture, likewise."""


def render(
    shard: str | os.PathLike[str],
    clip: str,
    output: str | os.PathLike[str],
    *,
    experts: Sequence[str] | None = None,
    video: str | os.PathLike[str] | None = None,
    blank: bool = False,
    gamma: float = 0.0,
    max_height: int = 1080,
    overwrite: bool = False,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> RenderSummary:
    """Draw the people of a clip: a movie with the frames looked at in their true times, or a picture.

    Args:
        shard: The shard.
        clip: `video_id` of the clip.
        output: A ``.mp4``, or a ``.png`` with `STRIP_FRAMES` frames.
        experts: Views side by side: names of experts, ``poses`` for what stands in ``/poses``, ``all`` for
            that and every expert. None = ``poses``.
        video: Where the video is now; None = where it was.
        blank: Draw on a dark ground; the video is not needed then.
        gamma: Aggregated poses with C below it are left out (thesis, equation 3.3).
        max_height: Pixels of the whole picture at most, and 16/9 of that across; nothing is enlarged.
        overwrite: Replace the output (never the video itself).
        show: Called with frames done and frames in all.

    Raises:
        ConfigError: an output of another kind, options that exclude each other, too small a height.
        ShardError: no such shard, clip or expert.
        InputError: the clip has nothing to draw (it failed), the video is not there or is another one.
        VideoError: the video does not decode.
        OutputError: the output exists, or cannot be written.
    """
    path = _checked(Path(output), overwrite=overwrite)
    if blank and video is not None:
        raise ConfigError("expected --video or --blank, got both; try one of them")
    with ShardReader(shard) as reader:
        index = reader.find(clip)
        about = reader.clip(index)
        _check_frames(about)
        views = _views(reader, index, experts, gamma)
    sequence = next(iter(views.values()))
    picture = path.suffix.lower() == PICTURE
    steps = _evenly(sequence.num_frames, STRIP_FRAMES) if picture else np.arange(sequence.num_frames)
    panels = [Panel(view, title=title if len(views) > 1 else "") for title, view in views.items()]
    grid = _grid(len(panels), len(steps) if picture else 1, sequence.image_size, max_height)
    if blank:
        images = _blank(sequence.image_size, len(steps))
    else:
        source = _source(about, video, path)
        images = _frames(source, sequence.frame_indices[steps], sequence.image_size)

    def drawn() -> Iterator[list[UInt8]]:
        """The panels of one frame after the other."""
        for done, (step, image) in enumerate(zip(steps.tolist(), images, strict=True), start=1):
            small = resized(image, grid.height, grid.width)
            yield [panel.draw(small, step) for panel in panels]
            show(done, len(steps))

    with closing(images):
        if picture:
            _write_strip(path, grid, drawn())
        else:
            _write_movie(path, grid, drawn(), sequence)
    height, width = grid.size
    return RenderSummary(
        output=str(path),
        frames=len(steps),
        people=max(int((~np.isnan(view.keypoints)).any(axis=(1, 2, 3)).sum()) for view in views.values()),
        panels=tuple(views),
        width=width,
        height=height,
    )


def _checked(output: Path, *, overwrite: bool) -> Path:
    """Refuse early what could only fail at the end."""
    if output.suffix.lower() not in (MOVIE, PICTURE):
        raise ConfigError(
            f"expected an output that ends in {MOVIE} (movie) or {PICTURE} (picture of {STRIP_FRAMES} "
            f"frames), got {str(output)!r}",
            got=output.suffix,
        )
    if output.is_dir():
        raise OutputError(f"expected a file name for the output, got the folder {output}", path=output)
    if not output.parent.is_dir():
        raise OutputError(
            f"expected an existing folder for {output}, found no {output.parent}; create it", path=output
        )
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists; try another name, or --overwrite to replace it", path=output)
    return output


def _check_frames(about: Clip) -> None:
    if not about.num_frames:
        why = about.detail or "no frame of it was looked at"
        raise InputError(f"clip {about.video_id!r} has nothing to draw: {why}", video_id=about.video_id)


def _views(
    reader: ShardReader, index: int, experts: Sequence[str] | None, gamma: float
) -> dict[str, SkeletonSequence]:
    """The sequences to draw, by title."""
    names = [n for e in experts or (POSES,) for n in ((POSES, *reader.experts) if e == ALL else (e,))]
    views = {}
    for name in dict.fromkeys(names):
        sequence = _kept(reader[index], gamma) if name == POSES else reader.expert(name, index)
        title = f"{POSES} ({' + '.join(sequence.sources)})" if name == POSES else name
        views[title] = sequence
    return views


def _kept(sequence: SkeletonSequence, gamma: float) -> SkeletonSequence:
    out = discarded(sequence, gamma)
    points, scores = sequence.keypoints.copy(), sequence.scores.copy()
    points[out], scores[out] = np.nan, 0
    return replace(
        sequence,
        keypoints=points,
        scores=scores,
        confidence=np.where(out, np.float32(np.nan), sequence.confidence),
    )


def _evenly(count: int, wanted: int) -> Int64:
    """Up to `wanted` of the numbers below `count`, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, wanted).round().astype(np.int64))


def _grid(views: int, frames: int, image_size: tuple[int, int], max_height: int) -> Grid:
    """Several views of several frames: a row for each frame. Otherwise whatever shows panels largest."""
    columns = views if views > 1 and frames > 1 else None
    return Grid.fit(views * frames, image_size, (max_height, max_height * 16 // 9), columns=columns)


def _source(about: Clip, video: str | os.PathLike[str] | None, output: Path) -> Source:
    """Where the pictures are."""
    path = os.fspath(video) if video is not None else about.source
    try:
        sources = find_sources([path]) if path else []
    except InputError as error:
        raise _no_video(about, path) from error
    if len(sources) != 1:
        raise _no_video(about, path)
    if output.exists() and any(output.samefile(file) for file in sources[0].paths if file.exists()):
        raise OutputError(f"{output} is the video itself; try another name for the output", path=output)
    return sources[0]


def _no_video(about: Clip, path: str) -> InputError:
    return InputError(
        f"expected the video of clip {about.video_id!r} at {path!r}, found none; try --video with the place "
        "where it is now, or --blank to draw without it",
        path=path,
    )


def _frames(source: Source, indices: Int64, image_size: tuple[int, int]) -> Generator[UInt8]:
    """The frames of these numbers, one at a time; what lies behind the last one is not decoded."""
    with open_video(source) as reader:
        height, width = reader.info.height, reader.info.width
        if (height, width) != image_size:
            raise _other_video(source, f"pictures of {image_size[1]}x{image_size[0]}", f"{width}x{height}")
        wanted = indices.tolist()[::-1]
        with closing(prefetch(reader.batches(1), _AHEAD)) as batches:
            for batch in batches:
                if batch.indices[0] == wanted[-1]:
                    yield batch.images[0]
                    wanted.pop()
                    if not wanted:
                        return
    raise _other_video(source, f"a frame number {wanted[-1]}", f"{reader.info.num_frames} frames")


def _other_video(source: Source, expected: str, got: str) -> InputError:
    return InputError(
        f"{source.path} is not the video that the poses were found in: expected {expected}, got {got}; try "
        "--video with the right one, or --blank",
        path=source.path,
        expected=expected,
        got=got,
    )


def _blank(image_size: tuple[int, int], count: int) -> Generator[UInt8]:
    """A dark ground for every frame."""
    ground = np.full((*image_size, 3), DARK, np.uint8)
    yield from itertools.repeat(ground, count)


def _write_strip(path: Path, grid: Grid, rows: Iterator[list[UInt8]]) -> None:
    """All frames in one picture."""
    panels = [panel for row in rows for panel in row]
    draw_legend(panels[-1])
    write_picture(path, grid.compose(panels))


def _write_movie(path: Path, grid: Grid, rows: Iterator[list[UInt8]], sequence: SkeletonSequence) -> None:
    """All frames in their times."""
    with MovieWriter(path, fps=sequence.fps) as movie:
        for pts_s, panels in zip(sequence.pts_s.tolist(), rows, strict=True):
            draw_legend(panels[-1])
            movie.write(grid.compose(panels), pts_s)
