"""SSTA-PRS: videos -> experts -> SST-A -> pseudo ground truth -> a better student (thesis, section 3.3.3)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from skelkit.data import ShardReader
from skelkit.data.files import output_error
from skelkit.errors import ConfigError, InputError
from skelkit.experts.lcrnet.files import load_network, save_network
from skelkit.experts.lcrnet.learning import LearningSettings
from skelkit.experts.lcrnet.pictures import Labelled, shrunk
from skelkit.experts.picture_files import read_picture, write_picture
from skelkit.skeletons import remap
from skelkit.structures import Float32, FrameBatch, Skeleton, SkeletonSequence
from skelkit.video import find_sources, open_video

from .aggregate import AggregationSettings
from .extract import Step, extract, plan
from .settings import ExtractSettings
from .spool import write_json
from .student import StudentSettings, Tell, facts, measure, split, teach

POSES, PICTURES, LABELS, REPORT = "experts.h5", "pictures", "labels.json", "report.json"
"""In the run's folder: what the experts said, the pictures learnt from, their people, and what came of it."""
STUDENT = "student.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTrainSettings:
    """How a student is refined; the defaults are the thesis' (section 3.6.2).

    Raises:
        ConfigError: a value outside its range.
    """

    share: float = 0.1
    """Of each video's frames, uniformly sampled."""
    min_joints: int = 7
    """People of whom SST-A has fewer joints teach nothing."""
    validation: float = 0.2
    """Share of the pictures that is kept to measure on."""
    degrade: float = 0.0
    """Share of the pictures that are degraded as NTU-Pose was, each time anew."""
    learning: LearningSettings = field(default_factory=lambda: LearningSettings(weak=True, lr=1e-4, epochs=6))

    def __post_init__(self) -> None:
        """Check."""
        if not 0 < self.share <= 1:
            raise ConfigError(f"share: expected a share of the frames, above 0 and up to 1, got {self.share}")

    @property
    def stride(self) -> int:
        """Every so many-th frame is that share."""
        return max(1, round(1 / self.share))


def self_train(
    inputs: Sequence[str | Path],
    output: Path,
    student: Path,
    settings: SelfTrainSettings,
    experts: ExtractSettings,
    *,
    worker_count: int = 1,
    device: str = "cpu",
    display: Callable[[int], AbstractContextManager[Shows]] | None = None,
    tell: Tell = lambda epoch, losses: None,
) -> dict[str, Any]:
    """Refine a student by what several experts agree on in unlabelled videos.

    Args:
        inputs: Videos, folders, pictures: what `skelkit extract` takes.
        output: Folder of the run. Killed at any moment, the same call goes on: what the experts said is kept
            clip by clip, pictures and pseudo ground truth as a whole.
        student: The file of the network to refine.
        settings: How it learns.
        experts: Which experts; its sampling and aggregation are set by the other settings but for gamma and
            the method.
        worker_count: Videos the experts work on at a time.
        device: Where the student learns; see `skelkit.experts.choose_device`.
        display: Given the number of videos, shows news of the extraction.
        tell: Called after every epoch.

    Returns:
        Counts of frames, people and pictures; ``before`` and ``after``: recall and PCK of the student against
        the pseudo ground truth of the pictures kept.

    Raises:
        InputError: no pose that the experts agree on.
        WeightsError: the student's file is none.
    """
    network, skeleton, known = load_network(student)
    output.mkdir(parents=True, exist_ok=True)
    aggregation = replace(experts.aggregation, joints="all")
    asked = replace(experts, stride=settings.stride, aggregation=aggregation)
    if not (output / LABELS).exists():
        shard = output / POSES
        if not shard.exists():
            task = plan(inputs, shard, asked)
            with display(len(task.sources)) if display else nullcontext() as shown:
                show = shown.show if shown else lambda step: None
                extract(task, asked, worker_count=worker_count, show=show)
        make_pictures(inputs, output, skeleton, aggregation, settings, side=known["side"], sampling=asked)
    counts, every = read_pictures(output)
    as_student = StudentSettings(
        backbone=network.backbone_name,
        anchors=network.num_anchors,
        side=known["side"],
        validation=settings.validation,
        degrade=settings.degrade,
        learning=settings.learning,
    )
    learnt, kept = split(every, settings.validation, settings.learning.seed)
    report: dict[str, Any] = counts | {"learnt": len(learnt), "measured": len(kept)}
    report["before"] = measure(network, skeleton, kept, as_student.side)
    report["losses"] = teach(network, skeleton, learnt, as_student, device=device, tell=tell)
    report["after"] = measure(network, skeleton, kept, as_student.side)
    save_network(output / STUDENT, network, skeleton, facts(as_student) | {"report": report})
    write_json(output / REPORT, report)
    return report


class Shows(Protocol):
    """What tells of an extraction as it goes."""

    def show(self, step: Step) -> None:
        """A piece of news."""
        ...


# Pseudo ground truth


def sure_people(
    sequence: SkeletonSequence, skeleton: Skeleton, gamma: float, min_joints: int
) -> Iterator[tuple[int, Float32]]:
    """Frames all of whose people are sure: C >= gamma (equation 3.3) and enough joints.

    A frame with somebody less sure is left out: where nobody is labelled, the student would learn that
    nobody is there.

    Yields:
        Number of the frame in the video, and (P, K, 2) px of its people, at least one.
    """
    points, _ = remap(sequence.keypoints, sequence.scores, sequence.skeleton, skeleton)
    joints = np.isfinite(points).all(axis=-1).sum(axis=-1)  # (M, T)
    there = joints > 0
    sure = there & (sequence.confidence >= gamma) & (joints >= min_joints)
    for step in np.flatnonzero(there.any(axis=0) & (sure == there).all(axis=0)):
        yield int(sequence.frame_indices[step]), points[there[:, step], step]


def make_pictures(
    inputs: Sequence[str | Path],
    output: Path,
    skeleton: Skeleton,
    aggregation: AggregationSettings,
    settings: SelfTrainSettings,
    *,
    side: int,
    sampling: ExtractSettings,
) -> None:
    """Frames with pseudo ground truth as pictures, no larger than twice what the student sees."""
    folder = output / PICTURES
    sources = {source.video_id: source for source in find_sources([str(i) for i in inputs])}
    labels: dict[str, Any] = {}
    frames = people = unsure = 0
    try:
        folder.mkdir(exist_ok=True)
        with ShardReader(output / POSES) as reader:
            for index in range(len(reader)):
                sequence, clip = reader[index], reader.clip(index)
                if clip.status != "ok" or not sequence.num_frames:
                    continue
                chosen = dict(sure_people(sequence, skeleton, aggregation.gamma, settings.min_joints))
                seen = np.isfinite(sequence.keypoints).any(axis=(0, 2, 3))
                frames += sequence.num_frames
                unsure += int(seen.sum()) - len(chosen)
                if not chosen:
                    continue
                with open_video(sources[clip.video_id], **sampling.sampling()) as video:
                    for number, picture in _frames(video.batches(16), chosen):
                        small, points = shrunk(picture, chosen[number], 2 * side)
                        name = f"{index:06d}-{number:06d}.jpg"
                        write_picture(folder / name, small)
                        places = points.round(2).astype(object)
                        places[~np.isfinite(points)] = None
                        labels[name] = places.tolist()
                        people += len(points)
    except OSError as error:
        raise output_error(error, folder) from error
    if not labels:
        raise InputError(
            f"expected poses that the experts agree on (C of at least {aggregation.gamma}), found none in "
            f"{frames} frames; try other experts, or a lower gamma",
            path=output / POSES,
        )
    counts = {"frames": frames, "frames_unsure": unsure, "pictures": len(labels), "people": people}
    write_json(output / LABELS, {"counts": counts, "joints": list(skeleton.joints), "people": labels})


def _frames(
    batches: Iterable[FrameBatch], wanted: dict[int, Float32]
) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
    for batch in batches:
        for number, picture in zip(batch.indices.tolist(), batch.images, strict=True):
            if number in wanted:
                yield number, picture


def read_pictures(output: Path) -> tuple[dict[str, int], list[Labelled]]:
    """What `make_pictures` made: its counts, and the pictures."""
    about = json.loads((output / LABELS).read_text("utf-8"))
    found = []
    for name, people in about["people"].items():
        points = np.asarray(people, np.float32)  # null becomes NaN
        found.append(Labelled(read=partial(read_picture, output / PICTURES / name), keypoints=points))
    return about["counts"], found
