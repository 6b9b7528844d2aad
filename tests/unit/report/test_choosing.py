from __future__ import annotations

import numpy as np
from made_facts import facts_of

from skelkit.report.choosing import MOST_CLASSES, spread_clips, typical_clips, worst_clips


def test_typical_is_nearest_to_the_medians() -> None:
    facts = facts_of(["a"] * 5 + ["b"], num_frames=[10, 300, 100, 110, 120, 1])
    assert typical_clips(facts) == {"a": 3, "b": 5}


def test_typical_does_not_depend_on_the_order_of_clips() -> None:
    rng = np.random.default_rng(0)
    labels, frames = rng.choice(["a", "b", "c"], 60).tolist(), rng.integers(10, 20, 60)
    one = facts_of(labels, num_frames=frames)
    order = rng.permutation(60)
    other = facts_of(
        [labels[i] for i in order], num_frames=frames[order], video_id=[one.video_id[i] for i in order]
    )
    names = [{k: facts.video_id[i] for k, i in typical_clips(facts).items()} for facts in (one, other)]
    assert names[0] == names[1]


def test_clips_without_poses_are_never_chosen() -> None:
    facts = facts_of(["a", "a", "b"], num_rows=[0, 5, 0], mean_confidence=[np.nan, 0.9, np.nan])
    assert typical_clips(facts) == {"a": 1}
    assert worst_clips(facts) == [1]
    assert spread_clips(facts).tolist() == [1]
    nothing = facts_of([])
    assert (typical_clips(nothing), worst_clips(nothing), spread_clips(nothing).tolist()) == ({}, [], [])


def test_worst_by_confidence_or_where_there_is_none_by_score() -> None:
    labels = ["a"] * 4
    scores = [0.4, 0.1, 0.3, 0.2]
    assert worst_clips(facts_of(labels, mean_confidence=[0.5, 0.6, 0.1, np.nan]), 2) == [2, 0]
    assert worst_clips(facts_of(labels, mean_confidence=[np.nan] * 4, mean_score=scores), 2) == [1, 3]


def test_only_the_largest_classes_are_shown() -> None:
    labels = [f"{i:04}" for i in range(MOST_CLASSES + 5)] + ["0503"]
    chosen = typical_clips(facts_of(labels))
    assert len(chosen) == MOST_CLASSES and next(iter(chosen)) == "0503"


def test_a_sample_is_spread_over_all() -> None:
    assert spread_clips(facts_of(["a"] * 11), 3).tolist() == [0, 5, 10]
