"""The central types: what flows from a video to a dataset. numpy only.

Letters used in every shape of this project: N frames, P detections, M people, T time steps, K joints,
C coordinates (2 or 3), H height, W width, B batch.

Arrays are checked once, at the door (``__post_init__``); after that every function may rely on them.
A missing joint is NaN in all coordinates, never (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skelkit.errors import ConfigError

if TYPE_CHECKING:  # importing torch takes seconds
    import torch

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


def _check(owner: str, name: str, array: Any, dtype: type[np.generic], shape: tuple[int | str, ...]) -> None:
    """Raise ConfigError unless ``array`` has this dtype and this shape (a str stands for any size)."""
    wanted = f"{np.dtype(dtype).name} ({', '.join(str(s) for s in shape)})"
    if not isinstance(array, np.ndarray):
        raise ConfigError(
            f"{owner}.{name}: expected an array {wanted}, got {type(array).__name__}; "
            f"try numpy.asarray(..., dtype={np.dtype(dtype).name})",
            expected=wanted,
            got=type(array).__name__,
        )
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        got = f"{array.dtype.name} {array.shape}"
        raise ConfigError(f"{owner}.{name}: expected {wanted}, got {got}", expected=wanted, got=got)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A joint set: names, and how they hang together.

    Raises:
        ConfigError: duplicate joint names, or an edge, flip pair or part naming an unknown joint.
    """

    name: str
    """Short identifier, for example ``coco17``."""
    joints: tuple[str, ...]
    """K joint names, in the order of the keypoint arrays."""
    edges: tuple[tuple[str, str], ...] = ()
    """Bones as (parent, child) joint names."""
    flip_pairs: tuple[tuple[str, str], ...] = ()
    """(left, right) joint names that trade places in a mirror."""
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Named joint groups, for example ``head`` or ``left_arm``."""

    def __post_init__(self) -> None:
        """Check that every name used is a joint."""
        known = set(self.joints)
        if len(known) != len(self.joints):
            doubles = sorted({j for j in self.joints if self.joints.count(j) > 1})
            raise ConfigError(f"skeleton {self.name!r}: expected unique joint names, got {doubles} twice")
        used = {j for pair in (*self.edges, *self.flip_pairs) for j in pair}
        used.update(j for group in self.parts.values() for j in group)
        if unknown := sorted(used - known):
            raise ConfigError(
                f"skeleton {self.name!r}: edges, flip pairs or parts name {unknown}, "
                f"which are not among its joints; joints are {list(self.joints)}"
            )

    @property
    def num_joints(self) -> int:
        """K."""
        return len(self.joints)

    @property
    def mirrored(self) -> Int64:
        """(K,) the joint that stands in each joint's place in a mirror."""
        order = np.arange(self.num_joints)
        for left, right in self.flip_pairs:
            a, b = self.index(left), self.index(right)
            order[a], order[b] = b, a
        return order

    def index(self, joint: str) -> int:
        """Position of a joint; ConfigError where there is no such joint."""
        try:
            return self.joints.index(joint)
        except ValueError:
            raise ConfigError(
                f"skeleton {self.name!r} has no joint {joint!r}; it has {', '.join(self.joints)}"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, as stored in a shard's ``skeleton`` attribute."""
        return {
            "name": self.name,
            "joints": list(self.joints),
            "edges": [list(e) for e in self.edges],
            "flip_pairs": [list(p) for p in self.flip_pairs],
            "parts": {k: list(v) for k, v in self.parts.items()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Skeleton:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: ``data`` is not what `to_dict` writes.
        """
        try:
            return cls(
                name=str(data["name"]),
                joints=tuple(str(j) for j in data["joints"]),
                edges=tuple((str(a), str(b)) for a, b in data.get("edges", ())),
                flip_pairs=tuple((str(a), str(b)) for a, b in data.get("flip_pairs", ())),
                parts={str(k): tuple(str(j) for j in v) for k, v in data.get("parts", {}).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"expected a skeleton as JSON with name, joints, edges, flip_pairs, parts; got {data!r}"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What is known of a video. Sizes are those of the upright picture."""

    path: str
    """As given by the user."""
    num_frames: int
    """Frames decoded, not the header's guess; -1 while decoding has not ended."""
    num_frames_from_header: int | None
    """What the container promises; None where it says nothing."""
    fps: float
    """Average rate by the header; 0.0 where unknown (a still picture)."""
    width: int
    """Pixels, after rotation."""
    height: int
    """Pixels, after rotation."""
    duration_s: float
    """Seconds by the header; 0.0 where unknown."""
    rotation: int
    """Degrees of the display matrix (multiple of 90), already undone in the frames."""
    codec: str
    """Decoder's name, for example ``h264``; ``image`` for pictures."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameBatch:
    """N decoded frames of one video, upright, of one size."""

    images: UInt8
    """(N, H, W, 3) RGB."""
    indices: Int64
    """(N,) number of each frame in the video, counted over all decoded frames from 0."""
    pts_s: Float64
    """(N,) time stamps in seconds."""

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        _check("FrameBatch", "images", self.images, np.uint8, ("N", "H", "W", 3))
        n = len(self.images)
        _check("FrameBatch", "indices", self.indices, np.int64, (n,))
        _check("FrameBatch", "pts_s", self.pts_s, np.float64, (n,))

    def __len__(self) -> int:
        """N."""
        return len(self.indices)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """P person boxes in N frames: what a detector hands to top-down experts."""

    frame_indices: Int64
    """(P,) the frame (its number in the video) each box lies in; ascending."""
    boxes_xyxy: Float32
    """(P, 4) left, top, right, bottom in pixels of the upright frame."""
    box_scores: Float32
    """(P,) in [0, 1]."""

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        _check("Detections", "frame_indices", self.frame_indices, np.int64, ("P",))
        p = len(self.frame_indices)
        _check("Detections", "boxes_xyxy", self.boxes_xyxy, np.float32, (p, 4))
        _check("Detections", "box_scores", self.box_scores, np.float32, (p,))

    def __len__(self) -> int:
        """P."""
        return len(self.frame_indices)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Poses:
    """P poses in N frames by one expert, before anyone knows who is who."""

    skeleton: Skeleton
    """The expert's joint set, K joints."""
    frame_indices: Int64
    """(P,) the frame (its number in the video) each pose lies in; ascending."""
    boxes_xyxy: Float32
    """(P, 4) pixels; the detector's box, or the extent of the joints for bottom-up experts."""
    box_scores: Float32
    """(P,) how sure the expert is that this is a person, in [0, 1]."""
    keypoints: Float32
    """(P, K, C) pixels (metres in 3-D); NaN = not found."""
    scores: Float32
    """(P, K) calibrated to [0, 1]; 0 where the joint was not found."""

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        _check("Poses", "frame_indices", self.frame_indices, np.int64, ("P",))
        p, k = len(self.frame_indices), self.skeleton.num_joints
        _check("Poses", "boxes_xyxy", self.boxes_xyxy, np.float32, (p, 4))
        _check("Poses", "box_scores", self.box_scores, np.float32, (p,))
        _check("Poses", "keypoints", self.keypoints, np.float32, (p, k, "C"))
        _check("Poses", "scores", self.scores, np.float32, (p, k))

    def __len__(self) -> int:
        """P."""
        return len(self.frame_indices)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SkeletonSequence:
    """The people of one clip over time.

    One expert's tracks are a `SkeletonSequence` with a single source; aggregation maps several to one;
    a refiner maps one to one. Memory: M x T x (K x (C + 1) + 1) float32.
    """

    skeleton: Skeleton
    """Joint set, K joints."""
    keypoints: Float32
    """(M, T, K, C) pixels of the upright frame (metres in 3-D); NaN = not seen."""
    scores: Float32
    """(M, T, K) in [0, 1]; 0 where not seen."""
    confidence: Float32
    """(M, T) body-level confidence, SST-A's C (thesis, equation 3.4); NaN where the person is absent.

    Before aggregation: the expert's own certainty that this is a person (`Poses.box_scores`)."""
    track_ids: Int64
    """(M,) identity of each person, unique within the clip."""
    frame_indices: Int64
    """(T,) number of each time step's frame in the video, strictly ascending."""
    pts_s: Float64
    """(T,) true time stamps in seconds."""
    video_id: str
    """Name of the clip, unique within a shard."""
    fps: float
    """Average frames per second of the time steps; 0.0 where unknown."""
    image_size: tuple[int, int]
    """(H, W) of the upright frame."""
    sources: tuple[str, ...]
    """Names of the experts this was made from."""
    label: str | None = None
    """Action label, None where there is none."""

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        joints = self.skeleton.num_joints
        _check("SkeletonSequence", "keypoints", self.keypoints, np.float32, ("M", "T", joints, "C"))
        m, t = self.keypoints.shape[:2]
        _check("SkeletonSequence", "scores", self.scores, np.float32, (m, t, joints))
        _check("SkeletonSequence", "confidence", self.confidence, np.float32, (m, t))
        _check("SkeletonSequence", "track_ids", self.track_ids, np.int64, (m,))
        _check("SkeletonSequence", "frame_indices", self.frame_indices, np.int64, (t,))
        _check_clip(self)

    @property
    def num_people(self) -> int:
        """M."""
        return int(self.keypoints.shape[0])

    @property
    def num_frames(self) -> int:
        """T."""
        return int(self.keypoints.shape[1])

    def present(self) -> Bool:
        """(M, T) whether the person has at least one joint in the frame."""
        return np.asarray(np.isfinite(self.keypoints).all(axis=-1).any(axis=-1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tracks:
    """A `SkeletonSequence` as R rows: one for each person in each time step in which they are seen.

    Absence costs nothing: memory is R x (K x (C + 1) + 5) float32, however many people share the clip and
    however long it is. A person in one of few frames costs a dense sequence as much as one in all.
    """

    skeleton: Skeleton
    """Joint set, K joints."""
    person: Int64
    """(R,) index into `track_ids`; at most one row of a person in a time step."""
    step: Int64
    """(R,) index into `frame_indices`; ascending."""
    keypoints: Float32
    """(R, K, C) as in `SkeletonSequence`; every row has at least one joint."""
    scores: Float32
    """(R, K)."""
    confidence: Float32
    """(R,)."""
    track_ids: Int64
    """(M,) identity of each person, unique within the clip; there may be people without rows."""
    frame_indices: Int64
    """(T,) number of each time step's frame in the video, strictly ascending."""
    pts_s: Float64
    """(T,) true time stamps in seconds."""
    video_id: str
    """Name of the clip, unique within a shard."""
    fps: float
    """Average frames per second of the time steps; 0.0 where unknown."""
    image_size: tuple[int, int]
    """(H, W) of the upright frame."""
    sources: tuple[str, ...]
    """Names of the experts this was made from."""
    label: str | None = None
    """Action label, None where there is none."""

    def __post_init__(self) -> None:
        """Check shapes, dtypes and order."""
        _check("Tracks", "step", self.step, np.int64, ("R",))
        r, k = len(self.step), self.skeleton.num_joints
        _check("Tracks", "person", self.person, np.int64, (r,))
        _check("Tracks", "keypoints", self.keypoints, np.float32, (r, k, "C"))
        _check("Tracks", "scores", self.scores, np.float32, (r, k))
        _check("Tracks", "confidence", self.confidence, np.float32, (r,))
        _check("Tracks", "track_ids", self.track_ids, np.int64, ("M",))
        _check("Tracks", "frame_indices", self.frame_indices, np.int64, ("T",))
        _check_clip(self)
        for name, values, stop in (
            ("person", self.person, self.num_people),
            ("step", self.step, self.num_frames),
        ):
            if r and not 0 <= values.min() <= values.max() < stop:
                raise ConfigError(
                    f"Tracks.{name}: expected 0 to {stop - 1}, got {values.min()} to {values.max()}"
                )
        if r and bool(np.any(np.diff(self.step) < 0)):
            raise ConfigError("Tracks.step: expected rows in the order of time")
        if len(np.unique(self.step * self.num_people + self.person)) != r:
            raise ConfigError("Tracks: expected each person once in a time step")
        if not np.isfinite(self.keypoints).all(axis=-1).any(axis=-1).all():
            raise ConfigError("Tracks.keypoints: expected at least one joint in every row")

    def __len__(self) -> int:
        """R."""
        return len(self.step)

    @property
    def num_people(self) -> int:
        """M."""
        return len(self.track_ids)

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.frame_indices)

    @classmethod
    def of(cls, sequence: SkeletonSequence | Tracks) -> Tracks:
        """The rows of a sequence; tracks are returned as they are."""
        if isinstance(sequence, Tracks):
            return sequence
        step, person = np.nonzero(sequence.present().T)
        return cls(
            person=person,
            step=step,
            keypoints=sequence.keypoints[person, step],
            scores=sequence.scores[person, step],
            confidence=sequence.confidence[person, step],
            **{name: getattr(sequence, name) for name in _CLIP_FIELDS},
        )

    def to_sequence(self) -> SkeletonSequence:
        """All of it, dense."""
        return self.window(0, self.num_frames)

    def window(self, start: int, stop: int) -> SkeletonSequence:
        """The time steps from `start` until before `stop`, dense, with all M people."""
        rows = slice(*np.searchsorted(self.step, (start, stop)).tolist())
        at = self.person[rows], self.step[rows] - start
        shape = (self.num_people, len(self.frame_indices[start:stop]))
        keypoints = np.full(shape + self.keypoints.shape[1:], np.nan, np.float32)
        scores = np.zeros(shape + self.scores.shape[1:], np.float32)
        confidence = np.full(shape, np.nan, np.float32)
        keypoints[at], scores[at] = self.keypoints[rows], self.scores[rows]
        confidence[at] = self.confidence[rows]
        clip = {name: getattr(self, name) for name in _CLIP_FIELDS}
        clip |= {name: clip[name][start:stop] for name in ("frame_indices", "pts_s")}
        return SkeletonSequence(keypoints=keypoints, scores=scores, confidence=confidence, **clip)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipBatch:
    """B clips as torch tensors, ready for a network."""

    keypoints: torch.Tensor
    """float32 (B, M, T, K, C) without NaN; 0 where there is no joint. All that a network sees."""
    visible: torch.Tensor
    """bool (B, M, T, K) whether the joint was seen; one that is not is 0 or was filled in. For losses and
    figures."""
    labels: torch.Tensor
    """int64 (B,) numbers of the action labels; -1 = none."""

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        shape = tuple(self.keypoints.shape)
        for name, dtype, fits, wanted in (
            ("keypoints", "float32", len(shape) == 5, "(B, M, T, K, C)"),
            ("visible", "bool", tuple(self.visible.shape) == shape[:-1], str(shape[:-1])),
            ("labels", "int64", tuple(self.labels.shape) == shape[:1], str(shape[:1])),
        ):
            tensor = getattr(self, name)
            if not fits or str(tensor.dtype) != f"torch.{dtype}":
                raise ConfigError(
                    f"ClipBatch.{name}: expected torch.{dtype} {wanted}, "
                    f"got {tensor.dtype} {tuple(tensor.shape)}"
                )

    def __len__(self) -> int:
        """B."""
        return len(self.labels)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ClipBatch:
        """The same batch on a device."""
        return ClipBatch(
            **{n: getattr(self, n).to(device, non_blocking=non_blocking) for n in self.__slots__}
        )

    def pin_memory(self) -> ClipBatch:
        """The same batch in pinned memory, as a DataLoader asks for."""
        return ClipBatch(**{name: getattr(self, name).pin_memory() for name in self.__slots__})


_CLIP_FIELDS = (
    "skeleton",
    "track_ids",
    "frame_indices",
    "pts_s",
    "video_id",
    "fps",
    "image_size",
    "sources",
    "label",
)
"""What `SkeletonSequence` and `Tracks` have in common."""


def _check_clip(clip: SkeletonSequence | Tracks) -> None:
    """Check what both forms of a clip's people promise of ids and time."""
    owner = type(clip).__name__
    _check(owner, "pts_s", clip.pts_s, np.float64, clip.frame_indices.shape)
    if clip.keypoints.shape[-1] not in (2, 3):
        raise ConfigError(f"{owner}.keypoints: expected 2 or 3 coordinates, got {clip.keypoints.shape}")
    if len(set(clip.track_ids.tolist())) != len(clip.track_ids):
        raise ConfigError(f"{owner}.track_ids: expected unique ids, got {clip.track_ids}")
    if not bool(np.all(np.diff(clip.frame_indices) > 0)):
        raise ConfigError(f"{owner}.frame_indices: expected strictly ascending frame numbers")
