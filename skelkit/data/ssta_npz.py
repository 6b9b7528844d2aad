"""SST-A npz files: one expert's 2-D poses of one person (FORMATS: SST-A npz).

``kpts`` float32 (T, K, 2) in pixels, usually COCO-17. The format has no scores, no time stamps, and no word
for "missing" but the place (0, 0).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from skelkit.data.formats.files import read_npz, reading
from skelkit.errors import InputError, OutputError
from skelkit.structures import Float32

KEY = "kpts"


def read_ssta_npz(path: str | os.PathLike[str], *, zero_is_missing: bool = True) -> Float32:
    """Keypoints of one SST-A npz file.

    Args:
        path: The file.
        zero_is_missing: Read (0, 0) as a missing joint; False takes it for a place, as the public script
            does (`skelkit.aggregation.reference`).

    Returns:
        (T, K, 2) pixels, NaN = missing.

    Raises:
        InputError: no such file, not an npz file, or no ``kpts`` of that shape in it.
    """
    expected = f"an SST-A npz file with the array {KEY!r}"
    with reading(path, expected):
        keypoints = read_npz(Path(path), (KEY,), expected)[KEY]
    if keypoints.ndim != 3 or keypoints.shape[-1] != 2 or keypoints.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: expected {KEY!r} to hold numbers of shape (frames, joints, 2), "
            f"got {keypoints.dtype} {keypoints.shape}",
            path=path,
        )
    with np.errstate(over="ignore", invalid="ignore"):
        keypoints = keypoints.astype(np.float32)
    if zero_is_missing:
        keypoints[(keypoints == 0).all(axis=-1)] = np.nan
    return np.asarray(keypoints)


def write_ssta_npz(path: str | os.PathLike[str], keypoints: Float32) -> None:
    """Write one person's keypoints; missing joints become (0, 0). The file appears complete or not at all.

    Args:
        path: The file to write.
        keypoints: (T, K, 2) pixels, NaN = missing.

    Raises:
        OutputError: the file cannot be written.
    """
    target = Path(path)
    missing = ~np.isfinite(keypoints).all(axis=-1, keepdims=True)
    kpts = np.where(missing, 0, keypoints).astype(np.float32)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".npz", dir=target.parent)
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez_compressed(file, kpts=kpts)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})", path=path) from error
