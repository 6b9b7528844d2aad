"""Clips read at random: our dataset, a mapped array of all clips, and a pyskl-style pickle in memory.

Every store gives the same: two people, 300 frames, 17 joints as x, y, score in float32, new arrays, in
batches of 64, as in training, and one clip at a time. Rates are clips per second of all processes together,
warm (files in the page cache) and cold (dropped from it before each run, every clip read once); CPU is what
one warm read takes of a core, whatever else the machine does. Then the same where the machine keeps fewer
gigabytes in its page cache than 142,000 clips take: that share of each file is in the cache, the rest is
not. Memory is what processes hold beyond their imports: shared pages counted once, pages of mapped files
apart (the system may take those back).

Then training samples (64 segments, centred, turned, scaled and mirrored at random, in batches of 64) out of
a torch DataLoader, both made by the same code; and opening 142,000 clips: the dataset, and the labels and
clips of a split on top.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from skelkit.data import DatasetWriter
from skelkit.data.dataset import INDEX_FILE, INFO_FILE, DatasetInfo, DatasetReader
from skelkit.data.sampling import UniformSegments
from skelkit.data.torch_dataset import ClipInput, ClipSample, SkeletonDataset, collate
from skelkit.data.transforms import RandomFlip, RandomRotation, RandomScale
from skelkit.skeletons import POSETICS17
from skelkit.structures import Float32, Tracks

PEOPLE, FRAMES, JOINTS = 2, 300, 17
POSETICS = 142_000
"""Clips of the real thing."""
SAMPLES = ClipInput(
    frames=UniformSegments(length=64),
    centre="mid_hip",
    augment=(RandomRotation(), RandomScale(), RandomFlip()),
)
STORES = ("skelkit", "npy, mapped", "pickle, in memory")
BATCHES = (64, 1)


def clip(number: int) -> Tracks:
    """Smooth motion with a pixel of noise; people who leave and come back, joints that are not found."""
    rng = np.random.default_rng(number)
    present = np.zeros((PEOPLE, FRAMES), bool)
    for m in range(1 + (rng.random() < 0.25)):
        share = rng.uniform(0.5, 0.9) if m == 0 else rng.uniform(0.1, 0.6)
        start = rng.integers(0, int(FRAMES * (1 - share)) + 1)
        present[m, start : start + int(FRAMES * share)] = True
        for gap in rng.integers(0, FRAMES, rng.integers(0, 5)):
            present[m, gap : gap + 5] = False
    step, person = np.nonzero(present.T)
    time_s = step[:, None, None] / 30
    shape = (PEOPLE, JOINTS, 2)
    swing = rng.uniform(5, 40, shape)[person] * np.sin(
        2 * np.pi * rng.uniform(0.2, 1.5, shape)[person] * time_s + rng.uniform(0, 6, shape)[person]
    )
    body = rng.uniform(200, 900, (PEOPLE, 1, 2))[person] + rng.normal(0, 60, shape)[person]
    points = (body + swing + 40 * np.sin(time_s) + rng.normal(0, 1, swing.shape)).astype(np.float32)
    points[rng.random(points.shape[:2]) < 0.05] = np.nan
    points[:, 0] = body[:, 0]
    scores = np.clip(rng.normal(0.8, 0.1, points.shape[:2]), 0, 1).astype(np.float32)
    scores[np.isnan(points[..., 0])] = 0
    return Tracks(
        skeleton=POSETICS17,
        person=person,
        step=step,
        keypoints=points,
        scores=scores,
        confidence=scores.mean(axis=1),
        track_ids=np.arange(PEOPLE),
        frame_indices=np.arange(FRAMES),
        pts_s=np.arange(FRAMES) / 30,
        video_id=f"clip{number:06d}",
        fps=30.0,
        image_size=(720, 1280),
        sources=("made",),
        label="walking",
    )


def make(folder: Path, clips: int) -> int:
    """The three stores; returns the number of poses."""
    dense = np.lib.format.open_memmap(
        folder / "dense.npy", "w+", np.float32, (clips, 3, FRAMES, JOINTS, PEOPLE)
    )
    annotations: list[dict[str, Any]] = []
    poses = 0
    with DatasetWriter(folder / "dataset", name="made", skeleton=POSETICS17, recipe={}) as writer:
        for number in range(clips):
            tracks = clip(number)
            poses += len(tracks)
            writer.write(tracks)
            sequence = tracks.to_sequence()
            points = np.nan_to_num(sequence.keypoints)
            dense[number, :2], dense[number, 2] = (
                points.transpose(3, 1, 2, 0),
                sequence.scores.T.swapaxes(0, 1),
            )
            annotations.append(
                {
                    "frame_dir": tracks.video_id,
                    "label": 0,
                    "img_shape": (720, 1280),
                    "original_shape": (720, 1280),
                    "total_frames": FRAMES,
                    "keypoint": points.astype(np.float16),
                    "keypoint_score": sequence.scores.astype(np.float16),
                }
            )
    dense.flush()
    split = {"train": [a["frame_dir"] for a in annotations]}
    with (folder / "pyskl.pkl").open("wb") as file:
        pickle.dump({"split": split, "annotations": annotations}, file)
    os.sync()
    return poses


def make_dense(folder: Path) -> int:
    """The mapped array of the dataset in `folder`; returns the number of clips."""
    with DatasetReader(folder / "dataset") as reader:
        shape = (len(reader), 3, FRAMES, JOINTS, PEOPLE)
        if not (folder / "dense.npy").exists():
            dense = np.lib.format.open_memmap(folder / "unfinished.npy", "w+", np.float32, shape)
            for number in range(len(reader)):
                found = reader.read_dense([number], people=PEOPLE, frames=FRAMES)
                dense[number, :2] = found.keypoints[0].transpose(3, 1, 2, 0)
                dense[number, 2] = found.scores[0].transpose(1, 2, 0)
            dense.flush()
            (folder / "unfinished.npy").rename(folder / "dense.npy")
        return shape[0]


def epochs(folder: Path, again: int, clips: int | None) -> Table:
    """Every clip once, in random order: with nothing in the page cache, then with what that left there.

    Of the later epochs, in the same processes, the median. Of the first so many clips, if given.
    """
    known = make_dense(folder)
    clips = min(clips or known, known)
    names = [f"{e}, {n}" for n in (1, 2) for e in ("1st epoch", "later", "CPU, us")]
    table = Table(f"{clips:,} clips, clips/s", "batch", "GB", *names)
    for store in STORES[:2]:
        size = sum(p.stat().st_size for p in files(folder, store)) / 1e9 * clips / known
        for batch in BATCHES:
            cells = []
            for workers in (1, 2):
                first, *later = measure(
                    store, folder, clips, workers, batch=batch, reads=clips, cached=0, epochs=1 + again
                )
                cells += [f"{first.per_s:,.0f}", f"{median(r.per_s for r in later):,.0f}"]
                cells.append(f"{median(r.cpu_us for r in later):.1f}")
            table.add_row(store, str(batch), f"{size:.1f}", *cells)
    return table


Read = Callable[[list[int]], Any]


def open_ours(folder: Path) -> Read:
    reader = DatasetReader(folder / "dataset")
    return lambda numbers: reader.read_dense(numbers, people=PEOPLE, frames=FRAMES)


def open_dense(folder: Path) -> Read:
    dense = np.load(folder / "dense.npy", mmap_mode="r")
    # Of several ways the fastest: a list as an index is slower for one clip, and np.stack for 64.
    return lambda numbers: np.array(dense[numbers[0]]) if len(numbers) == 1 else dense[numbers]


def open_pickle(folder: Path) -> Read:
    with (folder / "pyskl.pkl").open("rb") as file:
        annotations = pickle.load(file)["annotations"]  # made above

    def read(numbers: list[int]) -> Float32:
        out = np.empty((len(numbers), PEOPLE, FRAMES, JOINTS, 3), np.float32)
        for clip, number in zip(out, numbers, strict=True):
            clip[..., :2] = annotations[number]["keypoint"]
            clip[..., 2] = annotations[number]["keypoint_score"]
        return out

    return read


OPEN: dict[str, Callable[[Path], Read]] = dict(zip(STORES, (open_ours, open_dense, open_pickle), strict=True))


def files(folder: Path, store: str) -> list[Path]:
    if store == "skelkit":
        return [p for p in (folder / "dataset").iterdir() if p.suffix != ".csv"]
    return [folder / ("pyskl.pkl" if store.startswith("pickle") else "dense.npy")]


def set_cached(path: Path, share: float) -> None:
    """Drop a file from the page cache, then bring the first share of it back."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        left = int(share * os.fstat(fd).st_size)
        while left > 0:
            left -= len(os.read(fd, min(left, 2**22))) or left
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Megabytes of a process, shared pages in parts."""

    own: float
    mapped: float

    @classmethod
    def now(cls) -> Held:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1e3 for line in lines}
        return cls(own=sizes["Pss_Anon"], mapped=sizes["Pss_File"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    per_s: float
    cpu_us: float
    open_ms: float
    own_mb: float
    mapped_mb: float


class Mapped(torch.utils.data.Dataset[ClipSample]):
    """Training samples from the mapped array."""

    def __init__(self, path: Path) -> None:
        self._dense = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._dense)

    def __getitem__(self, index: int) -> ClipSample:
        clip = np.ascontiguousarray(self._dense[index].transpose(3, 1, 2, 0))
        points, visible = clip[..., :2], clip.any(axis=-1)
        rng = np.random.default_rng((0, 0, index))
        keypoints, visible = SAMPLES.from_dense(points, visible, (720, 1280), POSETICS17, rng)
        return ClipSample(keypoints=keypoints, visible=visible, label=0)


def loaded(folder: Path, store: str, clips: int, workers: int) -> float:
    """Samples per second of a DataLoader, warm."""
    for path in files(folder, store):
        set_cached(path, 1)
    samples: torch.utils.data.Dataset[ClipSample] = Mapped(folder / "dense.npy")
    if store == "skelkit":
        samples = SkeletonDataset(folder / "dataset", SAMPLES, training=True)
    loader = DataLoader(
        samples, batch_size=64, shuffle=True, num_workers=workers, collate_fn=collate, persistent_workers=True
    )
    for _ in loader:  # files are opened
        pass
    begin = time.perf_counter()
    for _ in loader:
        pass
    return clips / (time.perf_counter() - begin)


def opening(folder: Path) -> tuple[float, float]:
    """Milliseconds to open a dataset of 142,000 clips, and to know the labels and clips of a split."""
    source, target = folder / "dataset", folder / "large"
    target.mkdir(exist_ok=True)
    table = pq.read_table(source / INDEX_FILE)
    copies = -(-POSETICS // len(table))
    pq.write_table(pa.concat_tables([table] * copies), target / INDEX_FILE)
    info = DatasetInfo.read(source)
    shards = tuple(replace(s, name=f"{i}-{s.name}") for i in range(copies) for s in info.shards)
    (target / INFO_FILE).write_text(replace(info, shards=shards).to_json(), encoding="utf-8")
    begin = time.perf_counter()
    reader = DatasetReader(target)
    opened = time.perf_counter()
    reader.column("label_index")
    reader.positions(next(iter(reader.info.splits)))
    return (opened - begin) * 1e3, (time.perf_counter() - begin) * 1e3


def work(read: Read, order: list[list[int]], epochs: int, barrier: Barrier, results: Any) -> None:
    read(order[0])
    found = []
    for _ in range(epochs):
        barrier.wait()
        begin, cpu = time.perf_counter(), time.process_time()
        for numbers in order:
            read(numbers)
        found.append((time.perf_counter() - begin, time.process_time() - cpu))
        barrier.wait()  # shared pages are counted while all are there
    held = Held.now()
    barrier.wait()
    results.put((found, held))


def run(store: str, folder: Path, orders: list[list[list[int]]], epochs: int, answer: Any) -> None:
    """In a process of its own: open, fork the workers, read."""
    before, workers = Held.now(), len(orders)
    reads = sum(len(numbers) for order in orders for numbers in order)
    begin = time.perf_counter()
    read = OPEN[store](folder)
    open_ms = (time.perf_counter() - begin) * 1e3
    context = mp.get_context("fork")
    results, barrier = context.Queue(), context.Barrier(workers)
    processes = [context.Process(target=work, args=(read, o, epochs, barrier, results)) for o in orders]
    for process in processes:
        process.start()
    times, held = zip(*(results.get() for _ in processes), strict=True)
    for process in processes:
        process.join()
    # The imports are shared with the parent, which holds its part of them too.
    own_mb = max(sum(h.own for h in held) - before.own * workers / (workers + 1), 0)
    mapped_mb = max(sum(h.mapped for h in held) - before.mapped * workers / (workers + 1), 0)
    answer.put(
        [
            Result(
                per_s=reads / max(seconds for seconds, _ in epoch),
                cpu_us=sum(cpu for _, cpu in epoch) / reads * 1e6,
                open_ms=open_ms,
                own_mb=own_mb,
                mapped_mb=mapped_mb,
            )
            for epoch in zip(*times, strict=True)
        ]
    )


def measure(
    store: str,
    folder: Path,
    clips: int,
    workers: int,
    *,
    batch: int,
    reads: int,
    cached: float,
    epochs: int = 1,
) -> list[Result]:
    """Of each epoch in the same processes; `cached` is the share of files in the page cache at first."""
    for path in files(folder, store):
        set_cached(path, cached)
    order = np.random.default_rng(0).permutation(clips)
    order = np.resize(order, reads) if cached == 1 else order[: min(reads, clips)]
    context = mp.get_context("spawn")
    answer = context.Queue()
    orders = [
        [part[at : at + batch].tolist() for at in range(0, len(part), batch)]
        for part in np.array_split(order, workers)
    ]
    process = context.Process(target=run, args=(store, folder, orders, epochs, answer))
    process.start()
    results: list[Result] = answer.get()
    process.join()
    return results


def rows(folder: Path, clips: int, reads: int) -> Iterator[tuple[str, ...]]:
    for store in STORES:
        megabytes = sum(p.stat().st_size for p in files(folder, store)) / 1e6
        sizes = f"{megabytes / clips * 1e3:.1f}", f"{megabytes / clips * POSETICS / 1e3:.2f}"
        for batch in BATCHES:
            again = [
                measure(store, folder, clips, n, batch=batch, reads=reads, cached=1, epochs=3) for n in (1, 2)
            ]
            cells = [store, str(batch), *sizes, f"{median(r.open_ms for r in again[0]):.0f}"]
            cells += [f"{median(r.per_s for r in results):,.0f}" for results in again]
            cells.append(f"{median(r.cpu_us for r in again[0]):.1f}")
            if store.startswith("pickle"):
                cells += ["", ""]
            else:
                cold = [measure(store, folder, clips, n, batch=batch, reads=1000, cached=0) for n in (1, 2)]
                cells += [f"{results[0].per_s:,.0f}" for results in cold]
            cells += [f"{results[0].own_mb:.0f} + {results[0].mapped_mb:.0f}" for results in again]
            yield tuple(cells)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, help="how many are made (3000), or read with --epochs (all)")
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--cache-gb", type=float, nargs="*", default=[4, 8, 12, 16])
    parser.add_argument("--folder", type=Path, help="where the stores are made; kept if given")
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="over FOLDER/dataset, whatever its size: one cold, N warm"
    )
    args = parser.parse_args()
    if args.epochs:
        Console(width=140).print(epochs(args.folder, args.epochs, args.clips))
        return
    args.clips = args.clips or 3000
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        if not (folder / "pyskl.pkl").exists():
            poses = make(folder, args.clips)
            print(f"{args.clips:,} clips, {poses / args.clips:.0f} poses each")
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        names = ["store", "batch", "kB per clip", f"GB for {POSETICS:,}", "open, ms", "warm, 1", "warm, 2"]
        table = Table(*names, "CPU, us", "cold, 1", "cold, 2", "MB, 1", "MB, 2")
        for row in rows(folder, args.clips, args.reads):
            table.add_row(*row)
        Console(width=140).print(table)

        table = Table("page cache, GB", *(f"{s}, {n}" for s in STORES[:2] for n in (1, 2)))
        for gigabytes in args.cache_gb:
            cells = []
            for store in STORES[:2]:
                size = sum(p.stat().st_size for p in files(folder, store)) / args.clips * POSETICS / 1e9
                share = min(1.0, gigabytes / size)
                for workers in (1, 2):
                    result = measure(store, folder, args.clips, workers, batch=64, reads=1000, cached=share)
                    cells.append(f"{result[0].per_s:,.0f}")
            table.add_row(f"{gigabytes:g}", *cells)
        Console(width=140).print(table)

        table = Table("training samples", "1 worker", "2 workers")
        for store in STORES[:2]:
            table.add_row(store, *(f"{loaded(folder, store, args.clips, n):,.0f}" for n in (1, 2)))
        Console().print(table)
        print("{:.0f} ms to open 142,000 clips, {:.0f} ms with labels and a split".format(*opening(folder)))


if __name__ == "__main__":
    main()
