"""The numbers of a run's report: classes, confusions, mistakes, oddities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from skelkit.report.run_facts import RunFacts, SplitResult
from skelkit.report.tables import named
from skelkit.structures import Bool, Int64

ALL_IN_A_TABLE = 30
"""Classes up to which all stand in the table of confusions."""
_SOME_IN_A_TABLE = 24
"""Classes that stand in it where there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How a class was recognised."""

    label: str
    clips: int
    right: int
    share: float
    """NaN without clips."""
    train_clips: int | None
    taken_for: str
    """The class it was taken for most often; empty = none."""
    taken: int
    """How often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """A class taken for another, and the other way round."""

    true: str
    predicted: str
    count: int
    of: int
    back: int
    back_of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusionTable:
    """Counts of some classes: rows true, columns predicted."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    others: tuple[int, ...]
    """Of each row, what was taken for classes that are not in the table."""
    totals: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A clip that was taken for another class."""

    video_id: str
    true: str
    predicted: str
    probability: float


def class_scores(facts: RunFacts, result: SplitResult) -> list[ClassScore]:
    """Every class, the worst first; those without clips last."""
    wrong = _wrong(result.confusion)
    most = wrong.argmax(axis=1)
    rows = [
        ClassScore(
            label=label,
            clips=int(result.confusion[i].sum()),
            right=int(result.confusion[i, i]),
            share=float(result.per_class[i]),
            train_clips=facts.train_clips.get(label, 0) if facts.train_clips else None,
            taken_for=facts.class_names[most[i]] if wrong[i, most[i]] else "",
            taken=int(wrong[i, most[i]]),
        )
        for i, label in enumerate(facts.class_names)
    ]
    return sorted(rows, key=lambda r: (not r.clips, r.share if r.clips else 0.0, -r.clips, r.label))


def hardest_confusions(facts: RunFacts, result: SplitResult, count: int = 12) -> list[Confusion]:
    """Pairs of classes, the hardest first: many clips of a class, and a large share of its clips."""
    total = result.confusion.sum(axis=1)
    wrong = _wrong(result.confusion)
    weight = wrong * (wrong / np.maximum(total, 1)[:, None])
    order = np.argsort(-weight, axis=None, kind="stable")
    found: list[Confusion] = []
    seen: set[frozenset[int]] = set()
    for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if not wrong[i, j] or len(found) == count:
            break
        if (pair := frozenset((int(i), int(j)))) in seen:
            continue
        seen.add(pair)
        names = facts.class_names
        found.append(
            Confusion(
                true=names[i],
                predicted=names[j],
                count=int(wrong[i, j]),
                of=int(total[i]),
                back=int(wrong[j, i]),
                back_of=int(total[j]),
            )
        )
    return found


def confusion_table(facts: RunFacts, result: SplitResult) -> ConfusionTable:
    """All classes where they are few, else those that take part in the hardest confusions."""
    names = facts.class_names
    chosen = [int(i) for i in similar_order(result.confusion)]
    if len(names) > ALL_IN_A_TABLE:
        number = {name: i for i, name in enumerate(names)}
        hard: dict[int, None] = {}
        for pair in hardest_confusions(facts, result, _SOME_IN_A_TABLE):
            hard |= dict.fromkeys((number[pair.true], number[pair.predicted]))
        few = set(list(hard)[:_SOME_IN_A_TABLE])
        chosen = [i for i in chosen if i in few]
    totals = result.confusion.sum(axis=1)
    inside = result.confusion[np.ix_(chosen, chosen)]
    return ConfusionTable(
        labels=tuple(names[i] for i in chosen),
        counts=tuple(map(tuple, inside.tolist())),
        others=tuple((totals[chosen] - inside.sum(axis=1)).tolist()),
        totals=tuple(totals[chosen].tolist()),
    )


def similar_order(confusion: Int64) -> Int64:
    """Classes in an order in which those taken for each other stand near each other."""
    if len(confusion) < 3:
        return np.arange(len(confusion))
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    alike = np.minimum(shares + shares.T, 1)
    away = 1 - alike
    np.fill_diagonal(away, 0)
    tree = linkage(
        squareform(away, checks=False), "average", optimal_ordering=len(confusion) <= ALL_IN_A_TABLE
    )
    return np.asarray(leaves_list(tree), np.int64)


def surest_mistakes(facts: RunFacts, result: SplitResult, count: int = 6) -> list[Mistake]:
    """Clips taken for another class with the highest probability."""
    predicted = result.probabilities.argmax(axis=1) if result.clips else result.labels
    wrong = np.flatnonzero(predicted != result.labels)
    sure = result.probabilities[wrong, predicted[wrong]]
    return [
        Mistake(
            video_id=result.video_ids[i],
            true=facts.class_names[result.labels[i]],
            predicted=facts.class_names[predicted[i]],
            probability=float(result.probabilities[i, predicted[i]]),
        )
        for i in wrong[np.argsort(-sure, kind="stable")[:count]]
    ]


def run_oddities(facts: RunFacts) -> list[str]:
    """What somebody who judges the run would want to know first, as sentences."""
    found = []
    epochs = facts.whole_epochs
    if not facts.finished:
        found.append(f"Not finished: {len(epochs)} of {facts.epochs} epochs; the same call of train goes on.")
    if facts.curves and not all(np.isfinite(v) for point in facts.curves for v in point.values()):
        found.append("The loss is not finite everywhere: the training has diverged; a lower rate may help.")
    if epochs and "val_top1" not in epochs[-1]:
        found.append("Trained without a validation part: the curves tell nothing of clips not learnt from.")
    elif epochs:
        best = max(epochs, key=lambda point: point.get("val_top1", 0.0))
        lost = best["val_top1"] - epochs[-1]["val_top1"]
        if lost > 0.02:
            found.append(
                f"Best on the validation part after epoch {best['epoch'] + 1:.0f} "
                f"({best['val_top1']:.1%}), {100 * lost:.1f} points above the last epoch."
            )
    for result in facts.results:
        found += _oddities_of(facts, result)
    return found


def _oddities_of(facts: RunFacts, result: SplitResult) -> list[str]:
    found = []
    total, predicted = result.confusion.sum(axis=1), result.confusion.sum(axis=0)
    on = f"On “{result.split}”"
    if never := _names(facts, (total > 0) & (np.diag(result.confusion) == 0)):
        found.append(f"{on} no clip was recognised of {never}.")
    if missing := _names(facts, total == 0):
        found.append(f"{on} there is no clip of {missing}.")
    clips = max(result.clips, 1)
    greedy = int(predicted.argmax())
    if len(total) > 2 and predicted[greedy] > max(3 * total[greedy], 0.1 * clips):
        found.append(
            f"{on} {predicted[greedy] / clips:.0%} of the clips are taken for "
            f"{named([facts.class_names[greedy]])}, which {total[greedy] / clips:.0%} are."
        )
    epochs = facts.whole_epochs
    if epochs and epochs[-1]["train_top1"] - result.top1 > 0.15:
        found.append(
            f"{on} {result.top1:.1%} are recognised, of the clips learnt from {epochs[-1]['train_top1']:.1%}."
        )
    return found


def _names(facts: RunFacts, chosen: Bool) -> str:
    return named([name for name, of_these in zip(facts.class_names, chosen, strict=True) if of_these])


def _wrong(confusion: Int64) -> Int64:
    out = confusion.copy()
    np.fill_diagonal(out, 0)
    return out
