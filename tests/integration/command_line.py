"""The real command, run as a user runs it, and what it leaves behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from skelkit.cli import main
from skelkit.data.fixed_point import MISSING

SKELKIT = (sys.executable, str(Path(sys.executable).with_name("skelkit")))
PATIENCE_S = 180.0
"""A process that has not done by then what it must do is taken to hang."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line on stderr that says what is wrong."""
        assert "Traceback" not in self.err, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("skelkit: ")]
        assert len(lines) == 1, self.err
        return lines[0]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """The tests' own, without what would change what they test."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SKELKIT_", "SLURM_"))}
    return kept | {"SKELKIT_OFFLINE": "1"} | more


def skelkit(
    *arguments: object, code: int | None = 0, prefix: Sequence[str] = (), cwd: Path | None = None, **env: str
) -> Done:
    """Run a command to its end; `code` is the exit code expected."""
    command = [*prefix, *SKELKIT, *(os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments)]
    ended = subprocess.run(
        command,
        env=environment(**env),
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=5 * PATIENCE_S,
        check=False,
    )
    done = Done(code=ended.returncode, out=ended.stdout, err=ended.stderr)
    assert "Traceback" not in done.err, done.err
    assert code is None or done.code == code, f"exit code {done.code}\n{done.out}\n{done.err}"
    return done


def at_once(*arguments: object, code: int) -> Done:
    """A command that needs no worker process, run in this one: three times as fast."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["skelkit", *map(str, arguments)]
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment())
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        got = ended.code or 0
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(before)
    assert got == code, f"exit code {got}\n{out.getvalue()}\n{err.getvalue()}"
    return Done(code=code, out=out.getvalue(), err=err.getvalue())


class Running:
    """A command at work, in a process group of its own."""

    def __init__(self, *arguments: object, err: Path) -> None:
        self._err = err
        with err.open("wb") as log:
            self.process = subprocess.Popen(
                [*SKELKIT, *map(str, arguments)],
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def ended_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def send(self, number: signal.Signals, *, group: bool) -> None:
        """To the command alone, or (as a terminal's Ctrl-C) to its workers as well."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def end(self) -> Done:
        """Wait for the end."""
        self.process.wait(PATIENCE_S)
        return Done(code=self.process.returncode, out="", err=self._err.read_text("utf-8", "replace"))

    def workers(self) -> list[int]:
        """The worker processes alive."""
        return [p for p in group_members(self.process.pid) if b"spawn_main" in _command_of(p)]

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        if group_members(self.process.pid):
            self.send(signal.SIGKILL, group=True)
        self.process.wait()


def group_members(group: int) -> list[int]:
    """Processes of a group that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(of) == group and state != "Z":
            found.append(int(entry.name))
    return found


def _command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.01)


class Gate:
    """A pipe in a video's place: whoever reads it stands still there for as long as the test wants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def wait_for_reader(self) -> int:
        """Wait until a worker has come to this video; returns what holds it there until closed."""
        opened: list[int] = []

        def somebody_reads() -> bool:
            try:
                opened.append(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                return False
            return True

        wait_until(somebody_reads, f"a worker to read {self.path.name}")
        return opened[0]


def content(shard: Path) -> dict[str, Any]:
    """Everything in a shard: attributes and datasets by path, ready to be compared."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        for key, value in item.attrs.items():
            found[f"{name}@{key}"] = str(value)
        if isinstance(item, h5py.Dataset):
            values = item[()]
            found[name] = (
                values.tolist()
                if values.dtype == object
                else (str(values.dtype), values.shape, values.tobytes())
            )

    with h5py.File(shard) as file:
        visit("", file)
        file.visititems(visit)
    return found


def assert_same(shard: Path, wanted: Path) -> None:
    """Equal in every dataset and attribute."""
    have, want = content(shard), content(wanted)
    assert have.keys() == want.keys()
    assert not (different := [name for name in want if have[name] != want[name]]), different


def rows_of(output: Path) -> dict[str, dict[str, Any]]:
    """The rows of the report beside the output, by name."""
    report = json.loads(output.with_name(output.name + ".report.json").read_text("utf-8"))
    assert report["counts"] == {s: sum(r["status"] == s for r in report["inputs"]) for s in report["counts"]}
    return {row["video_id"]: row for row in report["inputs"]}


def statuses(output: Path) -> dict[str, str]:
    return {name: row["status"] for name, row in rows_of(output).items()}


def column(shard: Path, name: str) -> list[Any]:
    with h5py.File(shard) as file:
        values = file[name][()]
        return [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for v in values.tolist()]


def tree(folder: Path) -> list[str]:
    """Everything in a folder and below."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def no_rows_are_nan(shard: Path) -> bool:
    """Whether every row of poses has a joint: absence costs nothing."""
    with h5py.File(shard) as file:
        return bool((file["poses/keypoints"][()] != MISSING).any(axis=(1, 2)).all())
