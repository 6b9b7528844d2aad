"""Jobs that have ended without having been told to: Dask does not ask the batch system, so we do."""

from __future__ import annotations

import getpass
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from skelkit.pipelines.site_profile import Kind

_LISTS = {
    "slurm": "squeue --noheader --me --format=%A",
    "pbs": "qselect -u {user}",
    "lsf": "bjobs -noheader -o jobid",
    "sge": "qstat",
    "htcondor": r"condor_q -format %d. ClusterId -format '%d\n' ProcId",
}
"""What lists one's jobs that wait or run, one a line, their number first."""
_PATIENCE_S = 60
_TAIL = 4096


def workers_of(cluster: Any) -> dict[str, str]:
    """Addresses and names of the workers that a cluster of Dask has."""
    there: dict[str, str] = cluster.sync(_workers_of, cluster)
    return there


def ended_jobs(cluster: Any, kind: Kind) -> dict[str, str]:
    """Numbers, by Dask's names, of jobs that are neither in the queue nor the host of a worker.

    Nobody is named where the batch system does not answer.

    Args:
        cluster: Of dask-jobqueue.
        kind: Of batch system.
    """
    jobs = {str(name): job for name, job in dict(cluster.workers).items() if job.job_id}
    if not jobs:
        return {}
    pattern = next(iter(jobs.values())).job_id_regexp
    command = shlex.split(_LISTS[kind].format(user=getpass.getuser()))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    there = {found["job_id"] for line in done.stdout.splitlines() if (found := re.search(pattern, line))}
    at_work = set(workers_of(cluster).values())  # after the list, so that nobody falls between them
    return {name: job.job_id for name, job in jobs.items() if job.job_id not in there and name not in at_work}


def last_words(logs: Path, job: str) -> str:
    """The last line that a job printed, empty where it printed none."""
    lines: list[str] = []
    for path in sorted(logs.glob(f"*{job}*")):
        lines += path.read_bytes()[-_TAIL:].decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


async def _workers_of(cluster: Any) -> dict[str, str]:
    """In the scheduler's thread, where nothing changes meanwhile."""
    return {address: str(state.name) for address, state in cluster.scheduler.workers.items()}
