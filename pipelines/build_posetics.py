"""Shards of clips -> a dataset: measure every clip, decide what becomes of it, write the shards, publish.

The plan depends on the inputs and the settings alone, and every shard is written by one process on its own,
so that the bytes are the same whatever the number of processes and wherever a build was killed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skelkit.data.assembling import Measured, Selection, measure_clips, write_selection
from skelkit.data.dataset import DatasetInfo, ShardFile
from skelkit.data.folder import (
    DROPPED_COLUMNS,
    DROPPED_FILE,
    sha256_of,
    write_csv,
    write_index,
    write_info,
)
from skelkit.data.layout import Header
from skelkit.data.merging import OpenShards
from skelkit.data.preparing import Preparation, check_convertible
from skelkit.errors import ConfigError, SkelkitError
from skelkit.pipelines import workers
from skelkit.pipelines.build_index import (
    TRIMMED_COLUMNS,
    TRIMMED_FILE,
    dropped_lines,
    index_of,
    trimmed_lines,
)
from skelkit.pipelines.build_inputs import Inputs, read_inputs
from skelkit.pipelines.build_plan import Labelling, choose_shards, label_clips, sift
from skelkit.pipelines.build_settings import SAME_JOINTS, BuildSettings
from skelkit.pipelines.workbench import Workbench
from skelkit.skeletons import get_skeleton
from skelkit.structures import Int64

if TYPE_CHECKING:
    from skelkit.pipelines.cluster import Cluster

_LOT = 512
"""Clips that a process measures at a time."""
_PILOT = 256
"""Clips that tell what a pose takes on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """News of a build, for whoever shows progress."""

    stage: str
    """``measuring`` or ``writing``."""
    done: int
    """Clips."""
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """What a build did."""

    output: Path
    clips_in: int
    info: DatasetInfo
    built: bool
    """False where the dataset was there already, made of the same inputs in the same way."""
    seconds: float = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "output": str(self.output),
            "built": self.built,
            "seconds": round(self.seconds, 3),
            "clips_in": self.clips_in,
            "clips": sum(self.info.splits.values()),
            "splits": self.info.splits,
            "labels": len(self.info.label_names),
            "shards": len(self.info.shards),
            "bytes": sum(shard.bytes for shard in self.info.shards),
            "filters": list(self.info.filters),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lot:
    """Clips to measure."""

    number: int
    part: int
    start: int
    stop: int


def build(
    inputs: Sequence[Path],
    output: Path,
    settings: BuildSettings,
    *,
    job: str = "build-posetics",
    worker_count: int = 1,
    cluster: Cluster | None = None,
    overwrite: bool = False,
    show: Callable[[Step], None] = lambda step: None,
) -> BuildReport:
    """Make a dataset. Killed at any moment, the same call goes on where it stopped.

    Args:
        inputs: Shards, folders of shards, or datasets.
        output: The dataset's folder.
        settings: What to do.
        job: Its name in the recipe.
        worker_count: Number of processes.
        cluster: Work on its machines instead.
        overwrite: Do not go on from an unfinished build, and replace the output.
        show: Called with every piece of news.

    Raises:
        InputError: no shards there.
        ShardError: damaged shards, or shards that do not go together.
        ConfigError: settings that do not fit the clips, or an output that is not to be replaced.
        OutputError: another build is at work on it, no permission, or the disk is full.
        SkelkitError: no clip is left after the filters.
        KeyboardInterrupt: on SIGINT and SIGTERM; what is finished is kept.
    """
    begin = time.monotonic()
    if any(output.resolve() in (given.resolve(), *given.resolve().parents) for given in inputs):
        raise ConfigError(f"expected an output apart from the inputs, got {output}; choose another folder")
    found = read_inputs(inputs)
    wanted = _preparation(found, settings)
    bench = Workbench(output, {"job": job, "settings": settings.recipe(), **found.recipe()})
    finished = bench.done(overwrite=overwrite)
    if not finished:
        with (
            workers.terminable(),
            bench.held(overwrite=overwrite),
            cluster.recording(job, output) if cluster else nullcontext(),
        ):
            _Build(
                inputs=found,
                settings=settings,
                wanted=wanted,
                bench=bench,
                where=cluster or worker_count,
                show=show,
            ).run()
    return BuildReport(
        output=output,
        clips_in=len(found),
        info=DatasetInfo.read(output),
        built=not finished,
        seconds=time.monotonic() - begin,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Build:
    """A build at work."""

    inputs: Inputs
    settings: BuildSettings
    wanted: Preparation
    bench: Workbench
    where: Cluster | int
    show: Callable[[Step], None]

    def run(self) -> None:
        """Everything from measuring to the name of the folder."""
        inputs, settings, bench = self.inputs, self.settings, self.bench
        labelling = label_clips(inputs, settings)  # what is wrong with files is told before hours of work
        measured = self._measure()
        sieve, splits = sift(inputs, measured, labelling, settings)
        if not sieve.kept.any():
            bench.remove()
            counts = ", ".join(f"{rule['rule']} {rule['clips_dropped']}" for rule in sieve.applied)
            raise SkelkitError(
                f"expected some clips to be left, got none: of {len(inputs)}, dropped by {counts}; relax the "
                "rules"
            )
        header = Header(
            skeleton=self.wanted.skeleton,
            experts={},
            dimensions=inputs.headers[0].dimensions,
            coordinate_unit=inputs.headers[0].coordinate_unit,
            recipe=bench.recipe,
        )
        shards = choose_shards(
            inputs,
            measured.num_rows,
            labelling,
            splits,
            settings=settings,
            bytes_per_row=self._bytes_per_row(header, measured, np.flatnonzero(sieve.kept)),
        )
        files = self._write(shards, header, labelling)
        earlier = inputs.datasets[0].filters if inputs.history else ()
        info = DatasetInfo(
            name=settings.name,
            skeleton=header.skeleton,
            dimensions=header.dimensions,
            coordinate_unit=header.coordinate_unit,
            label_names=labelling.names,
            shards=tuple(files[name] for name in shards),
            index_sha256=write_index(bench.made, index_of(shards, inputs, measured, labelling)),
            recipe=bench.recipe,
            filters=(*earlier, *sieve.applied),
        )
        lines = [*inputs.history, *dropped_lines(inputs, labelling, sieve)]
        write_csv(bench.made / DROPPED_FILE, DROPPED_COLUMNS, lines)
        if settings.max_people or settings.gamma:
            write_csv(bench.made / TRIMMED_FILE, TRIMMED_COLUMNS, trimmed_lines(inputs, measured, sieve))
        write_info(bench.made, info)
        bench.publish()

    def _measure(self) -> Measured:
        """Measure all clips; lots that an earlier run has measured are not measured again."""
        inputs, folder = self.inputs, self.bench.measured
        lots: list[_Lot] = []
        for part, count in enumerate(np.bincount(inputs.part, minlength=len(inputs.paths)).tolist()):
            for start in range(0, max(count, 1), _LOT):
                lots.append(_Lot(number=len(lots), part=part, start=start, stop=min(start + _LOT, count)))
        todo = [lot for lot in lots if not _lot_path(folder, lot).exists()]
        done = len(inputs) - sum(lot.stop - lot.start for lot in todo)
        self.show(Step(stage="measuring", done=done, total=len(inputs)))
        describe = bool(self.settings.filters.near_duplicates)
        arguments = (inputs.paths, self.wanted, describe, folder)
        if isinstance(self.where, int):
            running = workers.run(make_measuring, arguments, todo, self.where)
        else:
            running = self.where.run(
                "measuring",
                make_measuring,
                arguments,
                todo,
                kept=len(lots) - len(todo),
                makes=lambda lot: _lot_path(folder, lot),
                measure=lambda lots: [lot.stop - lot.start for lot in lots],
                name=lambda lot: f"{inputs.paths[lot.part]} {lot.start}-{lot.stop}",
            )
        with closing(running) as events:
            for event in events:
                _check_alive(event, "measure")
                done += event.task.stop - event.task.start
                self.show(Step(stage="measuring", done=done, total=len(inputs)))
        return Measured.joined([Measured.load(_lot_path(folder, lot)) for lot in lots])

    def _bytes_per_row(self, header: Header, measured: Measured, kept: Int64) -> float:
        """What a pose takes on disk with all that belongs to it, by some clips from everywhere."""
        sample = kept[np.unique(np.linspace(0, len(kept) - 1, _PILOT).astype(np.int64))]
        pilot = Selection(
            split="pilot",
            part=self.inputs.part[sample],
            clip=self.inputs.clip[sample],
            label_index=np.full(len(sample), -1, np.int64),
        )
        job = make_writing(self.inputs.paths, self.wanted, header, (), self.bench.folder)
        size, _ = job(("pilot.h5", pilot), lambda data: None)
        return float(size / (measured.num_rows[sample].sum() + len(sample)))

    def _write(
        self, shards: dict[str, Selection], header: Header, labelling: Labelling
    ) -> dict[str, ShardFile]:
        """Write every shard that an earlier run has not."""
        files = {}
        done, total = 0, sum(map(len, shards.values()))
        self.show(Step(stage="writing", done=0, total=total))
        arguments = (self.inputs.paths, self.wanted, header, labelling.names, self.bench.made)
        if isinstance(self.where, int):
            running = workers.run(make_writing, arguments, list(shards.items()), self.where)
        else:
            running = self.where.run(
                "writing",
                make_writing,
                arguments,
                list(shards.items()),
                makes=lambda shard: self.bench.made / shard[0],
                measure=lambda shards: [len(chosen) for _, chosen in shards],
                name=lambda shard: shard[0],
            )
        with closing(running) as events:
            for event in events:
                _check_alive(event, "write")
                name, chosen = event.task
                size, digest = event.data
                files[name] = ShardFile(
                    name=name, split=chosen.split, clips=len(chosen), bytes=size, sha256=digest
                )
                done += len(chosen)
                self.show(Step(stage="writing", done=done, total=total))
        return files


def _preparation(inputs: Inputs, settings: BuildSettings) -> Preparation:
    """How poses are prepared, after a look at all joint sets.

    Raises:
        ConfigError: a joint set that cannot become the one wanted, or several where they are to stay.
    """
    given = {header.skeleton.name: header.skeleton for header in inputs.headers}
    if settings.joints == SAME_JOINTS:
        first = inputs.headers[0].skeleton
        for path, header in zip(inputs.paths, inputs.headers, strict=True):
            if header.skeleton != first:
                raise ConfigError(
                    f"expected one joint set to stay, got {first.name} in {inputs.paths[0]} and "
                    f"{header.skeleton.name} in {path}; name the one wanted (--joints)"
                )
        target = first
    else:
        target = get_skeleton(settings.joints)
        for skeleton in given.values():
            check_convertible(skeleton, target)
    return Preparation(
        skeleton=target, gamma=settings.gamma, max_people=settings.max_people, people_by=settings.people_by
    )


def _lot_path(folder: Path, lot: _Lot) -> Path:
    return folder / f"{lot.number:06d}.npz"


def make_measuring(paths: list[Path], wanted: Preparation, describe: bool, folder: Path) -> workers.Job:
    """What a worker process does to measure: a lot of clips -> a file."""
    inputs = OpenShards(paths)

    def job(lot: _Lot, send: Callable[[Any], None]) -> None:
        measured = measure_clips(inputs[lot.part], lot.start, lot.stop, wanted, describe=describe)
        measured.save(_lot_path(folder, lot))

    return job


def make_writing(
    paths: list[Path], wanted: Preparation, header: Header, label_names: tuple[str, ...], folder: Path
) -> workers.Job:
    """What a worker process does to write: a selection of clips -> a shard; returns its size and sha256."""
    inputs = OpenShards(paths)

    def job(task: tuple[str, Selection], send: Callable[[Any], None]) -> tuple[int, str]:
        name, chosen = task
        path = folder / name
        if not path.exists():  # it has its name when it is whole
            write_selection(path, inputs, chosen, wanted=wanted, header=header, label_names=label_names)
        return path.stat().st_size, sha256_of(path)

    return job


def _check_alive(event: workers.Event[Any], what: str) -> None:
    if event.kind == "lost":
        raise SkelkitError(f"could not {what} some clips: {event.data}")
