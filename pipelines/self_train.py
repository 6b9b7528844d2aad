"""SSTA-PRS: videos -> experts -> SST-A -> pseudo ground truth -> a better student (thesis, section 3.3.3)."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
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
from skelkit.structures import Bool, Float32, FrameBatch, Skeleton, SkeletonSequence
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
    min_experts: int = 2
    """People whom fewer experts see teach nothing: alone, no expert is contradicted, and C is 1."""
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
        regions=network.num_regions,
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """The people of a frame."""

    keypoints: Float32
    """(P, K, 2) px."""
    sure: Bool
    """(P,) who is there for sure."""


def sure_people(
    sequence: SkeletonSequence,
    experts: Sequence[SkeletonSequence],
    skeleton: Skeleton,
    gamma: float,
    settings: SelfTrainSettings,
) -> Iterator[tuple[int, Seen]]:
    """Frames with somebody who is sure: C >= gamma (equation 3.3), enough joints, enough experts.

    The others in them are in doubt: were they nobody, the student would learn that nobody is there.

    Args:
        sequence: What SST-A made of the experts.
        experts: What each of them said, with the same identities.
        skeleton: The student's, K joints.
        gamma: Of equation 3.3.
        settings: How many joints and experts are enough; never more experts than there are.

    Yields:
        Number of the frame in the video, and its people.
    """
    points, _ = remap(sequence.keypoints, sequence.scores, sequence.skeleton, skeleton)
    joints = np.isfinite(points).all(axis=-1).sum(axis=-1)  # (M, T)
    said = np.zeros(joints.shape, np.int64)
    for expert in experts:
        _, ours, theirs = np.intersect1d(sequence.track_ids, expert.track_ids, return_indices=True)
        said[ours] += np.isfinite(expert.keypoints[theirs]).any(axis=(2, 3))
    there = joints > 0
    sure = there & (sequence.confidence >= gamma) & (joints >= settings.min_joints)
    sure &= said >= min(settings.min_experts, len(experts))
    for step in np.flatnonzero(sure.any(axis=0)):
        people = there[:, step]
        yield (
            int(sequence.frame_indices[step]),
            Seen(keypoints=points[people, step], sure=sure[people, step]),
        )


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
    frames = people = doubtful = 0
    try:
        folder.mkdir(exist_ok=True)
        with ShardReader(output / POSES) as reader:
            for index in range(len(reader)):
                sequence, clip = reader[index], reader.clip(index)
                if clip.status != "ok" or not sequence.num_frames:
                    continue
                experts = [reader.expert(name, index) for name in sequence.sources]
                chosen = dict(sure_people(sequence, experts, skeleton, aggregation.gamma, settings))
                frames += sequence.num_frames
                if not chosen:
                    continue
                with open_video(sources[clip.video_id], **sampling.sampling()) as video:
                    for number, picture in _frames(video.batches(16), chosen):
                        seen = chosen[number]
                        small, points = shrunk(picture, seen.keypoints, 2 * side)
                        name = f"{index:06d}-{number:06d}.jpg"
                        write_picture(folder / name, small)
                        places = points.round(2).astype(object)
                        places[~np.isfinite(points)] = None
                        labels[name] = {"joints": places.tolist(), "sure": seen.sure.tolist()}
                        people += int(seen.sure.sum())
                        doubtful += int((~seen.sure).sum())
    except OSError as error:
        raise output_error(error, folder) from error
    if not labels:
        raise InputError(
            f"expected poses that the experts agree on (C of at least {aggregation.gamma}), found none in "
            f"{frames} frames; try other experts, or a lower gamma",
            path=output / POSES,
        )
    counts = {"frames": frames, "pictures": len(labels), "people": people, "people_in_doubt": doubtful}
    write_json(output / LABELS, {"counts": counts, "joints": list(skeleton.joints), "people": labels})


def _frames(
    batches: Iterable[FrameBatch], wanted: Container[int]
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
        read = partial(read_picture, output / PICTURES / name)
        points = np.asarray(people["joints"], np.float32)  # null becomes NaN
        found.append(Labelled(read=read, keypoints=points, sure=np.asarray(people["sure"], bool)))
    return about["counts"], found
