"""What a site wants to know of jobs: partition, account, walltime ..., in a small TOML file of the user's."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator
from pydantic import model_validator as check_together

from skelkit.errors import ConfigError
from skelkit.registry import unknown

Kind = Literal["slurm", "pbs", "lsf", "sge", "htcondor"]
KINDS: tuple[str, ...] = get_args(Kind)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", re.IGNORECASE)
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d{1,3}):([0-5]?\d):([0-5]?\d)")
_LINE = r"^[^\n\r]*$"
Word = Annotated[str, StringConstraints(pattern=r"^\S*$")]
Line = Annotated[str, StringConstraints(pattern=_LINE, min_length=1)]


class Workers(BaseModel):
    """As many workers as there is work for, within limits; a fixed number where these are one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: int = Field(default=0, ge=0)
    max: int = Field(ge=1)

    @check_together(mode="after")
    def _ascend(self) -> Workers:
        if self.min > self.max:
            raise ValueError(f"expected min <= max, got {self.min} and {self.max}")
        return self


class SiteProfile(BaseModel):
    """One worker's job, and how many of them; no key that is not known here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    """The batch system."""
    partition: Word = ""
    """Partition or queue; empty = the site's default."""
    account: Word = ""
    """What the time is charged to; empty = the user's default."""
    walltime: str = "08:00:00"
    """Longest time of a job, ``HH:MM:SS`` or ``D-HH:MM:SS``."""
    cores: int = Field(default=4, ge=1)
    """Of a worker."""
    memory: str = "16G"
    """Of a worker; K, M, G and T are powers of 1024."""
    gpus: int = Field(default=0, ge=0)
    """Of a worker."""
    workers: Workers = Workers(min=4, max=4)
    """How many at a time: a number, or ``{ min = 0, max = 32 }``."""
    environment: tuple[Line, ...] = ()
    """Shell lines before the work begins: modules, conda ..."""
    options: tuple[Annotated[str, StringConstraints(pattern=r"^-\S[^\n\r]*$")], ...] = ()
    """More options of the submitting command, such as ``--constraint=a100``."""
    notice: int = Field(default=120, ge=1)
    """Seconds before the end of its walltime in which a job stops by itself and asks to go on later."""
    python: str = Field(default="", pattern=_LINE)
    """Command that is a Python with skelkit on the nodes; empty = the one that submits."""
    interface: Word = ""
    """Network interface that workers and scheduler of a Dask cluster talk over, such as ``ib0``."""
    scratch: str = Field(default="", pattern=_LINE)
    """Folder on a node's own disk for temporary files; empty = the system's."""

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_limits(cls, value: object) -> object:
        return {"min": value, "max": value} if isinstance(value, int) else value

    @field_validator("walltime")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        if not (found := _WALLTIME.fullmatch(text)) or not any(int(n or 0) for n in found.groups()):
            raise ValueError(f"expected HH:MM:SS or D-HH:MM:SS, got {text!r}")
        return text

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, text: str) -> str:
        if not (found := _MEMORY.fullmatch(text.strip())) or float(found[1]) == 0:
            raise ValueError(f"expected a number with K, M, G or T, such as 16G, got {text!r}")
        return text

    @check_together(mode="after")
    def _leaves_time_to_work(self) -> SiteProfile:
        if self.notice * 2 > self.walltime_s:
            raise ValueError(
                f"notice: expected at most half of the walltime ({self.walltime}), got {self.notice} s"
            )
        return self

    @property
    def walltime_s(self) -> int:
        """Seconds."""
        found = _WALLTIME.fullmatch(self.walltime)
        days, hours, minutes, seconds = (int(n or 0) for n in found.groups()) if found else (0, 0, 0, 0)
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def memory_bytes(self) -> int:
        """Bytes."""
        found = _MEMORY.fullmatch(self.memory.strip())
        return round(float(found[1]) * _UNITS[found[2].upper()]) if found else 0


def profile_folder() -> Path:
    """Where profiles are looked for by name."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "skelkit" / "clusters"


def profile_path(name: str) -> Path:
    """The file of a profile.

    Args:
        name: A TOML file, or the name of one in `profile_folder`, such as ``slurm``.
    """
    return Path(name) if name.endswith(".toml") or os.sep in name else profile_folder() / f"{name}.toml"


def read_profile(name: str) -> SiteProfile:
    """A profile, checked.

    Args:
        name: See `profile_path`.

    Raises:
        ConfigError: no such file, not TOML, or wrong values: all of them, in ``fields["problems"]``.
    """
    path = profile_path(name)
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        there = ", ".join(sorted(p.stem for p in profile_folder().glob("*.toml")))
        raise ConfigError(
            f"expected a site profile at {path}, found none{f' (there are {there})' if there else ''}; write "
            f"one with `skelkit cluster init {name if name in KINDS else 'slurm'}`",
            path=path,
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the site profile {path}: {error}", path=path) from error
    try:
        return SiteProfile.model_validate(values)
    except ValidationError as error:
        problems = tuple(map(_sentence, map(dict, error.errors(include_url=False))))
        where = f"site profile {path}"
        raise ConfigError(f"{where}: {'; '.join(problems)}", problems=problems, where=where) from error


def template(kind: str) -> str:
    """A profile to fill in: every key with what it means.

    Raises:
        ConfigError: an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(unknown("kind of cluster", kind, KINDS))
    return _TEMPLATE.format(kind=kind)


def _sentence(problem: dict[str, Any]) -> str:
    place = [str(part) for part in problem["loc"]]
    name, message = ".".join(place), str(problem["msg"])
    if problem["type"] == "extra_forbidden":
        known = Workers.model_fields if place[:-1] == ["workers"] else SiteProfile.model_fields
        return f"{name}: {unknown('key', place[-1], known)}"
    if problem["type"] == "value_error":
        message = message.removeprefix("Value error, ")
        return f"{name}: {message}" if name else message
    got = "" if problem["type"] == "missing" else f", got {problem.get('input')!r}"
    return f"{name}: {message[:1].lower()}{message[1:]}{got}"


_TEMPLATE = """\
# Site profile of skelkit, for --cluster and for `skelkit submit`. Lines that begin with # are defaults.

kind = "{kind}"

# Partition or queue, and what the time is charged to; empty = your defaults at this site.
#partition = ""
#account = ""

# One worker's job. A job that comes to the end of its walltime goes on in a new one.
#walltime = "08:00:00"
#cores = 4
#memory = "16G"
#gpus = 0

# How many workers at a time; or between limits, as there is work: {{ min = 0, max = 32 }}
#workers = 4

# Shell lines before the work begins.
#environment = ["module load cuda", "export SKELKIT_WEIGHTS=/shared/weights"]

# More options of the submitting command.
#options = ["--constraint=a100"]

# Seconds before the end of its walltime in which a job stops by itself and asks to go on later.
#notice = 120

# A Python with skelkit on the nodes, where it is not the one that submits; may be a command with arguments.
#python = "apptainer exec --nv /shared/skelkit.sif python"

# For --cluster: the network interface that workers and scheduler talk over.
#interface = "ib0"

# Folder on a node's own disk for temporary files.
#scratch = "/local/$USER"
"""
