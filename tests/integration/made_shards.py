"""Shards of people who move smoothly, as an extraction leaves them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.data import Clip, ShardWriter, empty_sequence
from skelkit.pipelines.workers import Event, Job
from skelkit.skeletons import LCR13
from skelkit.structures import Skeleton, SkeletonSequence

LABELS = ("making sushi", "making a cake", "clapping", "waving hand")


def people(
    seed: int,
    *,
    video_id: str,
    frames: int = 30,
    count: int = 1,
    present: float = 1.0,
    skeleton: Skeleton = LCR13,
) -> SkeletonSequence:
    """People seen in the first `present` of the frames."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None, None] / 10
    shape = (count, 1, skeleton.num_joints, 2)
    keypoints = rng.uniform(50, 400, shape) + rng.uniform(5, 30, shape) * np.sin(
        time * rng.uniform(1, 4, shape)
    )
    keypoints = keypoints.astype(np.float32)
    keypoints[:, round(frames * present) :] = np.nan
    scores = np.where(np.isfinite(keypoints[..., 0]), 0.75, 0).astype(np.float32)
    confidence = rng.uniform(0.1, 0.9, (count, frames)).astype(np.float32)
    return SkeletonSequence(
        skeleton=skeleton,
        keypoints=keypoints,
        scores=scores,
        confidence=np.where(np.isfinite(keypoints[..., 0, 0]), confidence, np.nan).astype(np.float32),
        track_ids=np.arange(count),
        frame_indices=np.arange(frames),
        pts_s=np.arange(frames) / 25,
        video_id=video_id,
        fps=25.0,
        image_size=(480, 640),
        sources=("one", "two"),
    )


def make_shard(path: Path, numbers: Sequence[int], **changes: Any) -> Path:
    """Clips ``clip0007`` and so on: every fifth has people in 40 % of its frames, every ninth has failed."""
    with ShardWriter(path, skeleton=changes.get("skeleton", LCR13), recipe={"job": "test"}) as writer:
        for n in numbers:
            name = f"clip{n:04d}"
            if n % 9 == 8:
                nobody = empty_sequence(LCR13, video_id=name)
                writer.write(nobody, clip=Clip.of(nobody, status="failed", detail="cut short"))
                continue
            sequence = people(
                n,
                video_id=name,
                count=1 + n % 3,
                frames=20 + n % 7,
                present=0.4 if n % 5 == 4 else 1.0,
                **changes,
            )
            clip = Clip.of(
                sequence, label=LABELS[n % 4], source=f"videos/{n // 2}.mp4", sha256=f"{n // 2:064x}"
            )
            writer.write(sequence, clip=clip)
    return path


def run_here(
    make_job: Callable[..., Job], arguments: tuple[Any, ...], tasks: Sequence[Any], count: int
) -> Generator[Event[Any], None, None]:
    """`workers.run` without processes, in an order that no one should depend on."""
    job = make_job(*arguments)
    for task in [*tasks[count % 2 :: 2], *tasks[1 - count % 2 :: 2]]:
        yield Event(task=task, kind="done", data=job(task, lambda data: None))


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file's content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
