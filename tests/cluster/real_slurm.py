"""A Slurm of one's own: munge, a controller and two nodes, all on this machine, on ports and in a folder of
their own, and gone again afterwards.

Also a command: ``python tests/cluster/real_slurm.py skelkit submit ...`` runs a command beside such a Slurm
and ends it with the command; without a command, a shell.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
PATIENCE_S = 900.0
"""What has not happened by then is taken to hang."""
INSTALL_S = 180.0
RUNNING = {"CONFIGURING", "PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED"}
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class NoSlurmError(Exception):
    """Why there can be no Slurm on this machine."""


def install() -> None:
    """Debian's packages, unless they are there.

    Raises:
        NoSlurmError: they are not, and cannot be installed.
    """
    if not (missing := [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]):
        return
    if os.geteuid() != 0:
        raise NoSlurmError(f"{', '.join(missing)} are absent, and only root can install them")
    if shutil.which("apt-get") is None:
        raise NoSlurmError(f"{', '.join(missing)} are absent, and there is no apt-get to install them with")
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=2"]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        [*apt, "update"],
        [*apt, "install", "--yes", "--no-install-recommends", *PACKAGES],
    ):
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise NoSlurmError(f"{' '.join(command)} has not ended within {INSTALL_S:.0f} s") from None
        if done.returncode:
            words = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise NoSlurmError(f"{' '.join(command)}: {words[-1] if words else done.returncode}")


@dataclass(slots=True, kw_only=True)
class Slurm:
    """A Slurm at work. Commands find it through `environment`."""

    folder: Path
    """Of its configuration, its state and its logs."""
    nodes: tuple[str, ...]
    environment: dict[str, str]
    """Of commands that are to talk to it."""
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, *command: str | Path, cwd: Path | None = None, code: int | None = 0) -> str:
        """A command's stdout; `code` is the exit code expected."""
        done = subprocess.run(
            [str(word) for word in command],
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert code is None or done.returncode == code, f"{command}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def submit(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """``sbatch ARGUMENTS``; the job's number."""
        return self.run("sbatch", "--parsable", *arguments, cwd=cwd).split(";")[0].strip()

    def job(self, job: str) -> list[dict[str, str]]:
        """What ``scontrol show job`` knows of a job: one for every task of an array."""
        lines = self.run("scontrol", "show", "job", "--oneliner", job, code=None).splitlines()
        return [
            dict(word.split("=", 1) for word in line.split() if "=" in word)
            for line in lines
            if line.startswith("JobId=")
        ]

    def states(self, job: str) -> dict[str, str]:
        """State by task: by the number in the array, or by the job's where it is no array."""
        return {entry.get("ArrayTaskId", job): entry["JobState"] for entry in self.job(job)}

    def end_of(self, job: str, *, within: float = PATIENCE_S) -> dict[str, str]:
        """Wait until every task of a job has ended; their states."""
        self.wait(lambda: not RUNNING & set(self.states(job).values()), f"job {job} to end", within)
        return self.states(job)

    def wait(self, true: Callable[[], object], what: str, within: float = PATIENCE_S) -> None:
        """Look again and again."""
        end = time.monotonic() + within
        while not true():
            assert time.monotonic() < end, f"waited in vain for {what}\n{self.run('squeue', '--all')}"
            time.sleep(0.2)

    def pids(self, job: str) -> list[int]:
        """Processes of a job's own (not Slurm's) that are alive: by the number in their environment."""
        numbers = {entry["JobId"].encode() for entry in self.job(job)} | {job.encode()}
        wanted = {b"SLURM_JOB_ID=" + number for number in numbers}
        config = b"SLURM_CONF=" + os.fsencode(self.environment["SLURM_CONF"])
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                variables = set((entry / "environ").read_bytes().split(b"\0"))
                if variables & wanted and config in variables:
                    found.append(int(entry.name))
        return found

    def log(self, name: str) -> str:
        """The log of a daemon: ``slurmctld``, ``munged`` or a node's name."""
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def drain(self, node: str, reason: str = "a test") -> None:
        """No new jobs on this node."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", f"Reason={reason}")

    def resume(self, node: str) -> None:
        """Inverse of `drain`."""
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def kill_node(self, node: str) -> None:
        """A node whose daemon is gone at once, as with the power off; see `start_node`."""
        self._daemons.pop(node).kill()

    def start_node(self, node: str) -> None:
        """Begin, or begin again."""
        self._start(node, "slurmd", "-D", "-f", self.environment["SLURM_CONF"], "-N", node)

    def start(self) -> None:
        """Everything, until the nodes wait for jobs."""
        for folder in ("state", "munge", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / folder).mkdir(parents=True)
        munge = self.folder / "munge"
        key = munge / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        for path in (munge, key):
            shutil.chown(path, "munge")
        munge.chmod(0o711)
        self._start(
            "munged", "munged", "--foreground", f"--key-file={key}", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
            user="munge",
        )  # fmt: skip
        self.wait((munge / "socket").exists, "munged", 120)
        config = self.environment["SLURM_CONF"]
        self._start("slurmctld", "slurmctld", "-D", "-f", config)
        for node in self.nodes:
            self.start_node(node)
        self.wait(self._all_idle, "the nodes", 120)

    def stop(self) -> None:
        """End every job and everything that was started."""
        if "slurmctld" in self._daemons:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.run("scancel", "--signal=KILL", "--full", "--me", code=None)
                self.run("scancel", "--me", code=None)
                self.wait(lambda: not self.run("squeue", "--noheader", "--me"), "the last jobs", 30)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()

    def clean(self) -> None:
        """Back to no jobs and all nodes at work, for the next test."""
        self.run("scancel", "--me", code=None)
        self.wait(lambda: not self.run("squeue", "--noheader", "--me"), "the last jobs")
        for node in self.nodes:
            if node not in self._daemons:
                self.start_node(node)
        for node in self.nodes:
            state = self._node_states()[node]
            if "DRAIN" in state or "DOWN" in state:
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", code=None)
        self.wait(self._all_idle, "the nodes", 120)

    def _node_states(self) -> dict[str, str]:
        lines = self.run(
            "sinfo", "--Node", "--noheader", "--Format=NodeList:.40,StateComplete:.40", code=None
        )
        return {words[0]: words[1].upper() for line in lines.splitlines() if len(words := line.split()) == 2}

    def _all_idle(self) -> bool:
        for name, daemon in self._daemons.items():
            assert daemon.poll() is None, f"{name} has ended:\n{self.log(name)}"
        return self._node_states() == dict.fromkeys(self.nodes, "IDLE")

    def _start(self, name: str, *command: str, user: str | None = None) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            # It ends with us, however we end.
            program = [shutil.which("setpriv") or "setpriv"]
            if user is not None:
                entry = pwd.getpwnam(user)
                program += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
            self._daemons[name] = subprocess.Popen(
                [*program, "--pdeathsig=TERM", *command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, not for it
            )


@contextlib.contextmanager
def running(nodes: int = 2, cpus: int = 2) -> Iterator[Slurm]:
    """A Slurm, for as long as the block lasts.

    Args:
        nodes: How many; all are this machine.
        cpus: Of each node. They exist on paper only: nothing is bound to a processor.

    Raises:
        NoSlurmError: it cannot be had on this machine.
    """
    if os.geteuid() != 0:
        raise NoSlurmError("slurmd starts jobs as their users, and so only root can run it")
    install()
    folder = Path(tempfile.mkdtemp(prefix="skelkit-slurm-"))
    try:
        folder.chmod(0o755)
        config, names = _write_config(folder, nodes, cpus)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        slurm = Slurm(
            folder=folder, nodes=names, environment=kept | {"SLURM_CONF": str(config), "PATH": _PATH}
        )
        try:
            try:
                slurm.start()
            except (AssertionError, LookupError, OSError, subprocess.TimeoutExpired) as error:
                raise NoSlurmError(f"it does not start: {error}") from error
            yield slurm
        finally:
            slurm.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_config(folder: Path, nodes: int, cpus: int) -> tuple[Path, tuple[str, ...]]:
    names = tuple(f"node{number}" for number in range(1, nodes + 1))
    host = socket.gethostname().split(".")[0]
    controller, *ports = _free_ports(nodes + 1)
    lines = [
        "ClusterName=skelkit",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={controller}",
        "SlurmUser=root",
        "AuthType=auth/munge",
        # A job that is requeued waits until its credentials have expired: two minutes by default.
        f"AuthInfo=socket={folder}/munge/socket,cred_expire=5",
        f"StateSaveLocation={folder}/state",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdSpoolDir={folder}/spool/%n",
        f"SlurmdPidFile={folder}/%n.pid",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU",
        "MpiDefault=none",
        "SwitchType=switch/none",
        "JobAcctGatherType=jobacct_gather/none",
        "AccountingStorageType=accounting_storage/none",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0,sched_min_interval=0",
        "ReturnToService=2",
        "KillWait=5",  # seconds from SIGTERM to SIGKILL at a job's end
        "SlurmdTimeout=20",
        "MinJobAge=3600",  # what has ended can be asked for: there is no sacct
        *(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={cpus} RealMemory=16000 State=UNKNOWN"
            for name, port in zip(names, ports, strict=True)
        ),
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        f"PartitionName=main Nodes={','.join(names)} Default=YES DefaultTime=10 State=UP",
        # What runs there takes the nodes from what runs in main.
        f"PartitionName=urgent Nodes={','.join(names)} PriorityTier=10 DefaultTime=10 State=UP",
    ]
    config = folder / "slurm.conf"
    config.write_text("\n".join(lines) + "\n")
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    return config, names


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def main(command: Sequence[str]) -> int:
    """Run a command beside a Slurm."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with running() as slurm:
        return subprocess.run(
            command or [os.environ.get("SHELL", "sh")], env=slurm.environment, check=False
        ).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except NoSlurmError as error:
        sys.exit(f"no Slurm here: {error}")
