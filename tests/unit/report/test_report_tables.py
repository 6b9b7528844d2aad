from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_facts import facts_of

from skelkit.errors import ConfigError
from skelkit.report.tables import (
    class_rows,
    filter_rows,
    oddities,
    shortened,
    split_totals,
    totals,
    visibility,
)


def test_totals_leave_out_unknown_rates_and_empty_labels() -> None:
    facts = facts_of(["a", "b", ""], num_frames=[3600, 7200, 99], fps=[1.0, 2.0, 0.0], num_people=[1, 2, 0])
    sums = totals(facts)
    assert (sums.clips, sums.classes, sums.frames, sums.people) == (3, 2, 10_899, 3)
    assert sums.hours == pytest.approx(2.0)


def test_classes_stand_by_size_and_count_every_split() -> None:
    facts = facts_of(
        ["b", "a", "b", "c", "b"],
        split=["val", "train", "train", "train", "train"],
        num_frames=[10, 5, 20, 7, 90],
        mean_confidence=[0.2, 0.3, np.nan, np.nan, 0.4],
        label_names=["a", "b", "c", "unseen"],
    )
    rows = class_rows(facts)
    assert facts.splits == ["train", "val"]
    assert [(r.label, r.clips, r.by_split) for r in rows] == [
        ("b", 3, (2, 1)),
        ("a", 1, (1, 0)),
        ("c", 1, (1, 0)),
        ("unseen", 0, (0, 0)),
    ]
    assert rows[0].frames == 20
    assert rows[0].confidence == pytest.approx(0.3)
    assert math.isnan(rows[2].confidence) and math.isnan(rows[3].frames)
    assert {n: s.clips for n, s in split_totals(facts).items()} == {"train": 4, "val": 1}


def test_visibility_weighs_clips_by_their_poses() -> None:
    facts = facts_of(
        ["a", "a", "b"],
        num_rows=[30, 10, 0],
        joint_visibility=[[1, 0, 0.5], [0, 1, 0.5], [np.nan] * 3],
    )
    seen = visibility(facts, facts.label)
    np.testing.assert_allclose(seen["a"], [0.75, 0.25, 0.5])
    assert np.isnan(seen["b"]).all()


@given(
    st.lists(st.tuples(st.sampled_from("abc "), st.sampled_from(["x", "y"]), st.integers(0, 9)), max_size=20)
)
def test_every_clip_is_counted_once(clips: list[tuple[str, str, int]]) -> None:
    labels = [label.strip() for label, _, _ in clips]
    facts = facts_of(labels, split=[s for _, s, _ in clips], num_rows=[n for _, _, n in clips])
    rows = class_rows(facts)
    assert sum(r.clips for r in rows) == len(clips) == sum(sum(r.by_split) for r in rows)
    assert sum(s.poses for s in split_totals(facts).values()) == totals(facts).poses
    for share in visibility(facts, facts.label).values():
        assert ((share == 1) | np.isnan(share)).all()


def test_oddities_name_what_a_trainer_trips_over() -> None:
    labels = ["big"] * 20 + ["small", ""]
    facts = facts_of(
        labels,
        split=["train"] * 10 + ["val"] * 10 + ["train"] * 2,
        status=["ok"] * 20 + ["failed", "no_person"],
        mean_confidence=[0.1] + [0.5] * 21,
        label_names=["big", "small", "gone"],
    )
    text = "\n".join(oddities(facts, class_rows(facts)))
    for wanted in (
        "Not decoded whole: 1 clip.",
        "Without a person: 1 clip.",
        "Without a label: 1 clip.",
        "No clip of “gone”.",
        "Split val has no clip of “small”.",
        "20 clips of “big”, but 1 of “small”",
        "below gamma = 0.18: 1 clip.",
    ):
        assert wanted in text
    assert not oddities(facts_of(["a", "b"]), class_rows(facts_of(["a", "b"])))


def test_filters_keep_their_order() -> None:
    rules = [
        {"rule": "presence", "limit": 0.5, "clips_in": 10, "clips_dropped": 4},
        {"rule": "odd", "limit": None, "clips_in": 6, "clips_dropped": 0},
        {
            "rule": "max_people",
            "limit": {"count": 2},
            "clips_in": 6,
            "clips_dropped": 0,
            "clips_trimmed": 1,
            "people_dropped": 3,
            "poses_dropped": 1500,
        },
    ]
    rows = filter_rows(facts_of(["a"], filters=rules))
    told = [(r.rule, r.limit, r.dropped, r.left) for r in rows]
    assert told == [("presence", "0.5", 4, 6), ("odd", "", 0, 6), ("max_people", '{"count": 2}', 0, 6)]
    assert [r.trimmed for r in rows] == ["", "", "3 people and 1,500 poses left out of 1 clip."]


def test_columns_must_fit_each_other() -> None:
    with pytest.raises(ConfigError, match="num_rows"):
        facts_of(["a", "b"], num_rows=[1])
    assert shortened("abcdef", 4) == "abc…"
