"""A simulated Posetics: build it at a share of its size, with time, memory and bytes against other formats.

Clips move smoothly: 13 joints that swing about a body that wanders, 1 px of noise, 150 to 300 frames, one to
three people who are late, leave early and are lost for a while: about 200 poses a clip. One clip in twenty
has people in less than half of its frames, so that the filter has work.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from skelkit.data import Clip, ShardWriter
from skelkit.data.dataset import DatasetReader
from skelkit.data.labels import load_label_table
from skelkit.data.rows import Record, Rows
from skelkit.skeletons import LCR13

POSETICS = 142_000
"""Clips of the real thing."""
DENSE = 300 * 2 * 17 * 3 * 4
"""Bytes of a clip as x, y, score in float32, T = 300, M = 2."""
TABLE = "kinetics400-posetics320"
WIDTH, HEIGHT = 340, 256
PER_SHARD = 2000
LOT = 250
_STANDING = np.asarray(
    [  # x, y of the joints of LCR13 in body heights, the ground at 0
        *[(-0.1, 0.05), (0.1, 0.05), (-0.1, 0.28), (0.1, 0.28), (-0.08, 0.53), (0.08, 0.53)],
        *[(-0.2, 0.48), (0.2, 0.48), (-0.18, 0.63), (0.18, 0.63), (-0.12, 0.81), (0.12, 0.81), (0.0, 0.94)],
    ]
)
_SWING = np.asarray([0.04, 0.04, 0.05, 0.05, 0.02, 0.02, 0.12, 0.12, 0.07, 0.07, 0.02, 0.02, 0.02])
_CHILD = """import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)"""


def make_lot(
    rng: np.random.Generator, clips: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Rows]:
    """Frames and rows of some clips, and all their rows."""
    frames = rng.integers(150, 301, clips)
    people = rng.choice([1, 2, 3], clips, p=[0.8, 0.15, 0.05])
    clip = np.repeat(np.arange(clips), people)  # of every person
    length = frames[clip]
    stay = np.where(rng.random(clips) < 0.05, 0.35, 1.0)[clip]
    start = (rng.uniform(0, 0.2, len(clip)) * length).astype(np.int64)
    stop = start + (rng.uniform(0.8, 1, len(clip)) * stay * (length - start)).astype(np.int64)
    person = np.repeat(np.arange(len(clip)), stop - start)
    frame = np.arange(len(person)) - np.repeat(np.cumsum(stop - start) - stop, stop - start)
    gap = rng.uniform(0.2, 0.7, len(clip)) * length
    lost = (frame > gap[person]) & (frame < (gap + rng.uniform(0, 0.25, len(clip)) * length)[person])
    person, frame = person[~lost], frame[~lost]
    moment = frame[:, None, None] / 25
    height = rng.uniform(80, 220, len(clip))
    shape = (len(clip), 13, 2)
    pace, phase = rng.uniform(0.2, 1.2, shape), rng.uniform(0, 6.3, shape)
    wander = rng.uniform(5, 40, (len(clip), 1, 2)) * np.asarray([1, 0.2])
    place = np.stack([rng.uniform(60, WIDTH - 60, len(clip)), rng.uniform(200, HEIGHT, len(clip))], axis=1)
    points = (_STANDING * [1, -1] * height[:, None, None] + place[:, None])[person]
    points += (_SWING[:, None] * height[:, None, None])[person] * np.sin(
        6.3 * pace[person] * moment + phase[person]
    )
    points += wander[person] * np.sin(0.5 * moment + phase[person, :1])
    points += rng.normal(0, 1, points.shape)
    scores = np.clip(rng.normal(0.75, 0.12, points.shape[:2]), 0.05, 1)
    missing = rng.random(scores.shape) < 0.04
    missing[:, 4:6] = False
    points[missing], scores[missing] = np.nan, 0
    track = person - np.searchsorted(clip, clip)[person]
    rows = Rows(
        frame=frame.astype(np.int32),
        track=track.astype(np.int32),
        keypoints=points.astype(np.float32),
        scores=scores.astype(np.float32),
        confidence=rng.uniform(0.2, 0.9, len(frame)).astype(np.float32),
    )
    return frames, np.bincount(clip[person], minlength=clips), rows


def make_shard(task: tuple[Path, int, int]) -> int:
    """Write a shard of so many clips; returns its rows."""
    path, number, clips = task
    rng = np.random.default_rng([20, number])
    labels = sorted(load_label_table(TABLE).targets)
    total = 0
    recipe = {"job": "simulated"}
    with ShardWriter(path, skeleton=LCR13, recipe=recipe) as writer:
        for lot in range(0, clips, LOT):
            frames, counts, rows = make_lot(rng, min(LOT, clips - lot))
            ends = np.cumsum(counts)
            for i, (length, count, end) in enumerate(
                zip(frames.tolist(), counts.tolist(), ends.tolist(), strict=True)
            ):
                name = f"clip{number * PER_SHARD + lot + i:07d}_{i:06d}_{i + 10:06d}"
                here = slice(end - count, end)
                clip = Clip(
                    video_id=name,
                    status="ok",
                    num_frames=length,
                    width=WIDTH,
                    height=HEIGHT,
                    fps=25.0,
                    source=f"kinetics/train/{name}.mp4",
                    sha256=f"{number * PER_SHARD + lot + i:064x}",
                    label=labels[int(rng.integers(len(labels)))],
                )
                mine = Rows(
                    frame=rows.frame[here],
                    track=rows.track[here],
                    keypoints=rows.keypoints[here],
                    scores=rows.scores[here],
                    confidence=rows.confidence[here],
                )
                record = Record(
                    clip=clip,
                    sources=("one", "two", "three"),
                    frame_index=np.arange(length, dtype=np.int32),
                    pts_s=np.arange(length) / 25,
                    groups={"poses": mine},
                )
                writer.append(record)
            total += len(rows)
    return total


def build(inputs: Path, out: Path, workers: int, *options: str) -> tuple[dict[str, object], float, float]:
    """The command's report, MiB of its largest process, seconds."""
    command = [
        sys.executable,
        "-c",
        "from skelkit.cli import main; main()",
        "build-posetics",
        str(inputs),
        str(out),
    ]
    command += [
        "--label-table",
        TABLE,
        "--split",
        "train=0.925,val=0.075",
        "--workers",
        str(workers),
        "--json",
    ]
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *command, *options], check=True, stdout=subprocess.PIPE
    )
    seconds = time.perf_counter() - begin
    report, peak = done.stdout.decode().rsplit("\n", 2)[:2]
    return json.loads(report), int(peak) / 1024, seconds


def pickle_bytes(dataset: Path, sample: int = 500) -> float:
    """Bytes of a clip in a pyskl-style pickle (float16), on average over some clips."""
    with DatasetReader(dataset) as reader:
        chosen = random.Random(0).sample(range(len(reader)), min(sample, len(reader)))
        total = 0
        for i in chosen:
            people = reader[i]
            annotation = {
                "frame_dir": people.video_id,
                "label": int(reader.column("label_index")[i]),
                "img_shape": people.image_size,
                "original_shape": people.image_size,
                "total_frames": people.num_frames,
                "keypoint": np.nan_to_num(people.keypoints).astype(np.float16),
                "keypoint_score": people.scores.astype(np.float16),
            }
            total += len(pickle.dumps(annotation, protocol=pickle.HIGHEST_PROTOCOL))
    return total / len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, nargs="+", default=[0.001], help="of the 142,000 clips")
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--near-duplicates", type=float, default=0.0)
    parser.add_argument("--folder", type=Path, help="keep everything here instead of in a temporary folder")
    args = parser.parse_args()
    table = Table(
        *("clips", "workers", "input MB", "made in s", "build s", "clips/s", "peak MiB", "kept", "MB"),
        *("bytes/clip", "of dense", "of pickle"),
    )
    with tempfile.TemporaryDirectory() as temporary:
        for share in args.share:
            folder = (args.folder or Path(temporary)) / f"share-{share:g}"
            inputs = folder / "inputs"
            inputs.mkdir(parents=True, exist_ok=True)
            clips = round(POSETICS * share)
            counts = [min(PER_SHARD, clips - start) for start in range(0, clips, PER_SHARD)]
            tasks = [(inputs / f"part-{n:04d}.h5", n, count) for n, count in enumerate(counts)]
            begin = time.perf_counter()
            with ProcessPoolExecutor(max(args.workers)) as pool:
                list(pool.map(make_shard, [task for task in tasks if not task[0].exists()]))
            made = time.perf_counter() - begin
            given = sum(task[0].stat().st_size for task in tasks) / 1e6
            for workers in args.workers:
                out = folder / f"dataset-{workers}"
                options = ["--near-duplicates", str(args.near_duplicates)] if args.near_duplicates else []
                report, peak, seconds = build(inputs, out, workers, "--overwrite", *options)
                kept, size = int(str(report["clips"])), int(str(report["bytes"]))
                table.add_row(
                    *(f"{clips:,}", str(workers), f"{given:.0f}", f"{made:.1f}", f"{seconds:.1f}"),
                    *(f"{clips / seconds:.0f}", f"{peak:.0f}", f"{kept:,}", f"{size / 1e6:.1f}"),
                    *(
                        f"{size / kept:.0f}",
                        f"{size / kept / DENSE:.3f}",
                        f"{size / kept / pickle_bytes(out):.3f}",
                    ),
                )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
