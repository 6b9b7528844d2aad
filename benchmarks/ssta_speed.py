"""Speed and memory of SST-A on the three experts of watchtv (data pack: ssta-watchtv, 1,379 frames).

Prints frames per second of Ssta, of the same rule as a loop over joints and frames (equal joints, bit for
bit), and of the bare equations 3.1 to 3.4 as such a loop; then frames per second and the peak of memory
beyond input and output for longer sequences, whole and streamed.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._pack import find_pack
from benchmarks._ssta_loop import bare_loop, full_loop
from skelkit.aggregation.consensus import Consensus
from skelkit.aggregation.reliability import learn
from skelkit.aggregation.ssta import Ssta
from skelkit.data.ssta_npz import read_ssta_npz
from skelkit.skeletons import COCO17
from skelkit.structures import Float32, SkeletonSequence

NAMES = ("Alphapose2d", "LCRNet2d", "OP2d")
FPS = 20.0
PIECE = 2048  # frames per chunk of a stream


def poses() -> list[Float32]:
    """The experts' keypoints (T, 17, 2), cut to the shortest."""
    folder = find_pack() / "ssta-watchtv"
    read = [read_ssta_npz(folder / f"WatchTV_p02_r03_v05_c05_{n}.npz") for n in NAMES]
    return [p[: min(map(len, read))] for p in read]


def views_of(keypoints: list[Float32], start: int = 0) -> list[SkeletonSequence]:
    frames = len(keypoints[0])
    return [
        SkeletonSequence(
            skeleton=COCO17,
            keypoints=pose[None],
            scores=np.isfinite(pose[None, ..., 0]).astype(np.float32),
            confidence=np.ones((1, frames), np.float32),
            track_ids=np.zeros(1, np.int64),
            frame_indices=start + np.arange(frames),
            pts_s=(start + np.arange(frames)) / FPS,
            video_id="watchtv",
            fps=FPS,
            image_size=(480, 640),
            sources=(name,),
        )
        for name, pose in zip(NAMES, keypoints, strict=True)
    ]


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """The quickest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def pieces(keypoints: list[Float32], times: int) -> Iterator[list[SkeletonSequence]]:
    """The clip over and over, as chunks of a stream that is nowhere held as a whole."""
    frames = len(keypoints[0])
    for start in range(0, frames * times, PIECE):
        at = np.arange(start, min(start + PIECE, frames * times)) % frames
        yield views_of([p[at] for p in keypoints], start)


def consume(sequences: Iterator[SkeletonSequence]) -> None:
    for _ in sequences:
        pass


def peak(work: Callable[[], Any]) -> float:
    """Most memory held at a time, in MB, beyond what was held before."""
    tracemalloc.start()
    kept = work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    return most / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[1, 10, 100], help="in copies of the clip")
    args = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # the loops take means of nothing
    keypoints = poses()
    views = views_of(keypoints)
    frames = len(keypoints[0])
    rule = Ssta(joints=None)
    assert np.array_equal(full_loop(rule, views)[0], rule.aggregate(views).keypoints, equal_nan=True)

    table = Table("rule", "frames per second", "of Ssta's")
    consensus = Consensus(joints=None, reliability=learn([views], None))
    own = frames / seconds(lambda: rule.aggregate(views), 30)
    for name, work, repeats in (
        ("Ssta", lambda: rule.aggregate(views), 30),
        ("Ssta, swaps left", lambda: Ssta(joints=None, fix_swaps=False).aggregate(views), 30),
        ("Consensus", lambda: consensus.aggregate(views), 3),
        ("loop over joints, the same rule", lambda: full_loop(rule, views), 2),
        ("loop over joints, bare equations", lambda: bare_loop(keypoints), 2),
    ):
        rate = frames / seconds(work, repeats)
        table.add_row(name, f"{rate:,.0f}", f"1/{own / rate:.0f}" if rate < own else "1")
    Console().print(table)

    table = Table("frames", "Ssta whole, fps", "streamed, fps", "whole, extra MB", "streamed, extra MB")
    for times in args.lengths:
        total = frames * times
        long = views_of([np.tile(p, (times, 1, 1)) for p in keypoints])
        whole = total / seconds(lambda long=long: rule.aggregate(long), 3)
        streamed = total / seconds(lambda times=times: consume(rule.stream(pieces(keypoints, times))), 2)
        extra = peak(lambda long=long: rule.aggregate(long))
        extra_streamed = peak(lambda times=times: consume(rule.stream(pieces(keypoints, times))))
        table.add_row(
            f"{total:,}", f"{whole:,.0f}", f"{streamed:,.0f}", f"{extra:.1f}", f"{extra_streamed:.1f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
