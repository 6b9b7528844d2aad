"""From error types to one sentence on stderr and an exit code: the one table."""

from __future__ import annotations

import sys
from collections.abc import Callable

from skelkit.errors import ConfigError, InputError, MissingExtraError, SkelkitError, WeightsError

EXIT_CODES: tuple[tuple[type[SkelkitError], int], ...] = (
    # 2: the call itself was wrong
    (ConfigError, 2),
    (InputError, 2),
    (MissingExtraError, 2),
    (WeightsError, 2),
    # 3: nothing could be done
    (SkelkitError, 3),
)
INTERRUPTED = 130


def report_errors(command: Callable[[], object]) -> None:
    """Run `command`; what it raises on purpose becomes a sentence and an exit code."""
    try:
        command()
    except SkelkitError as error:
        if "--traceback" in sys.argv:
            raise
        for line in _lines(error):
            print(one_line(line), file=sys.stderr)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
    except BrokenPipeError:  # `skelkit info ... | head`
        sys.stderr.close()
        sys.exit(1)


def _lines(error: SkelkitError) -> list[str]:
    """The message; where it tells of several problems, each on a line of its own."""
    problems = error.fields.get("problems", ())
    if len(problems) < 2 or "where" not in error.fields:
        return [f"skelkit: {error.message}"]
    return [f"skelkit: {error.fields['where']}: {len(problems)} problems", *(f"  - {p}" for p in problems)]


def one_line(text: str) -> str:
    """Text for one line of a terminal: control characters and undecodable bytes escaped."""
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return clean.encode("utf-8", "backslashreplace").decode("utf-8")
