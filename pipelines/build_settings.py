"""What a build of a dataset is asked to do, checked before anything starts."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from skelkit.data.filters import FilterSettings
from skelkit.data.folder import check_plain
from skelkit.data.preparing import PEOPLE_BY
from skelkit.errors import ConfigError
from skelkit.registry import unknown
from skelkit.skeletons import get_skeleton

SAME_JOINTS = "same"
KEEP_SPLITS = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """Everything that shapes a dataset besides its inputs.

    Raises:
        ConfigError: a value outside its range.
    """

    name: str = "posetics"
    """Begins the names of the shards."""
    joints: str = "posetics17"
    """Joint set wanted, or ``same`` for that of the inputs."""
    gamma: float = 0.0
    """Poses with a confidence C below this are left out; 0 keeps all, with their C."""
    max_people: int | None = None
    """People kept per clip; None = all."""
    people_by: str = "presence"
    """Which people are kept: ``presence``, ``motion`` or ``size``."""
    filters: FilterSettings = field(default_factory=FilterSettings)
    """Which clips are kept."""
    labels: str | None = None
    """CSV file with the labels of clips; None = those that the shards have."""
    label_table: str | None = None
    """Table that merges labels (`skelkit.data.labels`); None = labels stay."""
    split: str = KEEP_SPLITS
    """See `skelkit.data.splits.assign`."""
    group: str = ""
    """See `skelkit.data.splits.assign`."""
    seed: int = 0
    """See `skelkit.data.splits.assign`."""
    target_mb: float = 64.0
    """Size of a shard in units of 10^6 bytes."""

    def __post_init__(self) -> None:
        """Check ranges and names."""
        check_plain(self.name, "a name for the dataset")
        if self.joints != SAME_JOINTS:
            get_skeleton(self.joints)
        problems = []
        if not 0 <= self.gamma <= 1:
            problems.append(f"gamma: expected 0 to 1, got {self.gamma}")
        if self.max_people is not None and self.max_people < 1:
            problems.append(f"max_people: expected at least 1, got {self.max_people}")
        if self.people_by not in PEOPLE_BY:
            problems.append(f"people_by: expected one of {', '.join(PEOPLE_BY)}, got {self.people_by!r}")
        if not 0 < self.target_mb < float("inf"):
            problems.append(f"target_mb: expected a size above 0, got {self.target_mb}")
        if problems:
            raise ConfigError("; ".join(problems))

    def recipe(self) -> dict[str, Any]:
        """As JSON can hold it; files by their name and content."""
        values = asdict(self)
        for name in ("labels", "label_table", "split", "group"):
            values[name] = _with_digest(values[name])
        return values

    @classmethod
    def of(cls, options: Mapping[str, Any], file: Path | None = None) -> BuildSettings:
        """Settings from options by name, over those of a TOML file; None = not given.

        Raises:
            ConfigError: the file cannot be read, has a name that is none, or a value of the wrong kind.
        """
        values = {**_from_toml(file), **{k: v for k, v in options.items() if v is not None}}
        for_filters = {f.name for f in fields(FilterSettings)}
        filters = FilterSettings(**{k: v for k, v in values.items() if k in for_filters})
        return cls(filters=filters, **{k: v for k, v in values.items() if k not in for_filters})


def _from_toml(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"expected settings as TOML in {file}, got: {error}") from error
    kinds = {f.name: f.type for kind in (BuildSettings, FilterSettings) for f in fields(kind)}
    del kinds["filters"]
    allowed: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "bool": (bool,),
        "int": (int,),
        "float": (float, int),
    }
    problems = []
    for name, value in values.items():
        kind = str(kinds.get(name, "")).removesuffix(" | None")
        if not kind:
            problems.append(unknown("setting", name, kinds))
        elif not isinstance(value, allowed[kind]) or (isinstance(value, bool) and kind != "bool"):
            problems.append(f"{name}: expected {kind}, got {value!r}")
    if problems:
        raise ConfigError(f"{file}: {'; '.join(problems)}")
    return values


def _with_digest(text: str | None) -> Any:
    """A setting that may name a file: what the file holds, since its name says little."""
    file = re.match(r".*\.csv", text or "")
    if file is None or not Path(file[0]).is_file():
        return text
    name = (text or "").replace(file[0], Path(file[0]).name)
    return {"file": name, "sha256": hashlib.sha256(Path(file[0]).read_bytes()).hexdigest()}
