"""Workers on other machines for the jobs that have many independent tasks: `run` stands in for `workers.run`.

Nothing is started before there is something to do, so that a command that is refused submits no jobs.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from skelkit.data.files import output_error
from skelkit.errors import ClusterError, ConfigError, MissingExtraError, OutputError
from skelkit.pipelines.cluster_worker import Order
from skelkit.pipelines.dask_executor import DaskExecutor, Farm
from skelkit.pipelines.event_log import EventLog, log_path
from skelkit.pipelines.job_farm import start_jobs
from skelkit.pipelines.scheduling import Observer, Scheduling
from skelkit.pipelines.site_profile import SiteProfile, profile_path, read_profile, template
from skelkit.pipelines.workers import Event, Job

if TYPE_CHECKING:
    from distributed import Client

Task = TypeVar("Task")

LOCAL = "local"
"""Name of this machine among the places where work can be done."""
_CONNECT_S = 20.0
_LATE_S = 60.0
"""Network file systems remember for so long that there was no such file."""


@dataclass(slots=True, kw_only=True, eq=False)
class Cluster:
    """Where a job's tasks are done.

    Args:
        profile: Submit jobs as it says; None = join the scheduler at `address`.
        address: Of a running Dask scheduler.
        watch: Told everything that happens.
    """

    profile: SiteProfile | None = None
    address: str = ""
    watch: Observer = lambda event, **facts: None
    _stack: ExitStack = field(init=False, default_factory=ExitStack)
    _log: EventLog | None = field(init=False, default=None)
    _jobs: Path = field(init=False, default=Path())
    _client: Client | None = field(init=False, default=None)
    _farm: Farm | None = field(init=False, default=None)

    @contextmanager
    def recording(self, job: str, output: Path) -> Iterator[None]:
        """Everything that happens goes into the log beside this output, too; at the end workers go.

        Args:
            job: Its name.
            output: What is made.
        """
        self._jobs = output.absolute().with_name(output.name + ".jobs")
        with EventLog(log_path(output)) as log:
            log.begin(job, output)
            self._log = log
            try:
                yield
            finally:
                self._stack.close()
                self._client = self._farm = self._log = None
        shutil.rmtree(self._jobs, ignore_errors=True)  # of interest only where something went wrong

    def run(
        self,
        stage: str,
        make_job: Callable[..., Job],
        arguments: tuple[Any, ...],
        tasks: Sequence[Task],
        *,
        kept: int = 0,
        makes: Callable[[Task], Path],
        measure: Callable[[Sequence[Task]], Sequence[float]],
        name: Callable[[Task], str],
        outcome: Callable[[Any], dict[str, Any]] = lambda data: {},
    ) -> Generator[Event[Task], None, None]:
        """Do all tasks, those that take longest first; within `recording`.

        Args:
            stage: What is done.
            make_job: As for `workers.run`.
            arguments: As for `workers.run`.
            tasks: As for `workers.run`.
            kept: Tasks that an earlier run has done, for the log.
            makes: The file that is there when a task is done.
            measure: How long each task will take, in any unit.
            name: What a task is called in the log.
            outcome: What of a result goes into the log.

        Yields:
            As `workers.run`.

        Raises:
            ClusterError: there are no workers to be had, or the scheduler was lost.
            SkelkitError: no worker can do it.
        """
        self._note("stage", name=stage, total=kept + len(tasks), kept=kept)
        if not tasks or self._log is None:
            return
        client = self._connected(len(tasks))
        costs = measure(tasks)
        order = sorted(range(len(tasks)), key=lambda i: -costs[i])
        wanted = Order.of(f"skelkit-{secrets.token_hex(8)}", make_job, arguments, self._log.path)
        with DaskExecutor(client=client, order=wanted, farm=self._farm) as executor:
            scheduling = Scheduling(
                executor=executor,
                tasks=[tasks[i] for i in order],
                costs=[costs[i] for i in order],
                name=name,
                outcome=outcome,
                observe=self._note,
            )
            with closing(scheduling.run()) as events:
                yield from events
        _settle(map(makes, tasks))

    def _connected(self, tasks: int) -> Client:
        """The client; starts the cluster the first time."""
        if self._client is None:
            client_class = _client_class()
            address = self.address
            if self.profile is not None:
                address, self._farm = start_jobs(self.profile, self._jobs, self._stack, self._note)
                self._farm.want(tasks)
            try:
                self._client = client_class(address, timeout=_CONNECT_S, set_as_default=False)
            except (OSError, ValueError) as error:
                raise ClusterError(
                    f"expected a Dask scheduler at {address}, found none ({error}); try checking the address "
                    "and whether it is running",
                    address=address,
                ) from error
            self._stack.callback(self._client.close)
            self._note("dashboard", address=self._client.dashboard_link)
        return self._client

    def _note(self, event: str, **facts: Any) -> None:
        if self._log is not None:
            self._log.write(event, **facts)
        self.watch(event, **facts)


def choose_cluster(
    name: str, address: str | None, watch: Observer = lambda event, **facts: None
) -> Cluster | None:
    """The cluster that a user means, None for this machine; nothing is started yet.

    Args:
        name: ``local``, or a site profile (`read_profile`).
        address: Of a running Dask scheduler.
        watch: Told everything that happens.

    Raises:
        ConfigError: both are named, there is no such profile, or it is wrong.
        MissingExtraError: Dask is not installed.
    """
    if address is None and name == LOCAL:
        return None
    if address is not None and name != LOCAL:
        raise ConfigError(
            f"expected --cluster or --scheduler, got both ({name}, {address}); give one of them"
        )
    cluster = Cluster(profile=None if address else read_profile(name), address=address or "", watch=watch)
    _client_class()
    return cluster


def init_profile(kind: str, file: Path | None, *, overwrite: bool) -> Path:
    """Write a site profile to fill in; where it is.

    Args:
        kind: Of batch system.
        file: By default the one that `read_profile` finds under the name of the kind.
        overwrite: Replace one that is there.

    Raises:
        ConfigError: an unknown kind, or there is a file.
        OutputError: it cannot be written.
    """
    text, path = template(kind), file or profile_path(kind)
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists; choose another name, or replace it with --overwrite", path=path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise output_error(error, path) from error
    return path


def _settle(paths: Iterable[Path]) -> None:
    """Wait until what other machines wrote is seen here: shared file systems may show it late.

    Raises:
        OutputError: it does not appear.
    """
    end, missing = time.monotonic() + _LATE_S, list(paths)
    while missing := [path for path in missing if not path.exists()]:
        if time.monotonic() > end:
            raise OutputError(
                f"expected {missing[0]} (and {len(missing) - 1} more), which a worker said it wrote; is it "
                "the same folder on all machines?",
                path=missing[0],
            )
        time.sleep(0.5)
        for folder in {path.parent for path in missing}:
            list(folder.iterdir())  # makes a network file system look again


def _client_class() -> Any:
    """Dask's client, told to be quiet.

    Raises:
        MissingExtraError: Dask is not installed.
    """
    try:
        import dask
        from distributed import Client

        if find_spec("dask_jobqueue") is None:  # tells at once what will be needed
            raise ImportError("No module named 'dask_jobqueue'")
    except ImportError as error:
        raise MissingExtraError(
            f"clusters need Dask, which is not installed ({error}); try: pip install 'skelkit[cluster]'",
            extra="cluster",
        ) from error
    for name in list(logging.root.manager.loggerDict):  # each has a level of its own
        if name.partition(".")[0] in {"distributed", "dask_jobqueue", "tornado"}:
            logging.getLogger(name).setLevel(logging.CRITICAL)
    # A job whose worker died starts another one by itself, which may take long to load: give it that time
    # before the job is cancelled, and stands in the queue again.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "60s"})
    return Client
