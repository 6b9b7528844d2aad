"""Experts' poses that are already on disk -> one better skeleton, without a GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skelkit.aggregation.reference import like_reference
from skelkit.aggregation.reliability import Reliability
from skelkit.data import ShardReader, ShardWriter, merge_shards
from skelkit.data.files import output_error
from skelkit.data.ssta_npz import read_ssta_npz, write_ssta_npz
from skelkit.errors import ConfigError, ShardError, SkelkitError
from skelkit.pipelines import workers
from skelkit.pipelines.aggregate import AggregationSettings, aggregate, learn_reliability, result_skeleton
from skelkit.pipelines.spool import open_ours
from skelkit.skeletons import COCO17
from skelkit.structures import Float32, SkeletonSequence, Tracks

if TYPE_CHECKING:
    from skelkit.pipelines.cluster import Cluster

_NPZ_FPS = 30.0
"""Assumed where a file says nothing of time."""
_LOT = 64
"""Clips that a worker of a cluster refines at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineSummary:
    """What was refined."""

    output: Path
    clips: int
    frames: int
    poses: int
    discarded: int
    """Poses with C below gamma."""


def refine(
    inputs: Sequence[Path],
    output: Path,
    settings: AggregationSettings,
    *,
    reference: bool = False,
    cluster: Cluster | None = None,
    overwrite: bool = False,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> RefineSummary:
    """Aggregate one shard with stored experts, or one SST-A npz file per expert.

    The consensus learns how far to trust each expert from all clips together, so its result is better than
    that of the extraction, which knew one clip at a time.

    Args:
        inputs: A shard, or npz files, one per expert.
        output: A shard, or an npz file; of the same kind as the inputs.
        settings: How.
        reference: As the authors' public script does it (three npz files).
        cluster: Work on its machines; shards only.
        overwrite: Replace an existing output.
        show: Called with clips done and clips in all.

    Raises:
        ConfigError: inputs and output do not fit together, or the output exists.
        ShardError: the input is no whole shard, or holds no experts.
        InputError: an npz file cannot be read.
    """
    npz = [path.suffix.lower() == ".npz" for path in (*inputs, output)]
    if any(npz) and not all(npz):
        raise ConfigError(
            "expected shards (.h5) or SST-A files (.npz), got both; input and output must match"
        )
    if not all(npz) and (len(inputs) != 1 or reference):
        raise ConfigError("expected one shard, or one npz file per expert; --like-reference takes npz files")
    if all(npz) and cluster:
        raise ConfigError("expected a shard for a cluster, got npz files; refine them here")
    if output.exists() and not overwrite:
        raise ConfigError(f"{output} exists; choose another name, or replace it with --overwrite")
    if all(npz):
        return _refine_files(inputs, output, settings, reference=reference)
    if output.exists():
        open_ours(output).close()
    return _refine_shard(inputs[0], output, settings, cluster, show)


def _refine_shard(
    shard: Path,
    output: Path,
    settings: AggregationSettings,
    cluster: Cluster | None,
    show: Callable[[int, int], None],
) -> RefineSummary:
    with ShardReader(shard) as reader:
        if not reader.experts:
            raise ShardError(f"expected a shard with the experts' own poses, {shard} holds none", path=shard)
        clips = range(len(reader))
        known = learn_reliability((_views(reader, i) for i in clips), settings)
        refining = _Refining(reader=reader, settings=settings, known=known)
        if cluster is None:
            counts = refining.write(clips, output, lambda done: show(done, len(clips)))
        else:
            with workers.terminable(), cluster.recording("refine", output):
                counts = refining.write_elsewhere(output, cluster, show)
        frames, poses, discarded = counts
        return RefineSummary(output=output, clips=len(clips), frames=frames, poses=poses, discarded=discarded)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Refining:
    """A shard to be refined."""

    reader: ShardReader
    settings: AggregationSettings
    known: Reliability | None

    def write(self, clips: range, output: Path, show: Callable[[int], None]) -> tuple[int, int, int]:
        """Some clips -> a shard; how many frames, poses and discarded ones there are."""
        reader, settings = self.reader, self.settings
        names = _names(reader)
        skeleton = result_skeleton([reader.experts[name] for name in names], settings)
        recipe = {"job": "refine", "aggregation": asdict(settings), "from": reader.recipe}
        frames = poses = discarded = 0
        with ShardWriter(output, skeleton=skeleton, recipe=recipe, experts=reader.experts) as writer:
            for done, i in enumerate(clips, start=1):
                views = _views(reader, i)
                result = aggregate(views, settings, self.known)
                writer.write(result, clip=reader.clip(i), experts=dict(zip(names, views, strict=True)))
                frames += result.num_frames
                poses += len(result)
                discarded += int((result.confidence < settings.gamma).sum())
                show(done)
        return frames, poses, discarded

    def write_elsewhere(
        self, output: Path, cluster: Cluster, show: Callable[[int, int], None]
    ) -> tuple[int, int, int]:
        """All clips, in lots on a cluster, joined."""
        total, folder = len(self.reader), output.absolute().with_name(output.name + ".parts")
        rows = self.reader.column("num_rows")
        lots = [range(start, min(start + _LOT, total)) for start in range(0, max(total, 1), _LOT)]
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir()
            running = cluster.run(
                "refining",
                make_refining,
                (self.reader.path.absolute(), folder, self.settings, self.known),
                lots,
                makes=lambda clips: _part(folder, clips),
                measure=lambda lots: [int(rows[lot.start : lot.stop].sum()) + 1 for lot in lots],
                name=lambda clips: f"clips {clips.start}-{clips.stop}",
            )
            counts, done = np.zeros(3, np.int64), 0
            with closing(running) as events:
                for event in events:
                    if event.kind == "lost":
                        raise SkelkitError(f"could not refine some clips: {event.data}")
                    if event.kind == "done":
                        counts += event.data
                        done += len(event.task)
                        show(done, total)
            merge_shards(output, [_part(folder, lot) for lot in lots], order=self.reader.video_ids)
        except OSError as error:
            raise output_error(error, folder) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        frames, poses, discarded = counts.tolist()
        return frames, poses, discarded


def make_refining(
    shard: Path, folder: Path, settings: AggregationSettings, known: Reliability | None
) -> workers.Job:
    """What a worker does: a lot of clips -> a shard in `folder`; returns what `_Refining.write` counts."""
    refining = _Refining(reader=ShardReader(shard), settings=settings, known=known)

    def job(clips: range, send: Callable[[Any], None]) -> tuple[int, int, int]:
        return refining.write(clips, _part(folder, clips), send)

    return job


def _part(folder: Path, clips: range) -> Path:
    return folder / f"{clips.start:09d}.h5"


def _names(reader: ShardReader) -> list[str]:
    """The experts, the primary one first."""
    first = reader.recipe.get("primary")
    return sorted(reader.experts, key=lambda name: name != first)


def _views(reader: ShardReader, clip: int) -> list[Tracks]:
    return _same_people([Tracks.of(reader.expert(name, clip)) for name in _names(reader)])


def _same_people(views: Sequence[Tracks]) -> list[Tracks]:
    """The views with the people of all: a shard keeps of each expert only those it saw."""
    ids = np.unique(np.concatenate([view.track_ids for view in views]))
    return [
        replace(view, person=np.searchsorted(ids, view.track_ids)[view.person], track_ids=ids)
        for view in views
    ]


def _refine_files(
    inputs: Sequence[Path], output: Path, settings: AggregationSettings, *, reference: bool
) -> RefineSummary:
    if reference:
        keypoints, c = like_reference([read_ssta_npz(path, zero_is_missing=False) for path in inputs])
        write_ssta_npz(output, keypoints)
        return RefineSummary(
            output=output, clips=1, frames=len(c), poses=len(c), discarded=int((c == 0).sum())
        )
    poses = [read_ssta_npz(path) for path in inputs]
    frames = max(len(p) for p in poses)
    views = [Tracks.of(_sequence(p, path.stem, frames)) for p, path in zip(poses, inputs, strict=True)]
    result = aggregate(views, replace(settings, joints=COCO17.name))
    write_ssta_npz(output, result.to_sequence().keypoints[0])
    discarded = int((result.confidence < settings.gamma).sum())
    return RefineSummary(output=output, clips=1, frames=frames, poses=len(result), discarded=discarded)


def _sequence(keypoints: Float32, name: str, frames: int) -> SkeletonSequence:
    """One person, COCO-17, as an SST-A file holds it; a shorter one is missing at the end."""
    whole = np.full((1, frames, *keypoints.shape[1:]), np.nan, np.float32)
    whole[0, : len(keypoints)] = keypoints
    seen = np.isfinite(whole).all(axis=-1)
    return SkeletonSequence(
        skeleton=COCO17,
        keypoints=whole,
        scores=np.asarray(seen, np.float32),
        confidence=np.where(seen.any(axis=-1), 1, np.nan).astype(np.float32),
        track_ids=np.zeros(1, np.int64),
        frame_indices=np.arange(frames),
        pts_s=np.arange(frames) / _NPZ_FPS,
        video_id=name,
        fps=_NPZ_FPS,
        image_size=(0, 0),
        sources=(name,),
    )
