"""The numbers of a dataset's report: totals, splits, classes, filters, visibility of joints, oddities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skelkit.report.facts import Column, DatasetFacts
from skelkit.structures import Float64

_FEW = 8
"""Names listed at most in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over some clips."""

    clips: int
    classes: int
    hours: float
    """Of the clips whose rate is known."""
    frames: int
    people: int
    """Summed over the clips."""
    poses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class."""

    label: str
    clips: int
    by_split: tuple[int, ...]
    """Clips of each split, in the order of `DatasetFacts.splits`."""
    frames: float
    """Median; like the means that follow NaN where there is nothing."""
    people: float
    presence: float
    confidence: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRow:
    """What a rule left and took."""

    rule: str
    limit: str
    clips_in: int
    dropped: int
    trimmed: str = ""
    """What was left out of clips that stayed, as a sentence."""

    @property
    def left(self) -> int:
        """Clips that passed."""
        return self.clips_in - self.dropped


def totals(facts: DatasetFacts, chosen: Column | slice = slice(None)) -> Totals:
    """Sums over all clips, or those chosen."""
    frames, fps = facts.num_frames[chosen].astype(np.int64), facts.fps[chosen]
    timed = fps > 0
    return Totals(
        clips=len(frames),
        classes=len(set(facts.label[chosen].tolist()) - {""}),
        hours=float((frames[timed] / fps[timed]).sum()) / 3600,
        frames=int(frames.sum()),
        people=int(facts.num_people[chosen].sum()),
        poses=int(facts.num_rows[chosen].sum()),
    )


def split_totals(facts: DatasetFacts) -> dict[str, Totals]:
    """Sums over every split."""
    return {split: totals(facts, facts.split == split) for split in facts.splits}


def class_rows(facts: DatasetFacts) -> list[ClassRow]:
    """Every class, the largest first; clips without a label are the class of the empty name."""
    splits = facts.splits
    table = pd.DataFrame(
        {
            "frames": facts.num_frames,
            "people": facts.num_people,
            "presence": facts.presence,
            "confidence": facts.mean_confidence,
            "score": facts.mean_score,
        }
    ).astype(float)
    groups = table.groupby(facts.label)
    measures = groups.mean()
    measures["frames"] = groups["frames"].median()
    counts = pd.crosstab(facts.label, facts.split) if len(facts) else pd.DataFrame()
    rows = [
        ClassRow(
            label=str(label),
            clips=int(sum(by_split)),
            by_split=tuple(int(n) for n in by_split),
            **{str(name): float(value) for name, value in measure.items()},
        )
        for label, by_split, measure in zip(
            measures.index,
            counts.reindex(index=measures.index, columns=splits).to_numpy(),
            measures.to_dict("records"),
            strict=True,
        )
    ]
    none = dict.fromkeys(measures.columns, np.nan)
    empty = sorted(set(facts.label_names) - set(measures.index))
    rows += [ClassRow(label=label, clips=0, by_split=(0,) * len(splits), **none) for label in empty]
    return sorted(rows, key=lambda row: (-row.clips, row.label))


def filter_rows(facts: DatasetFacts) -> list[FilterRow]:
    """Every rule, in the order in which they were applied."""
    return [
        FilterRow(
            rule=str(rule["rule"]),
            limit=_limit(rule.get("limit")),
            clips_in=int(rule["clips_in"]),
            dropped=int(rule["clips_dropped"]),
            trimmed=_trimmed(rule),
        )
        for rule in facts.filters
    ]


def _limit(limit: Any) -> str:
    """As people write it: ``dataset.json`` may hold any JSON."""
    if limit is None or limit is True:
        return ""
    return limit if isinstance(limit, str) else json.dumps(limit, ensure_ascii=False)


def _trimmed(rule: Mapping[str, Any]) -> str:
    """Of rules that leave out people or poses."""
    if not rule.get("clips_trimmed"):
        return ""
    counts = {what: int(rule.get(f"{what}_dropped", 0)) for what in ("people", "poses")}
    left_out = " and ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return f"{left_out} left out of {_clips(int(rule['clips_trimmed']))}."


def visibility(facts: DatasetFacts, groups: Column) -> dict[str, Float64]:
    """For every group of clips (groups is (N,) names) the share of its poses that have each of the K joints.

    NaN for groups without a pose.
    """
    weights = facts.num_rows.astype(float)[:, None]
    seen = np.where(weights > 0, np.nan_to_num(facts.joint_visibility) * weights, 0.0)
    codes, names = pd.factorize(groups, sort=True)
    sums = np.zeros((len(names), facts.skeleton.num_joints))
    np.add.at(sums, codes, seen)
    poses = np.bincount(codes, weights[:, 0], len(names))
    with np.errstate(invalid="ignore"):
        shares = sums / poses[:, None]
    return {str(name): share for name, share in zip(names, shares, strict=True)}


def oddities(facts: DatasetFacts, classes: Sequence[ClassRow]) -> list[str]:
    """What somebody who trains on the dataset would want to know first, as sentences."""
    found = []
    for status, what in (("failed", "Not decoded whole:"), ("no_person", "Without a person:")):
        if count := int((facts.status == status).sum()):
            found.append(f"{what} {_clips(count)}.")
    if count := int((facts.label == "").sum()):
        found.append(f"Without a label: {_clips(count)}.")
    labelled = [row for row in classes if row.label]
    if missing := [row.label for row in labelled if not row.clips]:
        found.append(f"No clip of {named(missing)}.")
    splits = facts.splits
    for number, split in enumerate(splits):
        gone = [row.label for row in labelled if row.clips and not row.by_split[number]]
        if gone:
            found.append(f"Split {shortened(split, 40)} has no clip of {named(gone)}.")
    sizes = [row.clips for row in labelled if row.clips]
    if len(sizes) > 1 and sizes[0] >= 10 * sizes[-1]:
        found.append(
            f"Unbalanced: {sizes[0]:,} clips of {named([labelled[0].label])}, but {sizes[-1]:,} of "
            f"{named([row.label for row in labelled if row.clips == sizes[-1]])}."
        )
    confidence = facts.mean_confidence[np.isfinite(facts.mean_confidence)]
    if low := int((confidence < facts.gamma).sum()):
        found.append(f"Of a mean confidence below gamma = {facts.gamma:g}: {_clips(low)}.")
    return found


def _clips(count: int) -> str:
    return f"{count:,} clip{'' if count == 1 else 's'}"


def named(names: Sequence[str]) -> str:
    """The names, or the first of them."""
    shown = ", ".join(f"“{shortened(name, 40)}”" for name in names[:_FEW])
    return shown + (f" and {len(names) - _FEW} other classes" if len(names) > _FEW else "")


def shortened(text: str, length: int) -> str:
    """Text of at most this length."""
    return text if len(text) <= length else text[: length - 1] + "…"
