"""Our own shards and datasets, as what formats are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from skelkit.data.clip import Clip
from skelkit.data.dataset import DatasetReader
from skelkit.data.reader import ShardReader
from skelkit.errors import ConfigError, InputError
from skelkit.skeletons import remap
from skelkit.structures import Int64, Skeleton, Tracks


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnClips:
    """The clips of an open shard or dataset."""

    reader: Any
    """`ShardReader` or `DatasetReader`."""
    skeleton: Skeleton
    dimensions: int
    label_names: tuple[str, ...]
    """Name of every label number, the dataset's own or by the clips; sorted where clips have no numbers."""

    def positions(self, splits: Sequence[str]) -> Int64:
        """Which clips these splits have; all where none is named.

        Raises:
            ConfigError: no such split.
        """
        column = self.reader.column("split")
        if unknown := sorted(set(splits) - set(column.tolist())):
            known = ", ".join(sorted(set(column.tolist()))) or "none"
            raise ConfigError(f"no clip is of the split {', '.join(unknown)}; splits are {known}")
        return np.flatnonzero(np.isin(column, splits)) if splits else np.arange(len(column))

    def clips(self, positions: Int64) -> Iterator[tuple[Clip, Tracks]]:
        """Clips and their people, with a number for every label."""
        numbers = {name: i for i, name in enumerate(self.label_names)}
        for i in positions.tolist():
            clip = self.reader.clip(i)
            yield (
                replace(clip, label_index=numbers.get(clip.label, clip.label_index)),
                Tracks.of(self.reader[i]),
            )


@contextmanager
def open_clips(path: Path) -> Iterator[OwnClips]:
    """The clips of a shard, or of a dataset's folder.

    Raises:
        ShardError: it is neither, or damaged.
        InputError: nothing is there.
    """
    if not path.exists():
        raise InputError(f"expected a shard or a dataset at {path}, found nothing", path=path)
    if path.is_dir():
        with DatasetReader(path) as dataset:
            info = dataset.info
            yield OwnClips(
                reader=dataset,
                skeleton=info.skeleton,
                dimensions=info.dimensions,
                label_names=info.label_names or _names(dataset),
            )
    else:
        with ShardReader(path) as shard:
            header = shard.header
            yield OwnClips(
                reader=shard,
                skeleton=header.skeleton,
                dimensions=header.dimensions,
                label_names=_names(shard),
            )


def _names(reader: Any) -> tuple[str, ...]:
    labels = reader.column("label").tolist()
    pairs = {
        (label, i) for label, i in zip(labels, reader.column("label_index").tolist(), strict=True) if label
    }
    by_number = {i: label for label, i in pairs}
    if len(by_number) == len(pairs) and min(by_number, default=0) >= 0:
        return tuple(by_number.get(i, "") for i in range(max(by_number, default=-1) + 1))
    return tuple(sorted({label for label, _ in pairs}))


def with_joints(tracks: Tracks, skeleton: Skeleton) -> Tracks:
    """The same people with another joint set, by joint name; poses without any of its joints are gone."""
    if tracks.skeleton == skeleton:
        return tracks
    keypoints, scores = remap(tracks.keypoints, tracks.scores, tracks.skeleton, skeleton)
    kept = np.isfinite(keypoints).all(axis=-1).any(axis=-1)
    return replace(
        tracks,
        skeleton=skeleton,
        person=tracks.person[kept],
        step=tracks.step[kept],
        keypoints=keypoints[kept],
        scores=scores[kept],
        confidence=tracks.confidence[kept],
    )
