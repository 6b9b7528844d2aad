"""Whether torchcodec is here and works; what to type where it does not."""

from __future__ import annotations

from typing import Any

from skelkit.errors import MissingExtraError

_INSTALL = (
    "try: pip install torchcodec, and FFmpeg's libraries (apt install ffmpeg, conda install ffmpeg); "
    "decoding on a GPU also wants NVIDIA's driver"
)


def require_torchcodec() -> Any:
    """torchcodec's decoder class.

    Raises:
        MissingExtraError: torchcodec is not installed, or finds no FFmpeg.
    """
    try:
        from torchcodec.decoders import VideoDecoder
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"torchcodec is not installed; {_INSTALL}", extra="gpu") from error
    except (ImportError, RuntimeError, OSError) as error:  # it loads FFmpeg's libraries
        why = str(error).strip().partition("\n")[0]
        raise MissingExtraError(
            f"torchcodec does not load FFmpeg's libraries ({why}); {_INSTALL}", extra="gpu"
        ) from error
    return VideoDecoder
