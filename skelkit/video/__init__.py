"""Video files and pictures -> FrameBatch.

`find_sources` turns what the user names into clips, `open_video` streams the frames of one, `probe` looks at
it without decoding it, and `prefetch` lets decoding run ahead of whatever consumes the frames.
"""

from skelkit.video.finding import find_sources
from skelkit.video.prefetch import prefetch
from skelkit.video.reader import Reader, open_video, probe
from skelkit.video.required import require_torchcodec
from skelkit.video.sources import Fingerprint, Source, fingerprint, sha256

__all__ = [
    "Fingerprint",
    "Reader",
    "Source",
    "find_sources",
    "fingerprint",
    "open_video",
    "prefetch",
    "probe",
    "require_torchcodec",
    "sha256",
]
