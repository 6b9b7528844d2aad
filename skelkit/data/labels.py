"""Tables that merge labels: source label -> target label, with a reason, checked as a whole.

A table is a CSV file with the header ``source,target,reason`` and one line per source label; a label that
stays maps to itself. Lines that begin with # are comments.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from skelkit.data.tables import listed, read_csv, read_text
from skelkit.errors import ConfigError
from skelkit.registry import unknown

_FOLDER = "label_tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """A table that has passed all checks."""

    name: str
    targets: dict[str, str]
    """Source label -> target label."""

    @property
    def names(self) -> tuple[str, ...]:
        """Target labels by number: in alphabetical order."""
        return tuple(sorted(set(self.targets.values())))

    def merge(self, labels: Iterable[str]) -> list[str]:
        """The target of every label; an empty label stays empty.

        Raises:
            ConfigError: labels that the table does not have, with the nearest that it has.
        """
        wanted = list(labels)
        unknown_labels = sorted(set(wanted) - self.targets.keys() - {""})
        if unknown_labels:
            raise ConfigError(
                f"label table {self.name}: expected labels that it has, got "
                + listed([unknown("label", label, self.targets) for label in unknown_labels])
            )
        return [self.targets.get(label, "") for label in wanted]


def label_tables() -> list[str]:
    """Names of the tables that come with skelkit."""
    folder = resources.files("skelkit.data") / _FOLDER
    return sorted(file.name.removesuffix(".csv") for file in folder.iterdir() if file.name.endswith(".csv"))


def load_label_table(name: str) -> LabelTable:
    """A table by the name of one of ours (`label_tables`), or by the path of a CSV file.

    Raises:
        ConfigError: no such table, or one with problems; all of them are named.
    """
    if name in label_tables():
        text = (resources.files("skelkit.data") / _FOLDER / f"{name}.csv").read_text(encoding="utf-8")
    elif Path(name).suffix or Path(name).is_file():
        text = read_text(Path(name))
    else:
        raise ConfigError(f"{unknown('label table', name, label_tables())}; or name a CSV file")
    return _checked(text, name)


def _checked(text: str, name: str) -> LabelTable:
    targets: dict[str, str] = {}
    problems = []
    for number, row in read_csv(text, name, "source", "target"):
        source, target = row["source"], row["target"]
        if not source or not target:
            problems.append(f"line {number}: empty {'target' if source else 'source'}")
        elif source in targets:
            problems.append(f"line {number}: {source!r} is there twice")
        else:
            targets[source] = target
    problems += _chains(targets) + _spellings(targets)
    if not targets:
        problems.append("no line with a source and a target")
    if problems:
        raise ConfigError(f"label table {name} has problems ({len(problems)}): {listed(problems)}")
    return LabelTable(name=name, targets=targets)


def _chains(targets: dict[str, str]) -> list[str]:
    """A target that is itself sent elsewhere: the table would have to be applied twice, or for ever."""
    return [
        f"{source!r} becomes {target!r}, which becomes {targets[target]!r}"
        + (" again: a cycle" if targets[target] == source else "; name the last one")
        for source, target in targets.items()
        if targets.get(target, target) != target
    ]


def _spellings(targets: dict[str, str]) -> list[str]:
    """Names that are likely meant to be one."""
    names = sorted({*targets, *targets.values()})
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        words = re.findall(r"\w+", name.casefold())
        alike["".join(word.removesuffix("s") for word in words)].append(name)
    problems = [
        f"{' and '.join(map(repr, group))} are spelled nearly alike"
        for group in alike.values()
        if len(group) > 1
    ]
    told = {name for group in alike.values() if len(group) > 1 for name in group}
    for target in sorted(set(targets.values()) - targets.keys() - told):
        for near in difflib.get_close_matches(
            target, [n for n in names if n not in {target, *told}], n=1, cutoff=0.8
        ):
            edits = (1 - difflib.SequenceMatcher(None, target, near).ratio()) * (len(target) + len(near))
            if edits < 2.5:  # one letter changed, or two more or fewer
                problems.append(f"target {target!r} is no source, but {near!r} is nearly the same: a typo?")
    return problems
