"""Names of clips as names of files: whatever a clip is called, its files stay in the folder."""

from __future__ import annotations

import re
from hashlib import sha256

_SAFE = re.compile(r"[\w(-][\w .,()@+=-]*")
_MAX_BYTES = 120


def safe_path(video_id: str) -> str:
    """A relative path for a clip: its name where that is harmless, with ``/`` between folders.

    Any other part of the name gets its odd characters replaced and a part of its sha256 appended, so that
    different clips keep different names.
    """
    return "/".join(map(_safe, video_id.split("/")))


def safe_name(text: str) -> str:
    """The name of one file or folder; see `safe_path`."""
    return _safe(text)


def _safe(part: str) -> str:
    raw = part.encode("utf-8", "surrogatepass")
    if _SAFE.fullmatch(part) and len(raw) <= _MAX_BYTES and part[-1] not in ". ":
        return part
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", part)[: _MAX_BYTES // 2]
    return f"{plain or '_'}-{sha256(raw).hexdigest()[:12]}"
