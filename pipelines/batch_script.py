"""Scripts for sbatch, written to be read, edited and submitted again."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skelkit._version import __version__
from skelkit.pipelines.site_profile import SiteProfile

MOST_RESTARTS = 100
"""A job that was killed asks to go on unless it has been started so often."""
_GO_ON = """\
# {when}: stop, and go on in a new job of the same number.
again() {{
    trap '' USR1
    kill -TERM "$work" 2>/dev/null
    wait "$work"
    scontrol requeue "$SLURM_JOB_ID"
    exit
}}
trap again USR1

{work} &
work=$!
wait "$work"
code=$?
"""
_ENDED = """\
case $code in
{success}134 | 137 | 138 | 139) # killed, as for its memory: once more{note}
    [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most} ] && scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit $code
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a job takes of the cluster, beside what the profile says of a worker."""

    tasks: int = 0
    """Of the array; 0 = none."""
    at_once: int = 0
    """Tasks of the array that run at a time."""
    nodes: int = 1
    workers_per_node: int = 1
    gpus: bool = True
    """Whether it uses them."""


def command_line(profile: SiteProfile, words: Sequence[str]) -> str:
    """``skelkit WORDS`` as a node calls it."""
    here = Path(sys.executable).with_name("skelkit")
    if profile.python:
        program = f"{profile.python} -m skelkit.cli"
    elif here.exists():
        program = shlex.quote(str(here))
    else:
        program = f"{shlex.quote(sys.executable)} -m skelkit.cli"
    return f"{program} {shlex.join(words)}"


def batch_script(
    profile: SiteProfile,
    layout: Layout,
    *,
    name: str,
    comment: Sequence[str],
    log: Path,
    body: str,
    signal: str | None,
) -> str:
    """The text of a script.

    Args:
        profile: Of the site.
        layout: What it takes.
        name: Of the job.
        comment: What to say at the top.
        log: Where its words go, with Slurm's ``%A`` and ``%a``.
        body: What it does.
        signal: Whom to tell that the walltime ends: ``B:`` this script, empty the tasks that srun started,
            None nobody.
    """
    options = [
        f"--job-name={name}",
        f"--output={log}",
        "--open-mode=append",
        *([f"--array=0-{layout.tasks - 1}%{layout.at_once}"] if layout.tasks else []),
        *([f"--partition={profile.partition}"] if profile.partition else []),
        *([f"--account={profile.account}"] if profile.account else []),
        f"--time={profile.walltime}",
        *([f"--nodes={layout.nodes}"] if layout.nodes > 1 else []),
        *(
            [f"--ntasks-per-node={layout.workers_per_node}"]
            if layout.nodes * layout.workers_per_node > 1
            else []
        ),
        f"--cpus-per-task={profile.cores}",
        f"--mem={-(-profile.memory_bytes * layout.workers_per_node // 2**20)}M",
        *([f"--gres=gpu:{profile.gpus * layout.workers_per_node}"] if layout.gpus and profile.gpus else []),
        "--requeue",
        *([f"--signal={signal}USR1@{profile.notice}"] if signal is not None else []),
        *profile.options,
    ]
    options = [f'"{option}"' if any(map(str.isspace, option)) else option for option in options]
    variables = {key: value for key, value in sorted(os.environ.items()) if key.startswith("SKELKIT_")}
    setting = [
        f"cd {shlex.quote(str(Path.cwd()))} || exit",
        *(f"export {key}={shlex.quote(value)}" for key, value in variables.items()),
        *([f'export TMPDIR="{profile.scratch}"', 'mkdir -p "$TMPDIR"'] if profile.scratch else []),
        *profile.environment,
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"# {line}" for line in comment),
            f"# Written by skelkit {__version__}; edit it as you like.",
            *(f"#SBATCH {option}" for option in options),
            "",
            *setting,
            "",
            body,
        ]
    )


def interruptible(profile: SiteProfile, work: str, *, shares: bool) -> str:
    """A body that does `work`, stops it before the walltime ends and asks to go on later.

    Args:
        profile: Of the site.
        work: A command that goes on where it stopped.
        shares: It is an extraction: exit code 1 says that some inputs failed, as its report tells.
    """
    when = f"{profile.notice} s before the walltime ends Slurm sends SIGUSR1"
    return _GO_ON.format(when=when, work=work) + _ended(shares=shares)


def parallel(work: str) -> str:
    """A body that does `work` in every task; it hears the signal itself, and asks to go on later."""
    return f"srun --wait=0 {work}\ncode=$?\n{_ended(shares=False)}"


def _ended(*, shares: bool) -> str:
    return _ENDED.format(
        success="1) code=0 ;; # some inputs failed or are damaged, as the report tells; the rest is there\n"
        * shares,
        note="; a video that does it twice is set aside" * shares,
        most=MOST_RESTARTS,
    )
