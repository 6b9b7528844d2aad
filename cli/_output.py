"""Where results are printed."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDTH_IN_FILES = 160


def stdout() -> Console:
    """The console for results: as wide as the terminal, or a fixed width in a file or a pipe."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_IN_FILES)
