"""What an extraction is asked to do, checked before anything starts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from skelkit.errors import ConfigError
from skelkit.pipelines.aggregate import AggregationSettings

DEFAULT_EXPERTS = ("builtin:pose", "builtin:people")
DEFAULT_DETECTOR = "builtin:people"
DECODERS = ("pyav", "torchcodec")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractSettings:
    """Everything that shapes what comes out of a video, and where it is computed.

    Raises:
        ConfigError: a value outside its range, with every such value listed.
    """

    experts: tuple[str, ...] = DEFAULT_EXPERTS
    """Names of pose experts; the first is the primary one."""
    detector: str = DEFAULT_DETECTOR
    """Person detector of the top-down experts."""
    detector_score: float = 0.3
    """Person boxes less sure than this are not looked at."""
    weights: str | None = None
    """Folder where weights are looked for first."""
    device: str = "auto"
    """See `skelkit.experts.choose_device`."""
    decoder: str = "pyav"
    """What decodes videos: one of `DECODERS`; torchcodec does it on the device, with NVDEC on a GPU."""
    batch_size: int = 16
    """Frames worked on at a time; fewer where frames are large (`clip.BATCH_BYTES`)."""
    stride: int = 1
    """Take every n-th frame."""
    target_fps: float | None = None
    """Take about this many frames per second instead."""
    start_s: float | None = None
    """Take frames from this time stamp on."""
    end_s: float | None = None
    """Stop before this time stamp."""
    max_people: int = 32
    """People kept per clip."""
    aggregation: AggregationSettings = field(default_factory=AggregationSettings)
    """How ``/poses`` is made where there are several experts; one expert alone stands there as it is."""

    def __post_init__(self) -> None:
        """Check ranges and names."""
        problems = []
        if not self.experts:
            problems.append("experts: expected at least one name")
        if len(set(self.experts)) != len(self.experts):
            problems.append(f"experts: expected each name once, got {', '.join(self.experts)}")
        if self.decoder not in DECODERS:
            problems.append(f"decoder: expected {' or '.join(DECODERS)}, got {self.decoder!r}")
        for name in ("batch_size", "stride", "max_people"):
            if getattr(self, name) < 1:
                problems.append(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not 0 <= self.detector_score <= 1:
            problems.append(f"detector_score: expected 0 to 1, got {self.detector_score}")
        if self.target_fps is not None and not 0 < self.target_fps < float("inf"):
            problems.append(f"fps: expected a rate above 0, got {self.target_fps}")
        if self.target_fps is not None and self.stride != 1:
            problems.append("stride and fps exclude each other: give one of them")
        start = self.start_s or 0.0
        if not 0 <= start < float("inf"):
            problems.append(f"start: expected seconds from 0 on, got {start}")
        if self.end_s is not None and not self.end_s > start:
            problems.append(f"end: expected seconds after start ({start}), got {self.end_s}")
        if problems:
            raise ConfigError("; ".join(problems))

    def sampling(self) -> dict[str, Any]:
        """The options of `skelkit.video.open_video` that choose frames."""
        return {n: getattr(self, n) for n in ("stride", "target_fps", "start_s", "end_s")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One of `count` equal shares of the inputs, numbered from 0.

    Raises:
        ConfigError: a number outside its range.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.index < self.count:
            raise ConfigError(
                f"expected --shard I/N with 0 <= I < N, got {self.index}/{self.count}; shares count from 0"
            )

    @classmethod
    def parse(cls, text: str) -> Share:
        """``I/N``, or ``auto`` for the task of a Slurm job array."""
        if text == "auto":
            return cls._from_slurm()
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal()):
            raise ConfigError(f"expected --shard I/N (for example 0/8) or auto, got {text!r}")
        return cls(index=int(index), count=int(count))

    @classmethod
    def _from_slurm(cls) -> Share:
        defaults = {"ID": "", "COUNT": "", "MIN": "0", "STEP": "1"}
        values = {n: os.environ.get(f"SLURM_ARRAY_TASK_{n}", d) for n, d in defaults.items()}
        if not all(v.isdecimal() for v in values.values()):
            raise ConfigError(
                "--shard auto: expected SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT as Slurm sets them in "
                f"a job array, got {values['ID']!r} and {values['COUNT']!r}; try sbatch --array=0-7, or "
                "--shard I/N"
            )
        number, count, first, step = (int(v) for v in values.values())
        last = int(os.environ.get("SLURM_ARRAY_TASK_MAX", first + step * (count - 1)))
        if step < 1 or last != first + step * (count - 1) or not first <= number <= last:
            raise ConfigError(
                f"--shard auto: expected an array of evenly spaced tasks, such as 0-7, got {count} "
                f"from {first} to {last}; give each its share with --shard I/N (N stays the size "
                "of the whole array where some of its tasks run again)"
            )
        return cls(index=(number - first) // step, count=count)
