"""Experts' poses that are already on disk -> one better skeleton, without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from skelkit.aggregation.reference import like_reference
from skelkit.data import ShardReader, ShardWriter
from skelkit.data.ssta_npz import read_ssta_npz, write_ssta_npz
from skelkit.errors import ConfigError, ShardError
from skelkit.pipelines.aggregate import AggregationSettings, aggregate, learn_reliability, result_skeleton
from skelkit.pipelines.spool import open_ours
from skelkit.skeletons import COCO17
from skelkit.structures import Float32, SkeletonSequence, Tracks

_NPZ_FPS = 30.0
"""Assumed where a file says nothing of time."""


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
    if output.exists() and not overwrite:
        raise ConfigError(f"{output} exists; choose another name, or replace it with --overwrite")
    if all(npz):
        return _refine_files(inputs, output, settings, reference=reference)
    if output.exists():
        open_ours(output).close()
    return _refine_shard(inputs[0], output, settings, show)


def _refine_shard(
    shard: Path, output: Path, settings: AggregationSettings, show: Callable[[int, int], None]
) -> RefineSummary:
    with ShardReader(shard) as reader:
        if not reader.experts:
            raise ShardError(f"expected a shard with the experts' own poses, {shard} holds none", path=shard)
        first = reader.recipe.get("primary")
        names = sorted(reader.experts, key=lambda name: name != first)
        skeleton = result_skeleton([reader.experts[name] for name in names], settings)
        recipe = {"job": "refine", "aggregation": asdict(settings), "from": reader.recipe}
        frames = poses = discarded = 0

        def views_of(clip: int) -> list[Tracks]:
            return _same_people([Tracks.of(reader.expert(name, clip)) for name in names])

        known = learn_reliability((views_of(i) for i in range(len(reader))), settings)
        with ShardWriter(output, skeleton=skeleton, recipe=recipe, experts=reader.experts) as writer:
            for i in range(len(reader)):
                views = views_of(i)
                result = aggregate(views, settings, known)
                experts = dict(zip(names, views, strict=True))
                writer.write(result, clip=reader.clip(i), experts=experts)
                frames += result.num_frames
                poses += len(result)
                discarded += int((result.confidence < settings.gamma).sum())
                show(i + 1, len(reader))
        return RefineSummary(
            output=output, clips=len(reader), frames=frames, poses=poses, discarded=discarded
        )


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
