"""A command -> jobs of a batch system that need nobody to watch them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skelkit.data.files import output_error
from skelkit.errors import ClusterError, ConfigError
from skelkit.pipelines.batch_script import Layout, batch_script, command_line, interruptible, parallel
from skelkit.pipelines.site_profile import SiteProfile

_PATIENCE_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A job."""

    path: Path
    text: str
    what: str
    """What it is, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job in the queue."""

    script: Script
    job: str
    """Its number."""


def count_inputs(inputs: Sequence[str]) -> int:
    """Videos among what `skelkit.video.find_sources` takes."""
    from skelkit.video import find_sources

    return len(find_sources(inputs))


def extraction(
    profile: SiteProfile, words: Sequence[str], *, inputs: Sequence[str], output: Path, shares: int
) -> list[Script]:
    """An array, one share of the videos a task, and a job that joins the shares and validates them.

    Args:
        profile: Of the site.
        words: ``extract ...``.
        inputs: Of the command.
        output: Of the command.
        shares: Tasks of the array.
    """
    folder, name = _folder(output), f"extract-{output.stem}"
    parts = (  # `shared_output` of all shares, as bash writes them
        f"{_quoted(output.with_name(output.stem))}-{{00000..{shares - 1:05d}}}-of-{shares:05d}"
        f"{shlex.quote(output.suffix)}"
    )
    first, second = folder / "extract.sbatch", folder / "join.sbatch"
    again = f"sbatch --dependency=afterany:$(sbatch --parsable {_quoted(first)}) {_quoted(second)}"
    of = [word for given in inputs for word in ("--of", given)]
    join = f"{command_line(profile, ['merge', str(output)])} {parts} {shlex.join([*of, '--overwrite'])}"
    validate = command_line(profile, ["validate", str(output)])
    return [
        Script(
            path=first,
            what=f"{shares} tasks, {min(shares, profile.workers.max)} at a time",
            text=batch_script(
                profile,
                Layout(tasks=shares, at_once=profile.workers.max),
                name=name,
                comment=[
                    f"{_shown(words)}: each task of this array does one share of the videos.",
                    "To do it again, with what is finished kept:",
                    f"  {again}",
                ],
                log=folder / "extract-%A_%a.log",
                body=interruptible(profile, command_line(profile, [*words, "--shard", "auto"]), shares=True),
                signal="B:",
            ),
        ),
        Script(
            path=second,
            what="then one job that joins and validates",
            text=batch_script(
                profile,
                Layout(gpus=False),
                name=f"join-{output.stem}",
                comment=[
                    f"Joins the {shares} shares of {_shown(words)}, once all are finished, and validates."
                ],
                log=folder / "join-%j.log",
                body=f"{join} || exit\n{validate}\n",
                signal=None,
            ),
        ),
    ]


def single(profile: SiteProfile, words: Sequence[str], *, output: Path) -> list[Script]:
    """One job that does a command and validates what it made."""
    folder, verb = _folder(output), words[0]
    validate = command_line(profile, ["validate", str(output)])
    work = interruptible(profile, command_line(profile, words), shares=False)
    return [
        Script(
            path=folder / f"{verb}.sbatch",
            what="one job that also validates",
            text=batch_script(
                profile,
                Layout(gpus=False),
                name=f"{verb}-{output.stem}",
                comment=[f"{_shown(words)}, and validate what comes out."],
                log=folder / f"{verb}-%j.log",
                body=work.replace("exit $code\n", f"[ $code -eq 0 ] || exit $code\n{validate}\n"),
                signal="B:",
            ),
        )
    ]


def training(
    profile: SiteProfile, words: Sequence[str], *, output: Path, nodes: int, devices: int
) -> list[Script]:
    """One job over nodes and devices; it takes a snapshot before its end, and goes on from there."""
    folder = _folder(output)
    return [
        Script(
            path=folder / "train.sbatch",
            what=f"{nodes * devices} processes on {nodes} node{'s' * (nodes > 1)}",
            text=batch_script(
                profile,
                Layout(nodes=nodes, workers_per_node=devices),
                name=f"train-{output.name}",
                comment=[f"{_shown(words)}: {nodes} x {devices} processes.", "Submitted again it goes on."],
                log=folder / "train-%j.log",
                body=parallel(command_line(profile, words)),
                signal="",
            ),
        )
    ]


def write(scripts: Sequence[Script]) -> None:
    """Put scripts on disk.

    Raises:
        OutputError: the operating system refuses.
    """
    for script in scripts:
        try:
            script.path.parent.mkdir(exist_ok=True)
            script.path.write_text(script.text, encoding="utf-8")
        except OSError as error:
            raise output_error(error, script.path) from error


def submit(scripts: Sequence[Script]) -> list[Submitted]:
    """Put jobs into the queue, each after the end of the one before.

    Raises:
        ClusterError: sbatch is absent, or refuses; then nothing stays in the queue.
    """
    done: list[Submitted] = []
    for script in scripts:
        after = [f"--dependency=afterany:{done[-1].job}"] if done else []
        try:
            said = _run(["sbatch", "--parsable", *after, str(script.path)])
        except ClusterError:
            for earlier in done:
                _run(["scancel", earlier.job])
            raise
        done.append(Submitted(script=script, job=said.strip().split(";")[0]))
    return done


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except FileNotFoundError as error:
        raise ClusterError(
            f"expected Slurm's {command[0]} on this machine, found none; submit from a login node of the "
            "cluster, or look at the script with --dry-run"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(
            f"{command[0]} has said nothing for {_PATIENCE_S} s; is Slurm's controller up (scontrol ping)?"
        ) from error
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise ClusterError(
            f"{shlex.join(command)} refused: {words}; adapt the site profile, or edit the script"
        )
    return done.stdout


def check_kind(profile: SiteProfile) -> None:
    """Raise ConfigError where scripts for this batch system are not to be had."""
    if profile.kind != "slurm":
        raise ConfigError(
            f"expected a site profile of kind 'slurm', got {profile.kind!r}; skelkit submit writes scripts "
            "for Slurm, elsewhere try --cluster"
        )


def _folder(output: Path) -> Path:
    return output.absolute().with_name(output.name + ".slurm")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _shown(words: Sequence[str]) -> str:
    """A command for one line of a comment."""
    return " ".join(shlex.join(["skelkit", *words]).split())
