"""Equal shares of the inputs for the tasks of a job array: the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from skelkit.errors import VideoError
from skelkit.pipelines.settings import Share
from skelkit.video import Source, probe

_PROBES = 8
"""Headers read at the same time: this waits for the disk, not for the processor."""


def share_out(sources: Sequence[Source], share: Share) -> list[Source]:
    """The videos of one share, in their order, so that all shares last about equally long.

    Longest first, each to the share that has least so far; durations are those of the headers, to the
    millisecond, and a file that cannot be opened counts nothing. Depends on the inputs alone.
    """
    durations = durations_ms(sources)
    order = sorted(range(len(sources)), key=lambda i: (-durations[i], sources[i].video_id))
    load = [(0, n) for n in range(share.count)]
    mine = []
    for i in order:
        total, number = min(load)
        load[number] = (total + durations[i] + 1, number)  # one more, so that empty ones spread too
        if number == share.index:
            mine.append(i)
    return [sources[i] for i in sorted(mine)]


def shared_output(output: Path, share: Share) -> Path:
    """``out.h5`` -> ``out-00002-of-00008.h5``."""
    return output.with_name(f"{output.stem}-{share.index:05d}-of-{share.count:05d}{output.suffix}")


def durations_ms(sources: Sequence[Source]) -> list[int]:
    """Milliseconds by the headers; 0 for what cannot be opened."""
    with ThreadPoolExecutor(_PROBES) as pool:
        return list(pool.map(_duration_ms, sources))


def longest_first(sources: Sequence[Source]) -> list[Source]:
    """In the order of their durations, so that none is still long when all others are done."""
    durations = durations_ms(sources)
    return [sources[i] for i in sorted(range(len(sources)), key=lambda i: -durations[i])]


def _duration_ms(source: Source) -> int:
    try:
        return round(1000 * probe(source).duration_s)
    except VideoError:
        return 0
