from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skelkit.errors import ConfigError
from skelkit.training import DataFacts, Recipe, apply_settings, complain, data_problems, read_recipe
from skelkit.training.recipe import OptimizerPart, parse_value
from skelkit.training.schedule import rate

FACTS = DataFacts(
    where="ds",
    joints="coco17",
    label_names=("sit", "run"),
    splits={"train": 9, "test": 4, "val": 2},
    labelled={"train": 9, "test": 4},
)


def told(values: dict[str, Any]) -> list[str]:
    recipe, problems = read_recipe(values)
    return problems + data_problems(recipe, FACTS)


def test_an_empty_recipe_is_whole() -> None:
    assert told({}) == []


def test_every_problem_is_told_at_once() -> None:
    problems = told(
        {
            "optimizer": {"lrr": 0.1, "momentum": 2, "milestones": [5, 3]},
            "training": {"epochs": 0, "precision": "16"},
            "data": {"train": "trian", "validation": "val", "test": "train"},
            "model": {"joints": "ntu25", "classes": 60},
            "augmnet": {},
            "start": {"linear": True},
        }
    )
    expected = [
        "optimizer.lrr: unknown key: 'lrr'; did you mean lr?",
        "optimizer.momentum",
        "optimizer.milestones: expected ascending epochs",
        "training.epochs",
        "training.precision",
        "augmnet: unknown key: 'augmnet'; did you mean augment?",
        "start.linear: expected start.weights",
        "model.joints: expected a dataset with the joint set 'ntu25', got 'coco17'",
        "model.classes: expected a dataset with 60 classes, got 2",
        "data.train: unknown split: 'trian'; did you mean train?",
        "data.validation: split 'val' has no clip with both a label and poses",
    ]
    for words in expected:
        assert sum(words in problem for problem in problems) == 1, words
    assert len(problems) == len(expected)
    with pytest.raises(ConfigError) as error:
        complain(problems, "here")
    assert error.value.fields["problems"] == tuple(problems)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"training": {"epochs": 5}, "optimizer": {"milestones": [3, 5]}}, "before the end (5), got [5]"),
        ({"data": {"validation": "test", "validation_share": 0.1}}, "exclude each other"),
        ({"data": {"test_clips": 2}}, "expected 1 where test clips are whole"),
        ({"data": {"test": "train"}}, "'train' is the split learnt from"),
        ({"data": {"train": ""}}, "expected a split to learn from"),
        ({"data": 3}, "data: "),
        ({"optimizer": {"lr": float("nan")}}, "optimizer.lr"),
        ({"training": {"compile": "yes please"}}, "training.compile"),
    ],
)
def test_what_does_not_fit_together_is_told(values: dict[str, Any], words: str) -> None:
    assert any(words in problem for problem in told(values))


@pytest.mark.parametrize(
    "facts",
    [
        DataFacts(where="ds", joints="coco17", label_names=(), splits={"train": 1, "test": 1}, labelled={}),
        DataFacts(
            where="ds", joints="coco17", label_names=("a", ""), splits={"train": 1, "test": 1}, labelled={}
        ),
    ],
)
def test_data_without_labels_is_told(facts: DataFacts) -> None:
    assert any("label" in p or "without a name" in p for p in data_problems(Recipe(), facts))


def test_settings_lie_on_top() -> None:
    before = {"optimizer": {"lr": 0.1, "momentum": 0.5}}
    values, problems = apply_settings(
        before,
        ["optimizer.lr=0.2", "data.stream=bone", "optimizer.milestones=[1, 2]", "x", "optimizer.lr.y=1"],
    )
    assert values["optimizer"] == {"lr": 0.2, "momentum": 0.5, "milestones": [1, 2]}
    assert values["data"] == {"stream": "bone"}
    assert len(problems) == 2
    assert before == {"optimizer": {"lr": 0.1, "momentum": 0.5}}


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1e-3", 0.001), ("bone", "bone"), ("a.b", "a.b")]
)
def test_values_are_read_as_toml(text: str, value: object) -> None:
    assert parse_value(text) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from(["model", "data", "augment", "optimizer", "training", "start", "description", "x"])
INNER = st.sampled_from(["lr", "epochs", "stream", "flip", "options", "weights", "milestones", "y"])


@given(st.dictionaries(KEYS, JSON | st.dictionaries(INNER, JSON, max_size=3), max_size=4))
def test_whatever_a_file_holds_gives_a_recipe_and_problems_in_words(values: dict[str, Any]) -> None:
    recipe, problems = read_recipe(values)
    assert isinstance(recipe, Recipe)
    assert all(isinstance(problem, str) and problem for problem in problems)
    assert read_recipe(recipe.model_dump(mode="json"))[0] == recipe


def test_the_rate_warms_up_and_falls_in_steps() -> None:
    settings = OptimizerPart(milestones=(2, 3), decay=0.1, warmup_epochs=1)
    rates = [rate(settings, step=step, steps_per_epoch=4, epochs=4) for step in range(16)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 5, *[0.1] * 4, *[0.01] * 4])


def test_a_cosine_falls_from_one_to_nothing() -> None:
    settings = OptimizerPart(schedule="cosine", warmup_epochs=1)
    rates = [rate(settings, step=step, steps_per_epoch=4, epochs=5) for step in range(21)]
    assert rates[4] == 1
    assert rates[12] == pytest.approx(0.5)
    assert rates[20] == pytest.approx(0)
    assert all(b < a for a, b in pairwise(rates[4:]))
