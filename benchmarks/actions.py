"""Actions told apart: JHMDB by every network that comes with skelkit, and what pre-training on others brings.

JHMDB split 1 of the pack (14 classes, 433 clips to learn from, 176 to test on, ground-truth joints). Every
network is trained by its preset with several seeds; UNIK's streams are fused seed by seed, by the mean of
their probabilities. Each training has one thread; --workers of them run side by side.

Pre-training (--transfer): UNIK learns every second class of the train split, then the other classes with
few labels: from scratch; with all weights learning on; with the classifier alone learning, on the
pre-trained network and, for comparison, on a random one. Every share of labels is drawn anew for each seed.

Runs stay in --out: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing as mp
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks._pack import find_pack
from skelkit.data import DatasetWriter
from skelkit.data.dataset import DatasetReader
from skelkit.pipelines.fuse import fuse
from skelkit.pipelines.import_ import import_
from skelkit.pipelines.import_ import settings as import_options
from skelkit.pipelines.results import Result, read_scores
from skelkit.pipelines.train import train

UNIK = "unik-jhmdb"
STREAMS = ("joint", "bone", "joint_motion")
NETWORKS = {"ST-GCN": "stgcn-jhmdb", "2s-AGCN (joint)": "agcn-jhmdb", "MS-G3D (joint)": "msg3d-jhmdb"}
SHARES = (0.05, 0.1, 0.25, 1.0)
"""Of the labels of the other classes."""
STEPS = 400
"""Of the optimizer, however few clips are learnt from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training."""

    recipe: str
    data: Path
    folder: Path
    settings: tuple[str, ...]


def carry_out(run: Run) -> tuple[Path, float]:
    """Train, unless it is done; top-1 of the test split."""
    torch.set_num_threads(1)
    begin = time.process_time()
    summary = train(run.recipe, run.data, run.folder, settings=run.settings)
    assert summary is not None and summary.result is not None
    print(f"{run.folder.name}: {summary.result.top1:.3f}, {time.process_time() - begin:.0f} s", flush=True)
    return run.folder, summary.result.top1


def networks(data: Path, out: Path, count: int) -> list[Run]:
    """UNIK's streams, then every other network."""
    recipes = {f"unik-{s}": (UNIK, (f"data.stream={s}",)) for s in STREAMS}
    recipes |= {preset: (preset, ()) for preset in NETWORKS.values()}
    return [
        Run(recipe=recipe, data=data, folder=out / f"{name}-{n}", settings=(f"training.seed={n}", *more))
        for name, (recipe, more) in recipes.items() for n in range(count)
    ]  # fmt: skip


def network_table(out: Path, count: int) -> Table:
    table = Table("network", "top-1 %", "spread", "mean per class %", "parameters", title="JHMDB, split 1")
    rows = {f"UNIK, {s}": [Result.of(read_scores(out / f"unik-{s}-{n}", "test")) for n in range(count)]
            for s in STREAMS}  # fmt: skip
    for streams in (STREAMS[:2], STREAMS):
        fused = [fuse([out / f"unik-{s}-{n}" for s in streams]).fused for n in range(count)]
        rows[f"UNIK, {' + '.join(streams)}"] = fused
    for name, preset in NETWORKS.items():
        rows[name] = [Result.of(read_scores(out / f"{preset}-{n}", "test")) for n in range(count)]
    size = {name: parameters(out / f"{preset}-0") for name, preset in NETWORKS.items()}
    size |= {f"UNIK, {s}": parameters(out / f"unik-{s}-0") for s in STREAMS}
    for name, results in rows.items():
        top1 = [100 * r.top1 for r in results]
        per_class = statistics.mean(100 * r.mean_class for r in results)
        table.add_row(name, *spread(top1), f"{per_class:.1f}", f"{size[name]:,}" if name in size else "")
    return table


def spread(values: Sequence[float]) -> tuple[str, str]:
    """Mean and deviation, and the range."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}", f"{min(values):.1f} to {max(values):.1f}"


def parameters(run: Path) -> int:
    from skelkit.models import load

    return sum(p.numel() for p in load(run / "model").parameters())


def halves(data: Path, out: Path) -> tuple[Path, Path]:
    """Two datasets: every second class, and the others."""
    found = []
    with DatasetReader(data) as reader:
        info = reader.info
        for number in (0, 1):
            folder = out / f"half-{number}"
            found.append(folder)
            names = info.label_names[number::2]
            if folder.exists():
                continue
            with DatasetWriter(
                folder, name="half", skeleton=info.skeleton, recipe={}, label_names=names
            ) as writer:
                for i in range(len(reader)):
                    clip = reader.clip(i)
                    if clip.label in names:
                        writer.write(reader[i], replace(clip, label_index=names.index(clip.label)))
    return found[0], found[1]


def few(seed: int, share: float, clips: int) -> tuple[str, ...]:
    """Settings for a share of the labels: as many steps, however few clips."""
    epochs = max(40, round(STEPS * 16 / max(share * clips, 16)))
    return (
        f"training.seed={seed}", f"data.subset_seed={seed}", f"data.label_share={share}",
        f"training.epochs={epochs}", "training.batch_size=16",
    )  # fmt: skip


def transfer(data: Path, out: Path, count: int, pool: ProcessPoolExecutor) -> Table:
    first, other = halves(data, out)
    with DatasetReader(other) as reader:
        clips = reader.info.splits["train"]
    begun = [
        Run(recipe=UNIK, data=first, folder=out / f"first-{n}",
            settings=(f"training.seed={n}", "model.classes=7"))
        for n in range(count)
    ]  # fmt: skip
    unlearnt = ("training.epochs=1", "optimizer.lr=1e-9", "optimizer.warmup_epochs=0")
    nothing = [
        replace(run, folder=out / f"random-{n}", settings=run.settings + unlearnt)
        for n, run in enumerate(begun)
    ]
    list(pool.map(carry_out, begun + nothing))
    ways: dict[str, tuple[str, ...]] = {
        "from scratch": (),
        "pre-trained, all learn": (f"start.weights={out}/first-SEED", "optimizer.lr=0.02"),
        "pre-trained, classifier learns": ("start.linear=true", f"start.weights={out}/first-SEED"),
        "random, classifier learns": ("start.linear=true", f"start.weights={out}/random-SEED"),
    }
    runs = {
        (way, share, n): Run(
            recipe=UNIK, data=other, folder=out / f"{way.replace(', ', '-').replace(' ', '-')}-{share}-{n}",
            settings=("model.classes=7", *few(n, share, clips), *(m.replace("SEED", str(n)) for m in more)),
        )
        for way, more in ways.items() for share in SHARES for n in range(count)
    }  # fmt: skip
    top1 = dict(zip(runs, pool.map(carry_out, runs.values()), strict=True))
    table = Table("top-1 %, 7 other classes", *(f"{s:.0%} of labels" for s in SHARES), title="Pre-training")
    for way in ways:
        cells = [spread([100 * top1[way, s, n][1] for n in range(count)])[0] for s in SHARES]
        table.add_row(way, *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--transfer", action="store_true", help="pre-training instead of the networks")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = args.out / "jhmdb"
    if not data.exists():
        import_("jhmdb", [find_pack() / "jhmdb"], data, import_options())
    with ProcessPoolExecutor(args.workers, mp_context=mp.get_context("spawn")) as pool:
        if args.transfer:
            table = transfer(data, args.out, args.seeds, pool)
        else:
            list(pool.map(carry_out, networks(data, args.out, args.seeds)))
            table = network_table(args.out, args.seeds)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
