from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import confused, matrices_of, points, result_of, run_of

from skelkit.report.run_figures import above_even, confusion_overview, strongest
from skelkit.report.run_page import RunReport
from skelkit.report.run_tables import (
    class_scores,
    confusion_table,
    hardest_confusions,
    run_oddities,
    similar_order,
    surest_mistakes,
)
from skelkit.skeletons import COCO17

NAMES = ("bend", "nod", "wave", "sit")
COUNTS = ((6, 4, 0, 0), (3, 7, 0, 0), (0, 0, 0, 2), (0, 0, 0, 0))


def small(**changes: Any) -> Any:
    return run_of(NAMES, results=[result_of(COUNTS)], **changes)


def test_confusions_are_told_once_and_both_ways() -> None:
    facts = small()
    told = [
        (c.true, c.predicted, c.count, c.of, c.back, c.back_of)
        for c in hardest_confusions(facts, facts.results[0])
    ]
    assert told == [("wave", "sit", 2, 2, 0, 0), ("bend", "nod", 4, 10, 3, 10)]


def test_classes_stand_from_the_worst_to_the_best_and_those_without_clips_last() -> None:
    facts = small(train_clips={"bend": 5})
    rows = class_scores(facts, facts.results[0])
    assert [(r.label, r.right, r.clips, r.taken_for, r.taken, r.train_clips) for r in rows] == [
        ("wave", 0, 2, "sit", 2, 0),
        ("bend", 6, 10, "nod", 4, 5),
        ("nod", 7, 10, "bend", 3, 0),
        ("sit", 0, 0, "", 0, 0),
    ]


def test_the_surest_mistakes_come_first() -> None:
    facts = small()
    mistakes = surest_mistakes(facts, facts.results[0], 3)
    assert [(m.true, m.predicted) for m in mistakes] == [("wave", "sit"), ("wave", "sit"), ("nod", "bend")]
    assert mistakes[0].probability >= mistakes[1].probability > mistakes[2].probability


def test_groups_of_alike_classes_stand_together() -> None:
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(8), 5))
    counts = 5 * np.eye(40, dtype=np.int64) + (groups[:, None] == groups)
    ordered = groups[similar_order(counts)]
    assert (np.diff(ordered) != 0).sum() == 7
    assert sorted(similar_order(counts).tolist()) == list(range(40))


def test_of_many_classes_the_table_holds_the_hardest_and_the_picture_all() -> None:
    counts = np.diag(np.full(320, 9))
    counts[17, 200] = 8
    facts = run_of([f"class {i}" for i in range(320)], results=[result_of(counts)])
    table = confusion_table(facts, facts.results[0])
    assert set(table.labels) == {"class 17", "class 200"} and set(table.totals) == {9, 17}
    assert {8, 9, 0} == {count for row in table.counts for count in row}
    overview = confusion_overview(facts, facts.results[0])
    assert overview.picture.startswith("data:image/png;base64,") and len(overview.picture) < 50_000
    busy = run_of([f"class {i}" for i in range(320)])
    table = confusion_table(busy, busy.results[0])
    assert len(table.labels) == 24
    assert [sum(row) + other for row, other in zip(table.counts, table.others, strict=True)] == list(
        table.totals
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"finished": False, "epochs": 40}, "6 of 40 epochs"),
        ({"curves": points(3, validation=False)}, "without a validation part"),
        ({"curves": [*points(2), {"epoch": 2, "step": 21, "lr": 1.0, "loss": float("nan")}]}, "diverged"),
        ({"curves": [*points(9)[:-1], {**points(9)[-1], "val_top1": 0.5}]}, "after epoch 8"),
        ({}, "no clip was recognised of “wave”"),
        ({}, "no clip of “sit”"),
        ({}, "85.0%"),
    ],
)
def test_oddities(changes: Mapping[str, Any], words: str) -> None:
    assert any(words in sentence for sentence in run_oddities(small(**changes)))


def test_a_good_run_has_no_oddities() -> None:
    good = run_of(NAMES, results=[result_of(np.diag([9, 9, 9, 9]))])
    assert run_oddities(good) == []
    html = RunReport(good).html()
    assert "Worth a look" not in html and "No clip was taken for another class." in html


def test_strongest_dependencies_in_words() -> None:
    values = np.zeros((2, 17, 17), np.float32)
    values[0, 9, 0] = -0.4
    values[1, 5, 7] = 0.3
    values[1, 3, 3] = 9.0
    told = strongest(values, "head", COCO17, count=2)
    assert told == "left wrist → nose -0.40 (head 1), left shoulder → left elbow 0.30 (head 2)"
    assert strongest(np.zeros((2, 34, 34), np.float32), "head", COCO17) == ""


def test_attention_is_held_against_an_even_share() -> None:
    shares = np.full((1, 4, 4), 0.25, np.float32)
    shares[0, :, 1] = 0.7, 0.1, 0.1, 0.1
    values, even = above_even(shares)
    assert even == 0.25
    np.testing.assert_allclose(values[0, :, 1], [0.45, -0.15, -0.15, -0.15], atol=1e-6)
    gated = np.full((1, 4, 4), -0.1, np.float32)
    assert above_even(gated)[0] is gated


def test_page_says_what_there_is_and_what_not() -> None:
    page = RunReport(run_of(NAMES, splits=("test", "val"))).html()
    assert "Results on <bdi>test" in page and "Results on <bdi>val" in page
    assert "Block 2, single frames" in page and "Graph before learning" in page
    early = RunReport(
        run_of(NAMES, splits=(), curves=[], finished=False, matrices=[], skeleton=None, parameters=0)
    ).html()
    for words in ("No epoch has ended yet", "measured once it is finished", "0 of 6 epochs"):
        assert words in early
    assert "nan" not in page + early


def test_names_are_text_whatever_they_hold() -> None:
    bad = ("<script>alert(1)</script>", '"><img src=x>', "$\\frac{", "", "日本", "x" * 999)
    many = (*bad, *(f"class {i}" for i in range(40)))
    for names in (bad, many):
        html = RunReport(run_of(names, name=bad[0], splits=(bad[1],), about=((bad[0], bad[1]),))).html()
        assert "<script>alert" not in html and "<img src=x" not in html
        assert html.count("<script") == 1


def test_figures_are_written_and_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        facts = run_of(NAMES, matrices=[matrices_of("Block 1"), matrices_of("Block 2", graph=True)])
        written = RunReport(facts).write(tmp_path / folder / "page.html", tmp_path / folder)
        assert {path.name for path in written} == {
            "loss.png", "top1.png", "rate.png", "test-confusion.png", "test-classes.png",
            "graph-1.png", "joints-block-1.png", "joints-block-2.png",
        }  # fmt: skip
    one, two = (sorted((p.name, p.read_bytes()) for p in (tmp_path / f).iterdir()) for f in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("classes", [1, 2])
def test_hardly_any_class(classes: int) -> None:
    facts = run_of(NAMES[:classes], results=[result_of(confused(classes))], curves=points(1))
    assert RunReport(facts).html()
