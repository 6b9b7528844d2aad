"""Workers as jobs of a batch system, through dask-jobqueue."""

from __future__ import annotations

import signal
import threading
import warnings
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skelkit.errors import ClusterError
from skelkit.pipelines.ended_jobs import ended_jobs, last_words, workers_of
from skelkit.pipelines.scheduling import Observer
from skelkit.pipelines.site_profile import SiteProfile

_CLASSES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "htcondor": "HTCondorCluster",
}
_VAIN = 3
"""Jobs for each worker wanted that may end before any worker comes, until no more are submitted."""


@dataclass(slots=True, kw_only=True, eq=False)
class JobFarm:
    """As many jobs as there is work for, within the limits of the profile.

    Args:
        cluster: Of dask-jobqueue.
        profile: Of the site.
        logs: Folder for what jobs print.
        observe: Told when jobs are asked for.
    """

    cluster: Any
    profile: SiteProfile
    logs: Path
    observe: Observer
    _asked: int = field(init=False, default=0)
    _came: set[str] = field(init=False, default_factory=set)
    _mourned: set[str] = field(init=False, default_factory=set)
    """Numbers of jobs that ended in vain."""
    _vain: int = field(init=False, default=0)
    """How many did since the last worker came."""

    def want(self, count: int) -> None:
        """Have up to so many workers; jobs that ended are submitted again.

        Raises:
            ClusterError: the batch system does not take the first ones, or they end and no worker comes.
        """
        self._drop_ended()
        limits = self.profile.workers
        wanted = max(self._asked, limits.min, min(limits.max, count))
        if wanted > self._asked:
            self.observe("asked", workers=wanted)
        first, self._asked = not self._asked, wanted
        self.cluster.scale(wanted)
        try:
            self.cluster.sync(_settled, self.cluster)
        except (RuntimeError, OSError, ValueError) as error:
            why = " ".join(str(error).split())
            if first:
                raise ClusterError(
                    f"expected {self.profile.kind} to take a job, got: {why}; try checking the site profile"
                ) from error
            self.observe("refused", why=why)  # it may be in a better mood when asked again

    def _drop_ended(self) -> None:
        """Forget jobs that are gone, so that others are submitted in their place.

        Raises:
            ClusterError: there were others often enough, and all are gone.
        """
        there = workers_of(self.cluster).keys()
        if there - self._came:
            self._vain = 0
            self._mourned.clear()
        self._came = set(there)
        ended = ended_jobs(self.cluster, self.profile.kind)
        if not (fresh := set(ended.values()) - self._mourned):
            return
        self._mourned |= fresh
        self._vain += len(fresh)
        job = max(fresh, key=float)
        said = last_words(self.logs, job)
        why = f"the last is {job}" + (f", which said: {said}" if said else "")
        if self._vain < _VAIN * self._asked:
            self.observe("ended", count=len(fresh), why=why)
            self.cluster.sync(self.cluster.scale_down, list(ended))
        elif len(ended) < len(self.cluster.workers):
            self.observe("ended", count=len(fresh), why=f"{why}; no more in their place")
        else:
            raise ClusterError(
                f"{self._vain} jobs in a row ended without a new worker; {why}; look into {self.logs}, and "
                "try `skelkit cluster check`"
            )

    def release(self, name: str) -> None:
        """End the job of this worker."""
        self._asked -= 1
        self.cluster.sync(self.cluster.scale_down, [name])


def start_jobs(profile: SiteProfile, logs: Path, stack: ExitStack, observe: Observer) -> tuple[str, JobFarm]:
    """A Dask scheduler in this process, and what submits jobs that are its workers.

    Args:
        profile: Of the site.
        logs: Folder for what jobs print.
        stack: Ends it all.
        observe: Told when jobs are asked for.

    Returns:
        The scheduler's address, and the farm.

    Raises:
        ClusterError: the scheduler cannot start.
    """
    dask_jobqueue = _jobqueue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            cluster = getattr(dask_jobqueue, _CLASSES[profile.kind])(**_keywords(profile, logs))
        except (RuntimeError, OSError, ValueError) as error:
            raise ClusterError(f"cannot start a scheduler for workers: {error}") from error
    stack.callback(_close, cluster)
    return cluster.scheduler_address, JobFarm(cluster=cluster, profile=profile, logs=logs, observe=observe)


def job_script(profile: SiteProfile, logs: Path) -> str:
    """The script of a worker's job, to be looked at."""
    dask_jobqueue = _jobqueue()
    job = getattr(dask_jobqueue, _CLASSES[profile.kind]).job_cls
    return str(job("tcp://SCHEDULER", name="WORKER", **_of_jobs(_keywords(profile, logs))).job_script())


def _jobqueue() -> Any:
    """dask-jobqueue, whose import makes an interrupt end the process: we go on hearing it ourselves."""
    before = signal.getsignal(signal.SIGINT)
    import dask_jobqueue

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, before)
    return dask_jobqueue


def _keywords(profile: SiteProfile, logs: Path) -> dict[str, Any]:
    """What dask-jobqueue wants to know."""
    lifetime = profile.walltime_s - profile.notice
    keywords: dict[str, Any] = {
        "cores": profile.cores,
        "memory": f"{profile.memory_bytes}B",
        "processes": 1,
        "death_timeout": 600,  # on a slow file system and a busy node a start takes its time
        "job_name": "skelkit",
        "job_script_prologue": list(profile.environment),
        "worker_extra_args": ["--lifetime", f"{lifetime}s", "--lifetime-stagger", "5s"],
        "interface": profile.interface or None,
        "local_directory": profile.scratch or None,
        "log_directory": str(logs),
        "scheduler_options": {"dashboard_address": ":0"},
    }
    if profile.python:
        keywords["python"] = profile.python
    return keywords | _OWN[profile.kind](profile)


def _of_jobs(keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if name != "scheduler_options"}


def _slurm(profile: SiteProfile) -> dict[str, Any]:
    gpus = [f"--gres=gpu:{profile.gpus}"] if profile.gpus else []
    return _queue(profile) | _account(profile) | {"job_extra_directives": [*gpus, *profile.options]}


def _pbs(profile: SiteProfile) -> dict[str, Any]:
    gpus = f":ngpus={profile.gpus}" if profile.gpus else ""
    spec = f"select=1:ncpus={profile.cores}:mem={profile.memory_bytes}b{gpus}"
    own = {
        "walltime": _hours(profile),
        "resource_spec": spec,
        "job_extra_directives": list(profile.options),
    }
    return _queue(profile) | _account(profile) | own


def _lsf(profile: SiteProfile) -> dict[str, Any]:
    gpus = [f"-gpu num={profile.gpus}"] if profile.gpus else []
    own = {
        "walltime": _hours(profile).rpartition(":")[0],  # LSF counts minutes
        "job_extra_directives": [*gpus, *profile.options],
    }
    return _queue(profile) | _account(profile, "project") | own


def _sge(profile: SiteProfile) -> dict[str, Any]:
    gpus = [f"-l gpu={profile.gpus}"] if profile.gpus else []
    own = {
        "walltime": _hours(profile),
        "job_extra_directives": [*gpus, *profile.options],
    }
    return _queue(profile) | _account(profile, "project") | own


def _htcondor(profile: SiteProfile) -> dict[str, Any]:
    directives = {"request_gpus": str(profile.gpus)} if profile.gpus else {}
    directives["+MaxRuntime"] = str(profile.walltime_s)
    if profile.partition:
        directives["+JobFlavour"] = f'"{profile.partition}"'
    if profile.account:
        directives["accounting_group"] = profile.account
    for option in profile.options:
        name, _, value = option.lstrip("-").partition("=")
        directives[name.strip()] = value.strip()
    return {"disk": "1GB", "job_extra_directives": directives}


_OWN = {"slurm": _slurm, "pbs": _pbs, "lsf": _lsf, "sge": _sge, "htcondor": _htcondor}


def _hours(profile: SiteProfile) -> str:
    """The walltime without days, which only Slurm knows."""
    seconds = profile.walltime_s
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _queue(profile: SiteProfile) -> dict[str, Any]:
    return {"queue": profile.partition or None, "walltime": profile.walltime}


def _account(profile: SiteProfile, name: str = "account") -> dict[str, Any]:
    return {name: profile.account or None}


def _close(cluster: Any) -> None:
    """End it; what Dask asserts last, that every job was submitted, is not so where one was refused."""
    with suppress(AssertionError):
        cluster.close()


async def _settled(cluster: Any) -> None:
    """Wait until jobs are submitted, and hear of it where they are not.

    Dask tells of that only whoever came first. A job that was refused is submitted once more when it is
    waited for.
    """
    await cluster._correct_state()  # to wait for the cluster itself would leave errors that nobody hears
    for job in list(cluster.workers.values()):
        await job
