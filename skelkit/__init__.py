"""skelkit turns folders of real-world videos into skeleton action datasets, and trains on them.

The chain: video -> frames -> poses per expert -> people over time -> one refined skeleton sequence ->
dataset shards -> training batches -> models -> metrics. `skelkit.protocols` is the map.

Importing this package imports nothing heavy.
"""

from skelkit._version import __version__
from skelkit.errors import SkelkitError
from skelkit.structures import Detections, FrameBatch, Poses, Skeleton, SkeletonSequence, VideoInfo

__all__ = [
    "Detections",
    "FrameBatch",
    "Poses",
    "Skeleton",
    "SkeletonSequence",
    "SkelkitError",
    "VideoInfo",
    "__version__",
]
