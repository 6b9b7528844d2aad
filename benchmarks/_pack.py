"""Where the test data pack lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def find_pack() -> Path:
    """SKELKIT_PACK, or shared/pack in or beside the checkout; leaves with a sentence where there is none."""
    named = os.environ.get("SKELKIT_PACK")
    candidates = [Path(named)] if named else [ROOT / "shared" / "pack", ROOT.parent / "shared" / "pack"]
    for candidate in candidates:
        if (candidate / "media").is_dir():
            return candidate
    sys.exit("the test data pack is absent: set SKELKIT_PACK to its folder")
