"""How fast experts are at several batch sizes, what memory they take, and which batch size to use."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skelkit.errors import ConfigError, SkelkitError
from skelkit.experts import Device, choose_device
from skelkit.experts.bare import bare
from skelkit.experts.batches import NOTICES, is_out_of_memory, release_memory
from skelkit.pipelines.experts import kind_of, list_experts, ready

BATCH_SIZES = {"cpu": (1, 4, 16), "cuda": (1, 4, 16, 64), "tensorrt": (1, 4, 16, 64)}
PEOPLE = 2
_ENOUGH_S, _RUNS = 1.0, 5
"""A measurement ends after so many seconds or runs, whichever comes first."""
_AS_FAST = 0.97
"""Of the best throughput: the smallest batch that reaches it is chosen, since it leaves most memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """What to measure.

    Raises:
        ConfigError: a batch size or number of people below 1.
    """

    weights: str | None = None
    device: str = "auto"
    batch_sizes: tuple[int, ...] = ()
    """Frames at a time; () = what suits the device."""
    people: int = PEOPLE
    """In every frame, for top-down experts."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.people < 1 or any(size < 1 for size in self.batch_sizes):
            raise ConfigError("expected at least 1 person, and batch sizes from 1 on")


def bench(names: Sequence[str], settings: BenchSettings) -> Iterator[dict[str, Any]]:
    """Measure experts one after the other, each in a process of its own.

    Args:
        names: Experts and detectors; none = all whose weights are here.
        settings: What to measure.

    Yields:
        For each expert and batch size a row: ``name``, ``batch_size``, ``ms_per_frame``, ``ms_per_person``
        (None but for top-down experts), ``memory_mb`` (of the GPU; of the process on a CPU),
        ``efficiency`` (time of the bare networks over that of the whole), ``fits``, ``best``, ``why`` (not).
    """
    choose_device(settings.device)
    names = names or [r["name"] for r in list_experts(settings.weights) if Path(r["weights"]).is_file()]
    context = multiprocessing.get_context("spawn")
    for name in names:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                yield from pool.submit(_measured, name, settings).result()
            except (SkelkitError, BrokenProcessPool) as error:
                yield _row(name, None, why=str(error))


def _measured(name: str, settings: BenchSettings) -> list[dict[str, Any]]:
    device = choose_device(settings.device)
    kind = kind_of(name, settings.weights)
    rows = []
    for size in sorted(set(settings.batch_sizes or BATCH_SIZES[device.kind])):
        rows.append(_at(name, kind, settings, device, size))
        if not rows[-1]["fits"]:
            break  # larger ones will not fit either
    return choose(rows)


def choose(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mark the best batch size of one expert: the smallest that is as fast as any that fits."""
    fitting = [r for r in rows if r["fits"]]
    if fitting:
        fastest = min(r["ms_per_frame"] for r in fitting)
        next(r for r in fitting if r["ms_per_frame"] * _AS_FAST <= fastest)["best"] = True
    return rows


def _at(name: str, kind: str, settings: BenchSettings, device: Device, size: int) -> dict[str, Any]:
    before = _forget_peak(device)
    try:
        expert, run = ready(name, kind, settings.weights, device, batch_size=size, people=settings.people)
        alone = bare(expert, run)  # the warm-up, too
        if full := NOTICES.fetch():
            return _row(name, size, why="; ".join(full))
        whole_s, alone_s = _seconds(run), _seconds(alone)
        return _row(
            name,
            size,
            fits=True,
            ms_per_frame=round(1000 * whole_s / size, 3),
            ms_per_person=(round(1000 * whole_s / size / settings.people, 3) if kind == "top-down" else None),
            memory_mb=round(_peak_mb(device) - before),
            efficiency=round(alone_s / whole_s, 3),
        )
    except SkelkitError as error:
        return _row(name, size, why=error.message)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return _row(name, size, why=str(error).splitlines()[0])
    finally:
        release_memory()


def _row(name: str, size: int | None, **more: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("ms_per_frame", "ms_per_person", "memory_mb", "efficiency"))
    return {"name": name, "batch_size": size, **nothing, "fits": False, "best": False, "why": ""} | more


def _seconds(run: Callable[[], object]) -> float:
    """Of the fastest run: what disturbs a run only makes it longer."""
    took: list[float] = []
    while len(took) < _RUNS and sum(took) < _ENOUGH_S:
        begin = time.perf_counter()
        run()
        took.append(time.perf_counter() - begin)
    return min(took)


def _forget_peak(device: Device) -> float:
    """Begin to watch memory; returns what counts as none, in MB: on a GPU what others have taken."""
    if device.kind != "cpu":
        return _peak_mb(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return 0.0


def _peak_mb(device: Device) -> float:
    """MB in use on the GPU; on a CPU the most this process had since `_forget_peak`."""
    if device.kind == "cpu":
        with suppress(OSError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            return int(next(x for x in lines if x.startswith("VmHWM")).split()[1]) / 1024
        return 0.0
    import torch

    free, total = torch.cuda.mem_get_info(device.index)
    return (total - free) / 2**20
