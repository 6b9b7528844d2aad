"""Is a file as whole as it says it is? For the formats that are silent about it when decoded."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_AVI_HEADER = 4096  # bytes, generously
_MATROSKA = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


def is_cut_short(path: str) -> bool:
    """Whether an AVI, Matroska or MP4 file ends before the length that its outermost structure declares.

    False for other formats, and where the length is left open, as in a recording that was never closed.
    """
    try:
        with Path(path).open("rb") as file:
            size = Path(path).stat().st_size
            head = file.read(8)
            if head[:4] == b"RIFF":
                return 8 + int.from_bytes(head[4:8], "little") > size
            if head[:4] == _MATROSKA:
                return _matroska_end(file) > size
            return head[4:8] == b"ftyp" and _boxes_end(file, size) > size
    except OSError:
        return False


def has_avi_table(path: str) -> bool:
    """Whether an AVI has its table of contents: an ``idx1`` chunk at its end, or ``indx`` in its header."""
    try:
        with Path(path).open("rb") as file:
            position, name = 12, b""
            if b"indx" in file.read(_AVI_HEADER):
                return True
            while name != b"idx1":
                file.seek(position)
                head = file.read(8)
                if len(head) < 8:
                    return False
                name, length = head[:4], int.from_bytes(head[4:], "little")
                position += 8 + length + length % 2
            return True
    except OSError:
        return False


def _matroska_end(file: BinaryIO) -> int:
    """Declared end of the segment, which follows the EBML header; 0 where it is left open."""
    file.seek(len(_MATROSKA))
    file.seek(_vint(file) or 0, 1)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    length = _vint(file)
    return 0 if length is None else file.tell() + length


def _vint(file: BinaryIO) -> int | None:
    """EBML variable-length number (RFC 8794, 4); None where all bits are set, which means unknown."""
    first = int.from_bytes(file.read(1), "big")
    extra = 8 - first.bit_length()
    value = (first << 8 * extra | int.from_bytes(file.read(extra), "big")) & ((1 << 7 * (extra + 1)) - 1)
    return None if value == (1 << 7 * (extra + 1)) - 1 else value


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Declared end of the last top-level box (ISO/IEC 14496-12, 4.2); 0 where it is left open."""
    end = 0
    while end + 8 <= size:
        file.seek(end)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8 or not head[4:8].isalnum():  # open to the end, or not a box: padding
            return 0
        end += length
    return end
