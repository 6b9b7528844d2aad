"""What can go wrong, as types. Each carries the facts of the case in fields.

Messages read "expected ..., got ...; try ...". The command line maps each type to one sentence and an
exit code (see ``cli/_errors.py``); the library never prints.
"""

from __future__ import annotations

import os
from typing import Any


class SkelkitError(Exception):
    """Base of everything skelkit raises on purpose.

    Attributes:
        message: One sentence for a person, naming what was expected, what was found and what to do.
        fields: The facts of the case (path, frame, expected, got ...), for reports and tests.
    """

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the trip between processes with type, message and fields."""
        return _rebuild, (type(self), self.message, self.fields)


def _rebuild(kind: type[SkelkitError], message: str, fields: dict[str, Any]) -> SkelkitError:
    return kind(message, **fields)


class ConfigError(SkelkitError):
    """A setting, an option or a card is wrong; nothing has been started."""


class InputError(SkelkitError):
    """The inputs named on the command line cannot be found or read as a whole."""


class VideoError(SkelkitError):
    """A video cannot be decoded, or not to its end.

    Attributes:
        path: The file.
        frames_decoded: How many frames came out before the error (0 where it never opened).
        frames_promised: What the container's header promised, None where it says nothing.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | os.PathLike[str],
        frames_decoded: int = 0,
        frames_promised: int | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(
            message, path=path, frames_decoded=frames_decoded, frames_promised=frames_promised, **fields
        )
        self.path = path
        self.frames_decoded = frames_decoded
        self.frames_promised = frames_promised


class ExpertError(SkelkitError):
    """A pose expert or detector cannot be built or run."""


class DeviceLostError(ExpertError):
    """A GPU, or the program's access to it, is gone; another process or another device may go on."""


class WeightsError(ExpertError):
    """A weights file is missing, cannot be fetched, or is not the file the card describes."""


class ShardError(SkelkitError):
    """A shard cannot be written, or a file is not a (whole) shard of a known version."""


class CheckpointError(SkelkitError):
    """A trained model cannot be read, or the file is not one of the kind it is taken for."""


class OutputError(SkelkitError):
    """The output cannot be written: it exists and is not ours, the disk is full, no permission."""


class ClusterError(SkelkitError):
    """A cluster cannot be had, was lost, or a worker of it is of no use."""


class MissingExtraError(SkelkitError):
    """An optional dependency is not installed; ``extra`` names the one to install."""

    def __init__(self, message: str, *, extra: str, **fields: Any) -> None:
        super().__init__(message, extra=extra, **fields)
        self.extra = extra
