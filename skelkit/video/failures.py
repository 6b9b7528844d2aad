"""What the operating system says -> a VideoError."""

from __future__ import annotations

import os

from skelkit.errors import VideoError


def unreadable(
    path: str, error: OSError, *, frames_decoded: int = 0, promised: int | None = None
) -> VideoError:
    """The sentence for a file that cannot be opened or read.

    Args:
        path: The clip, as given.
        error: What opening or reading said.
        frames_decoded: Frames that came out before.
        promised: Frames that were expected in all.
    """
    if isinstance(error, FileNotFoundError):
        why = "expected a video, got nothing: there is no such file; try checking the path"
    elif isinstance(error, PermissionError):
        why = "expected a readable file, got one without permission to read it; try changing its permissions"
    elif isinstance(error, IsADirectoryError):
        why = "expected a video file, got a folder; try naming the folder itself as an input"
    else:
        why = f"expected a readable file, got an error of the system: {error.strerror or error}"
    named = os.fspath(error.filename) if isinstance(error.filename, str | os.PathLike) else path
    return VideoError(
        why,
        path=path,
        frames_decoded=frames_decoded,
        frames_promised=promised,
        file=named.removeprefix("file:"),
    )
