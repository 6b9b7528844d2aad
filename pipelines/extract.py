"""Videos -> one shard: find inputs, share them out, extract each, merge, report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skelkit.data import ShardWriter
from skelkit.data.merging import brief, first_difference
from skelkit.errors import ClusterError, ConfigError, DeviceLostError, ExpertError, OutputError
from skelkit.experts import choose_device
from skelkit.experts.batches import NOTICES, whole_devices
from skelkit.experts.engine import confine
from skelkit.pipelines import devices, workers
from skelkit.pipelines.clip import Extractor, recipe
from skelkit.pipelines.cluster_worker import cores
from skelkit.pipelines.settings import ExtractSettings, Share
from skelkit.pipelines.sharing import durations_ms, longest_first, share_out, shared_output
from skelkit.pipelines.spool import Row, Spool, look, row_of, text_of, write_json
from skelkit.video import Source, find_sources

if TYPE_CHECKING:
    from skelkit.pipelines.cluster import Cluster

STATUSES = ("ok", "no_person", "damaged", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is about to do."""

    output: Path
    sources: list[Source]
    recipe: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run did: one row for every input."""

    output: str
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    recipe: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Of the run as a whole: a device that was lost, memory that did not suffice."""

    @property
    def counts(self) -> dict[str, int]:
        """Inputs by status."""
        return {s: sum(r["status"] == s for r in self.rows) for s in STATUSES}

    @property
    def exit_code(self) -> int:
        """0 all whole; 1 some inputs failed or are damaged; 3 not one could be read."""
        counts = self.counts
        if self.rows and counts["failed"] == len(self.rows):
            return 3
        return int(counts["failed"] + counts["damaged"] > 0)

    def to_json(self) -> dict[str, Any]:
        """As written beside the output."""
        return {
            "output": text_of(self.output),
            "seconds": round(self.seconds, 3),
            "counts": self.counts,
            "notes": self.notes,
            "recipe": self.recipe,
            "inputs": self.rows,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """News of a run, for whoever shows progress."""

    source: Source
    kind: str
    """``kept`` (done by an earlier run), ``progress`` or ``done``."""
    frames: int = 0
    people: int = 0
    row: Row | None = None


def plan(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    settings: ExtractSettings,
    *,
    share: Share | None = None,
    limit: int | None = None,
) -> Plan:
    """Find the inputs and the experts, without computing anything.

    Args:
        inputs: What `skelkit.video.find_sources` takes.
        output: The shard to make.
        settings: What to do.
        share: Take one share of the inputs; its number goes into the output's name.
        limit: Take the first so many inputs (of the share).

    Raises:
        InputError: nothing to extract.
        ConfigError: a setting is wrong.
        WeightsError: weights are not to be had.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit: expected at least 1, got {limit}")
    chosen = find_sources(inputs)
    path = Path(output)
    if share is not None:
        chosen, path = share_out(chosen, share), shared_output(path, share)
    return Plan(output=path, sources=chosen[:limit], recipe=recipe(settings))


def extract(
    task: Plan,
    settings: ExtractSettings,
    *,
    worker_count: int = 1,
    device_names: Sequence[str] = (),
    cluster: Cluster | None = None,
    overwrite: bool = False,
    show: Callable[[Step], None] = lambda step: None,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Carry out a plan. Killed at any moment, the same call goes on where it stopped.

    Args:
        task: What to do.
        settings: How.
        worker_count: Videos worked on at the same time, each in a process of its own.
        device_names: Work on these devices instead, with a process on each; see `devices.parse`.
        cluster: Work on its machines instead.
        overwrite: Do not go on from an earlier run, and replace the output.
        show: Called with every piece of news.
        say: Called with every sentence about the run as a whole, such as that a device was lost.

    Returns:
        The report; the same stands beside the output as ``OUT.h5.report.json``.

    Raises:
        ConfigError: the output is not ours to replace, or an earlier run had other settings.
        OutputError: another run is writing it, no permission, or the disk is full.
        KeyboardInterrupt: on SIGINT and SIGTERM; what is finished is kept.
    """
    begin = time.monotonic()
    notes: list[str] = []

    def note(text: str) -> None:
        if text not in notes:  # every worker says what it met
            notes.append(text)
            say(text)

    if device_names and (cluster is not None or worker_count > 1):
        raise ConfigError("--devices excludes --workers and --cluster: it starts a process on each device")
    _check_place(task.output)
    spool = Spool(task.output, task.recipe)
    spool.check_output(overwrite=overwrite)
    with (
        workers.terminable(),
        spool.held(overwrite=overwrite),
        cluster.recording("extract", task.output) if cluster else nullcontext(),
    ):
        if not overwrite:
            spool.adopt(task.sources)
        try:
            where = cluster or tuple(device_names) or worker_count
            rows = _do(task.sources, spool, settings, where, show=show, note=note)
        except KeyboardInterrupt:
            spool.stopped()
            raise
        if task.sources:
            spool.publish(task.sources)
        else:
            _write_empty(task, settings)
        report = Report(
            output=str(task.output),
            rows=[rows[s.video_id] for s in task.sources],
            seconds=time.monotonic() - begin,
            recipe=task.recipe,
            notes=notes,
        )
        write_json(report_path(task.output), report.to_json())
        spool.remove()
    return report


def _do(
    sources: list[Source],
    spool: Spool,
    settings: ExtractSettings,
    where: Cluster | tuple[str, ...] | int,
    *,
    show: Callable[[Step], None],
    note: Callable[[str], None],
) -> dict[str, Row]:
    """Every source's row, by name; what is finished already is not done again."""
    rows: dict[str, Row] = {}
    todo = []
    nobody: Extractor | None = None

    def set_aside(source: Source, why: str) -> Row:
        """Written here, since no worker lived to do it."""
        nonlocal nobody
        nobody = nobody or Extractor(settings, threads=1)
        row = row_of(
            source.video_id,
            source=source.path,
            status="failed",
            detail=why,
            sha256="",
            frames=0,
            people=0,
            frames_decoded=0,
        )
        spool.keep(source, look(source), nobody.nothing(source, why), row, again=True)
        return row

    for source in sources:
        row = spool.finished(source)
        if row is None and (why := spool.given_up(source)):
            row = set_aside(source, why)
        if row is None:
            todo.append(source)
        else:
            rows[source.video_id] = row
            show(Step(source=source, kind="kept", row=row))
    arguments = (settings, spool.output, spool.recipe)
    make = make_batch_job if "SLURM_JOB_ID" in os.environ else make_job
    if isinstance(where, int):
        running = workers.run(make, (*arguments, _threads(where)), todo, where)
    elif isinstance(where, tuple):
        threads = _threads(len(where))
        each = [
            (make, replace(settings, device=name), *arguments[1:], threads if name == "cpu" else None)
            for name in where
        ]
        running = devices.run(make_device_job, each, longest_first(todo), labels=where)
    else:
        running = where.run(
            "extracting",
            make_cluster_job,
            arguments,
            todo,
            kept=len(rows),
            makes=spool.path_of,
            measure=durations_ms,
            name=lambda source: text_of(source.video_id),
            outcome=lambda row: {name: row[name] for name in ("status", "detail", "frames", "people")},
        )
    with closing(running) as events:
        for event in events:
            if isinstance(event.data, str) and event.kind != "lost":
                note(event.data)
                continue
            if event.kind == "progress":
                frames, people = event.data
                show(Step(source=event.task, kind="progress", frames=frames, people=people))
                continue
            row = set_aside(event.task, event.data) if event.kind == "lost" else event.data
            rows[event.task.video_id] = row
            show(Step(source=event.task, kind="done", row=row))
    return rows


def make_job(
    settings: ExtractSettings, output: Path, made_by: dict[str, Any], threads: int | None
) -> workers.Job:
    """What a worker process does: one video -> its files in the spool; returns its row."""
    with whole_devices():
        extractor = Extractor(settings, threads=threads)
    spool = Spool(output, made_by)

    def job(source: Source, send: Callable[[Any], None]) -> Row:
        begin, seen = time.monotonic(), look(source)
        again = False

        def say_notices() -> None:
            for notice in NOTICES.fetch():
                send(notice)

        def tell(frames: int, people: int) -> None:
            send((frames, people))
            say_notices()

        try:
            with whole_devices():
                result = extractor.extract(source, tell)
        except DeviceLostError:
            raise
        except (ExpertError, MemoryError) as error:  # of this machine, not of this video
            result, again = extractor.nothing(source, f"{type(error).__name__}: {error}"), True
        say_notices()
        status = "damaged" if result.clip.detail and result.clip.status != "failed" else result.clip.status
        row = row_of(
            source.video_id,
            source=source.path,
            status=status,
            detail=result.clip.detail,
            sha256=result.clip.sha256,
            frames=result.clip.num_frames,
            people=result.tracks.num_people,
            frames_decoded=result.num_frames_decoded,
            seconds=time.monotonic() - begin,
        )
        spool.keep(source, seen, result, row, again=again)
        return row

    return job


def make_device_job(make: Callable[..., workers.Job], settings: ExtractSettings, *more: Any) -> workers.Job:
    """The same in a process that is to see one device alone."""
    return make(replace(settings, device=confine(settings.device)), *more)


def make_batch_job(
    settings: ExtractSettings, output: Path, made_by: dict[str, Any], threads: int | None
) -> workers.Job:
    """The same in a batch job, which goes on by itself after it was killed: what kills it is to be known."""
    job = make_job(settings, output, made_by, threads)
    spool = Spool(output, made_by)

    def counted(source: Source, send: Callable[[Any], None]) -> Row:
        spool.begin(source)
        row: Row = job(source, send)
        return row

    return counted


def make_cluster_job(settings: ExtractSettings, output: Path, made_by: dict[str, Any]) -> workers.Job:
    """The same in a worker of a cluster, which may be another machine, and have done a video already.

    Raises:
        ClusterError: it would make other data than the recipe says, as with other weights.
    """
    difference = first_difference(made_by, recipe(settings))
    if difference is not None:
        name, wanted, got = difference
        raise ClusterError(
            f"the worker on {os.uname().nodename} would use another {name}: {brief(got)}, not {brief(wanted)}"
        )
    on_cpu = choose_device(settings.device).kind == "cpu"
    job = make_job(settings, output, made_by, cores() if on_cpu else None)
    spool = Spool(output, made_by)

    def once(source: Source, send: Callable[[Any], None]) -> Row:
        return spool.finished(source) or job(source, send)

    return once


def _write_empty(task: Plan, settings: ExtractSettings) -> None:
    """A share without inputs (more shares than inputs) is a shard too, so that all shares can be merged."""
    extractor = Extractor(settings, threads=1)
    experts = {name: expert.skeleton for name, expert in extractor.experts.items()}
    with ShardWriter(task.output, skeleton=extractor.skeleton, recipe=task.recipe, experts=experts):
        pass


def report_path(output: Path) -> Path:
    """Where the report of an extraction is."""
    return output.with_name(output.name + ".report.json")


def _threads(worker_count: int) -> int | None:
    """Cores for each worker; None = all."""
    if worker_count == 1:
        return None
    return max(1, len(os.sched_getaffinity(0)) // worker_count)


def _check_place(output: Path) -> None:
    """Refuse early what could only fail at the end."""
    parent = output.parent
    try:
        report_path(output).exists()
        is_folder, has_folder = output.is_dir(), parent.is_dir()
    except OSError as error:
        raise ConfigError(
            f"expected a place for the output, got {output}: {error.strerror}; choose another name",
            path=output,
        ) from error
    if is_folder:
        raise ConfigError(f"expected a file name for the output, got the folder {output}", path=output)
    if not has_folder:
        raise ConfigError(
            f"expected an existing folder for {output}, found no {parent}; create it", path=output
        )
    if not os.access(parent, os.W_OK):
        raise OutputError(f"no permission to write in {parent}; choose another folder", path=output)
