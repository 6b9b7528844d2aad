"""Several experts' views of the same people, stacked into one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.errors import ConfigError
from skelkit.skeletons import remap
from skelkit.structures import Bool, Float32, Float64, Skeleton, SkeletonSequence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proposals:
    """What E experts say about M people with K joints over T frames.

    Experts, joints and coordinates lie on the outer axes, so that reductions over them run along memory.
    """

    points: Float32
    """(C, E, K, T, M) pixels; NaN = the expert does not see the joint."""
    scores: Float32
    """(E, K, T, M) in [0, 1]."""
    pts_s: Float64
    """(T,) seconds."""

    def seen(self) -> Bool:
        """(E, K, T, M) which expert sees which joint."""
        return np.asarray(np.isfinite(self.points).all(axis=0))


def stack(views: Sequence[SkeletonSequence], skeleton: Skeleton) -> Proposals:
    """The views as one array over the joints of ``skeleton``."""
    m, t, _, c = views[0].keypoints.shape
    shape = (len(views), skeleton.num_joints, t, m)
    points, scores = np.empty((c, *shape), np.float32), np.empty(shape, np.float32)
    for e, view in enumerate(views):
        keypoints, score = remap(view.keypoints, view.scores, view.skeleton, skeleton)
        points[:, e] = keypoints.transpose(3, 2, 1, 0)
        scores[e] = score.transpose(2, 1, 0)
    np.copyto(points, np.nan, where=~np.isfinite(points).all(axis=0))
    return Proposals(points=points, scores=scores, pts_s=views[0].pts_s)


def unstack(
    views: Sequence[SkeletonSequence],
    skeleton: Skeleton,
    points: Float32,
    scores: Float32,
    confidence: Float32,
) -> SkeletonSequence:
    """What several views were made into: points (C, K, T, M), scores (K, T, M) and C (T, M)."""
    return replace(
        views[0],
        skeleton=skeleton,
        keypoints=np.ascontiguousarray(points.transpose(3, 2, 1, 0)),
        scores=np.ascontiguousarray(scores.transpose(2, 1, 0)),
        confidence=np.ascontiguousarray(confidence.T),
        sources=expert_names(views),
    )


def pick(values: Float32, chosen: npt.NDArray[np.intp]) -> Float32:
    """The chosen expert's values.

    Args:
        values: (..., E, K, T, M).
        chosen: (K, T, M) expert at each place.

    Returns:
        (..., K, T, M).
    """
    flat = values.reshape(*values.shape[:-4], -1)
    at = chosen * chosen.size + np.arange(chosen.size).reshape(chosen.shape)
    return np.asarray(flat.take(at, axis=-1))


def check_views(views: Sequence[SkeletonSequence]) -> None:
    """Raise ConfigError unless all views show the same people in the same frames."""
    if not views:
        raise ConfigError("aggregation: expected at least one view, got none; try one sequence per expert")
    first = views[0]
    for view in views[1:]:
        for name in ("track_ids", "frame_indices", "pts_s"):
            want, got = getattr(first, name), getattr(view, name)
            if not np.array_equal(want, got, equal_nan=name == "pts_s"):
                raise ConfigError(
                    f"aggregation: expected the same {name} in all views, got {_brief(want)} from "
                    f"{'+'.join(first.sources)} and {_brief(got)} from {'+'.join(view.sources)}; try giving "
                    "people the same identities across experts first, with NaN rows for the unseen",
                    expected=want,
                    got=got,
                )
        want_c, got_c = first.keypoints.shape[-1], view.keypoints.shape[-1]
        if want_c != got_c:
            raise ConfigError(
                f"aggregation: expected the same number of coordinates in all views, got {want_c} from "
                f"{'+'.join(first.sources)} and {got_c} from {'+'.join(view.sources)}",
                expected=want_c,
                got=got_c,
            )


def check_continues(past: Float32, proposals: Proposals) -> None:
    """Raise ConfigError unless a chunk has the same (C, E, K, M) as what is remembered of the past."""
    c, e, k, _, m = proposals.points.shape
    if past.shape != (c, e, k, m):
        raise ConfigError(
            "aggregation: expected every chunk to have the same coordinates, experts, joints and people, "
            f"got {(c, e, k, m)} after {past.shape}",
            expected=past.shape,
            got=(c, e, k, m),
        )


def _brief(array: np.ndarray) -> str:
    return np.array2string(array, threshold=8, edgeitems=3, separator=", ")


def cut(sequence: SkeletonSequence, start: int, stop: int) -> SkeletonSequence:
    """The time steps ``start`` to ``stop`` of a sequence, as views of its arrays."""
    part = slice(start, stop)
    return replace(
        sequence,
        keypoints=sequence.keypoints[:, part],
        scores=sequence.scores[:, part],
        confidence=sequence.confidence[:, part],
        frame_indices=sequence.frame_indices[part],
        pts_s=sequence.pts_s[part],
    )


def join(parts: Sequence[SkeletonSequence]) -> SkeletonSequence:
    """Successive chunks as one sequence."""
    along_time = {"keypoints": 1, "scores": 1, "confidence": 1, "frame_indices": 0, "pts_s": 0}
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in parts], axis=axis)
        for name, axis in along_time.items()
    }
    return replace(parts[0], **joined)


def expert_names(views: Sequence[SkeletonSequence]) -> tuple[str, ...]:
    """The sources of all views, in order."""
    return tuple(s for v in views for s in v.sources)


def lower_median(values: Float32) -> Float32:
    """Median over the first axis without NaN (the lower of two middle values); NaN where all are NaN."""
    ordered = np.sort(values, axis=0)  # NaN last
    middle = np.maximum((~np.isnan(values)).sum(axis=0) - 1, 0) // 2
    return np.asarray(np.take_along_axis(ordered, middle[None], axis=0)[0])
