"""What happened in a run, line by line: a file of JSON lines that grows beside the output.

Only the process that conducts the run writes, and only at the end of the file, a line at a time; so the
file can be read from anywhere at any moment. A line that was torn when its writer was killed, or that a
shared file system does not show whole yet, is passed over.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skelkit._version import __version__
from skelkit.data.files import output_error
from skelkit.errors import InputError

_SUFFIX = ".events.jsonl"
SILENT_S = 180.0
"""A run that has written nothing for so long is taken to be dead: it gives a sign of life twice a minute."""


def log_path(output: Path) -> Path:
    """Where the events of the run that makes `output` are."""
    return output.with_name(output.name + _SUFFIX)


class EventLog:
    """The log of a run, open for writing.

    Args:
        path: The file; a run that goes on appends to it.

    Raises:
        OutputError: from every method, where the operating system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                self._append(b"\n")  # ends the line that a killed writer left
        except OSError as error:
            raise output_error(error, path) from error

    def write(self, event: str, **facts: Any) -> None:
        """Add a line."""
        line = json.dumps({"t": round(time.time(), 3), "event": event, **facts}, ensure_ascii=True)
        try:
            self._append(line.encode() + b"\n")
        except OSError as error:
            raise output_error(error, self.path) from error

    def begin(self, job: str, output: Path, **facts: Any) -> None:
        """A run begins, or goes on."""
        host, process = socket.gethostname(), os.getpid()
        self.write("begin", job=job, output=str(output), host=host, pid=process, skelkit=__version__, **facts)

    def _append(self, line: bytes) -> None:
        written = os.write(self._fd, line)
        while written < len(line):
            written += os.write(self._fd, line[written:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The last line says how the run ended."""
        try:
            if kind is None:
                self.write("end", how="finished")
            elif issubclass(kind, KeyboardInterrupt):
                self.write("end", how="interrupted")
            else:
                self.write("end", how="failed", why=str(error))
        finally:
            os.close(self._fd)


@dataclass(slots=True, kw_only=True)
class State:
    """Where a run stands, or stood when it ended."""

    log: Path
    job: str = ""
    output: str = ""
    host: str = ""
    pid: int = 0
    began: float = 0.0
    last: float = 0.0
    """When it last wrote."""
    dashboard: str = ""
    stage: str = ""
    stage_began: float = 0.0
    total: int = 0
    """Tasks of this stage."""
    kept: int = 0
    """Of them, those done by earlier runs."""
    done: int = 0
    """Of them, those done by this run, or given up."""
    statuses: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    """Tasks that are not simply well, and why."""
    running: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Tasks at work: their worker, and since when."""
    stragglers: set[str] = field(default_factory=set)
    workers: dict[str, str] = field(default_factory=dict)
    """Workers that are there: ``joined``, ``ready`` or why they are set aside."""
    lost_workers: int = 0
    retried: int = 0
    torn: int = 0
    """Lines that could not be read."""
    end: str = ""
    """``finished``, ``interrupted``, ``failed``; empty while it runs."""
    why: str = ""

    def condition(self, now: float) -> str:
        """``running``, ``silent`` (killed, most likely), or how it ended."""
        here = self.host == socket.gethostname()
        gone = now - self.last > SILENT_S or (here and not Path(f"/proc/{self.pid}").exists())
        return self.end or ("silent" if gone else "running")

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go at the pace so far; None where it cannot be told."""
        left = self.total - self.kept - self.done
        if self.end or not self.done:
            return None
        return left * (self.last - self.stage_began) / self.done

    def to_json(self, now: float) -> dict[str, Any]:
        """For programs."""
        return {
            "log": str(self.log),
            "job": self.job,
            "output": self.output,
            "condition": self.condition(now),
            "why": self.why,
            "host": self.host,
            "pid": self.pid,
            "seconds": round(self.last - self.began, 1),
            "silent_s": round(now - self.last, 1),
            "dashboard": self.dashboard,
            "stage": self.stage,
            "total": self.total,
            "kept": self.kept,
            "done": self.done,
            "statuses": dict(self.statuses),
            "problems": self.problems,
            "running": {task: worker for task, (worker, _) in self.running.items()},
            "stragglers": sorted(self.stragglers),
            "workers": self.workers,
            "lost_workers": self.lost_workers,
            "retried": self.retried,
            "torn_lines": self.torn,
        }


def read_state(path: Path) -> State:
    """The last run of a log.

    Args:
        path: An output, or the log itself.

    Raises:
        InputError: there is no log, or no run in it.
    """
    log = path if path.name.endswith(_SUFFIX) else log_path(path)
    state, found = State(log=log), False
    torn = 0
    for event in _lines(log):
        if event is None:
            torn += 1
            continue
        if event["event"] == "begin":
            state, found = State(log=log), True
        _apply(state, event)
    if not found:
        raise InputError(f"expected a run's events in {log}, found no beginning of one", path=log)
    state.torn = torn
    return state


def _lines(log: Path) -> Iterator[dict[str, Any] | None]:
    """Events; None for what is none."""
    try:
        with log.open("rb") as file:
            for line in file:
                if line.strip():
                    yield _event(line)
    except FileNotFoundError:
        raise InputError(
            f"expected the events of a cluster run in {log}, found no such file; name the output of a run "
            "with --cluster or --scheduler",
            path=log,
        ) from None
    except OSError as error:
        raise InputError(f"expected to read {log}, got an error: {error.strerror}", path=log) from error


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    known = isinstance(event, dict) and isinstance(event.get("event"), str)
    return event if known and isinstance(event.get("t"), int | float) else None


def _apply(state: State, event: dict[str, Any]) -> None:
    """What a line changes."""
    task, worker, why = (str(event.get(key, "")) for key in ("task", "worker", "why"))
    state.last = event["t"]
    match event["event"]:
        case "begin":
            state.began = event["t"]
            state.job, state.output = str(event.get("job", "")), str(event.get("output", ""))
            state.host, state.pid = str(event.get("host", "")), int(event.get("pid", 0))
        case "stage":
            state.stage, state.stage_began = str(event.get("name", "")), event["t"]
            state.total, state.kept, state.done = int(event.get("total", 0)), int(event.get("kept", 0)), 0
            state.statuses.clear()
            state.running.clear()
        case "dashboard":
            state.dashboard = str(event.get("address", ""))
        case "joined" | "ready":
            state.workers[worker] = event["event"]
        case "benched":
            state.workers[worker] = why
            _forget_worker(state, worker)
        case "left":
            state.workers.pop(worker, None)
            state.lost_workers += not event.get("expected")
            _forget_worker(state, worker)
        case "started":
            state.running[task] = (worker, event["t"])
        case "again":
            state.running.pop(task, None)
            state.retried += 1
        case "straggler":
            state.stragglers.add(task)
        case "done" | "lost":
            state.running.pop(task, None)
            state.stragglers.discard(task)
            state.done += 1
            status = str(event.get("status", "failed" if event["event"] == "lost" else "done"))
            state.statuses[status] += 1
            if status in {"failed", "damaged"}:
                state.problems[task] = str(event.get("detail", why))
        case "end":
            state.end, state.why = str(event.get("how", "")), why
            state.running.clear()


def _forget_worker(state: State, worker: str) -> None:
    for task in [t for t, (at, _) in state.running.items() if at == worker]:
        del state.running[task]
