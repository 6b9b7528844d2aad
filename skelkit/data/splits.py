"""Which clips go where: from a file, by ratio, by group, or by a published protocol."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skelkit.data.folder import check_plain
from skelkit.data.split_protocols import PROTOCOLS, by_protocol
from skelkit.data.tables import listed, lookup, read_by_clip
from skelkit.errors import ConfigError
from skelkit.registry import unknown

Columns = Mapping[str, npt.NDArray[np.object_]]
"""``video_id``, ``label``, ``split``, ``source``, ``sha256`` of all clips, as text."""

PENN = "penn"


def assign(how: str, columns: Columns, *, group: str = "", seed: int = 0) -> list[str]:
    """The split of every clip; ``""`` for a clip that is in none.

    Args:
        how: ``keep`` (what the clips say); ratios such as ``train=0.8,val=0.1,test=0.1``; a CSV file with the
            columns video_id and split; a name of `PROTOCOLS`; or ``penn:FOLDER`` with Penn Action's folder
            ``labels`` (one .mat per clip, whose field ``train`` is 1 or -1).
        columns: What is known of the clips.
        group: With ratios, what no two splits may share: ``source``, ``sha256``, a regular expression whose
            first group (or whole match) in the clip's name is taken, or ``FILE.csv:COLUMN``.
        seed: With ratios.

    Raises:
        ConfigError: it does not fit the clips; names that do not are told.
    """
    names: list[str] = columns["video_id"].tolist()
    if group and "=" not in how:
        raise ConfigError(f"group {group!r}: expected ratios to split by, got {how!r}; groups need ratios")
    if how == "keep":
        return columns["split"].tolist()  # type: ignore[no-any-return]
    if how in PROTOCOLS:
        return by_protocol(how, names)
    if how.partition(":")[0] == PENN:
        return _penn(Path(how.partition(":")[2]), names)
    if how.endswith(".csv"):
        return _from_file(Path(how), names)
    if "=" in how:
        ratios = parse_ratios(how)
        groups = group_of(group, columns) if group else names
        return by_ratio(ratios, columns["label"].tolist(), groups, seed=seed)
    raise ConfigError(
        f"{unknown('split', how, ['keep', PENN, *PROTOCOLS])}; or give ratios (train=0.9,val=0.1) or a CSV "
        "file"
    )


def parse_ratios(text: str) -> dict[str, float]:
    """``train=0.8,val=0.2`` as shares that add up to 1.

    Raises:
        ConfigError: not such a text.
    """
    ratios: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 < share < np.inf or name.strip() in ratios:
            raise ConfigError(
                f"split: expected NAME=SHARE,... with shares above 0, such as train=0.9,val=0.1, got {text!r}"
            )
        ratios[check_plain(name.strip(), "a split")] = share
    total = sum(ratios.values())
    if abs(total - 1) > 1e-6:
        raise ConfigError(f"split: expected shares that add up to 1, got {total:g} in {text!r}")
    return ratios


def by_ratio(
    ratios: Mapping[str, float], labels: Sequence[str], groups: Sequence[str], *, seed: int = 0
) -> list[str]:
    """Splits of these shares, of every label as near as can be; a group goes to one split as a whole.

    Groups are taken the largest first, equal ones in an order that depends on the seed and their names
    alone. Each goes to the split that lacks most of its labels, relative to its share.

    Args:
        ratios: Split -> share; they add up to 1.
        labels: (n,) of the clips.
        groups: (n,) of the clips; all different = every clip for itself.
        seed: Another seed is another split.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    shares = np.asarray(list(ratios.values()))
    number = {label: k for k, label in enumerate(sorted(set(labels)))}
    label_numbers = np.asarray([number[label] for label in labels], np.int64)
    wanted = shares[:, None] * np.bincount(label_numbers, minlength=len(number))  # (splits, labels)
    have = np.zeros_like(wanted)
    splits = [""] * len(labels)
    for group in sorted(members, key=lambda g: (-len(members[g]), _shuffled(g, seed), g)):
        kinds, counts = np.unique(label_numbers[members[group]], return_counts=True)
        lack = ((wanted[:, kinds] - have[:, kinds]) * counts).sum(axis=1)
        best = int(np.argmax(np.round(lack, 9)))  # as many as are missing; among equals the first
        have[best, kinds] += counts
        for i in members[group]:
            splits[i] = list(ratios)[best]
    return splits


def group_of(how: str, columns: Columns) -> list[str]:
    """The group of every clip, see `assign`.

    Raises:
        ConfigError: clips without a group; they are told.
    """
    names: list[str] = columns["video_id"].tolist()
    if how in {"source", "sha256"}:
        values: list[str | None] = columns[how].tolist()
    elif (file := re.fullmatch(r"(.+\.csv):(\w+)", how)) is not None:
        values = lookup(read_by_clip(Path(file[1]), file[2]), names)
    else:
        values = [_matched(_compiled(how), name) for name in names]
    if bad := [name for name, value in zip(names, values, strict=True) if not value]:
        raise ConfigError(
            f"group {how!r}: expected a group for every clip, got none for {len(bad)}: {listed(bad)}"
        )
    return [value or "" for value in values]


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(
            f"group: expected source, sha256, FILE.csv:COLUMN or a regular expression, got {text!r} ({error})"
        ) from error


def _matched(pattern: re.Pattern[str], name: str) -> str | None:
    match = pattern.search(name)
    return None if match is None else match[1] if pattern.groups else match[0]


def _shuffled(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest()


def _from_file(path: Path, names: Sequence[str]) -> list[str]:
    found = lookup(read_by_clip(path, "split"), names)
    if names and not any(found):
        raise ConfigError(
            f"{path}: expected the splits of these clips, got none of their names; the first is {names[0]!r}",
            path=path,
        )
    return [check_plain(split, "a split") if split else "" for split in found]


def _penn(folder: Path, names: Sequence[str]) -> list[str]:
    """Penn Action (Zhang et al., ICCV 2013): its 1258 / 1068 clips are told apart in its labels only."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    files = [folder / f"{name.rpartition('/')[2]}.mat" for name in names]
    if bad := [name for name, file in zip(names, files, strict=True) if not file.is_file()]:
        raise ConfigError(
            f"split penn:{folder}: expected Penn Action's folder labels with a .mat for every clip, got none "
            f"for {len(bad)}: {listed(bad)}"
        )
    splits = []
    for file in files:
        try:
            value = int(loadmat(file, variable_names=["train"])["train"].item())
        except (OSError, KeyError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
            raise ConfigError(
                f"{file}: expected a label of Penn Action with a field train, got {error}"
            ) from error
        splits.append("train" if value == 1 else "test")
    return splits


def leaks(splits: Sequence[str], groups: Sequence[str]) -> dict[str, Counter[str]]:
    """Groups that more than one split has, and their clips in each; the empty group is none."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for split, group in zip(splits, groups, strict=True):
        if group:
            seen[group][split] += 1
    return {group: counts for group, counts in seen.items() if len(counts) > 1}
