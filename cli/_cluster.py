"""What commands that can work on a cluster share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ._errors import one_line

if TYPE_CHECKING:
    from skelkit.pipelines.cluster import Cluster

LOCAL = "local"
_PANEL = "Cluster"
Where = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="NAME",
        help="Where the work is done: local, or as a site profile says (slurm, pbs, lsf, sge, htcondor, "
        "FILE.toml); `skelkit cluster init` writes one.",
        rich_help_panel=_PANEL,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Join a running Dask cluster instead, such as tcp://head:8786.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]


def chosen(name: str, address: str | None, say: Callable[[str], None]) -> Cluster | None:
    """The cluster that the options mean, None for this machine; what happens on it is said."""
    if address is None and name == LOCAL:
        return None
    from skelkit.pipelines.cluster import choose_cluster

    return choose_cluster(name, address, _Narrator(say))


class _Narrator:
    """Says what a person wants to know of a cluster."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._there: set[str] = set()

    def __call__(self, event: str, **facts: Any) -> None:
        worker = facts.get("worker", "")
        if event == "ready":
            self._there.add(worker)
        elif event in {"left", "benched"}:
            self._there.discard(worker)
        text = self._text(event, facts)
        if text:
            self._say(escape(one_line(text)))

    def _text(self, event: str, facts: dict[str, Any]) -> str:
        there = f"{len(self._there)} there"
        if event == "left" and facts["expected"]:
            return ""
        return _TEXTS.get(event, "").format(there=there, **facts)


_TEXTS = {
    "dashboard": "dashboard: {address}",
    "asked": "asked for {workers} workers",
    "ended": "{count} jobs have ended: {why}",
    "refused": "jobs refused, asking again: {why}",
    "ready": "worker {worker} is ready ({there})",
    "left": "worker {worker} left: {why} ({there})",
    "benched": "worker {worker} gets no more work: {why}",
    "again": "trying {task} once more: {why}",
    "straggler": "{task} takes long: {seconds:.0f} s so far on {worker}",
}
