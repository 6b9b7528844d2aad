from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_facts import facts_of, moving_clip

from skelkit.errors import OutputError
from skelkit.report.facts import DatasetFacts
from skelkit.report.page import DatasetReport

HOSTILE = [
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></script><h1>big</h1>",
    "{{ 7 * 7 }}",
    "a & b",
    "x" * 5000,
    "\u202eright to left",
    "",
]
VOID = {"meta", "link", "input", "br", "img"}


class Reader(HTMLParser):
    """Tags in their order, and whether each one closes what was opened last."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report(facts: DatasetFacts, **clip: Any) -> DatasetReport:
    return DatasetReport(facts, lambda i: moving_clip(i, **clip))


def page_of(facts: DatasetFacts, **clip: Any) -> Reader:
    return Reader(report(facts, **clip).html())


def test_page_has_its_sections_and_its_key_numbers() -> None:
    rules = [{"rule": "presence", "limit": 0.5, "clips_in": 9, "clips_dropped": 4}]
    page = page_of(facts_of(["walk", "wave", "walk"], filters=rules), sources=("movenet", "lcr"))
    sections = [s["id"] for s in page.all("section")]
    assert sections == [
        "splits",
        "gallery",
        "classes",
        "filters",
        "distributions",
        "joints",
        "weakest",
        "recipe",
    ]
    assert {a["href"] for a in page.all("a")} == {f"#{name}" for name in sections}
    text = " ".join(page.text.split())
    for wanted in (
        "Clips 3 Classes 2",
        "Size, 1 shard 1.23 MB",
        "movenet , lcr",
        "9 clips came in, 5 were left",
    ):
        assert wanted in text
    assert '"job": "build"' in page.text


def test_page_needs_nothing_from_elsewhere() -> None:
    html = report(facts_of(["a", "b"], split=["train", "val"])).html()
    assert not re.search(r"https?:|//[a-z]|url\((?!#)|@import|javascript:", html)
    page = Reader(html)
    assert not [a for _, a in page.tags if (a.get("src") or a.get("href") or "#")[:1] not in "#d"]
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv"))
    assert (
        policy and "default-src 'none'" in policy and "'unsafe-inline'" not in policy.split("script-src")[1]
    )


def test_names_are_text_whatever_they_hold() -> None:
    facts = facts_of(
        HOSTILE,
        name=HOSTILE[0],
        video_id=[name or "?" for name in HOSTILE],
        split=[HOSTILE[i % 3] for i in range(8)],
        recipe={"path": HOSTILE[2]},
        filters=[{"rule": HOSTILE[1], "limit": HOSTILE[0], "clips_in": 8, "clips_dropped": 0}],
        label_names=[*HOSTILE[:7], "<b>unseen"],
    )
    page = page_of(facts, sources=(HOSTILE[0],))
    assert len(page.all("script")) == 1 and len(page.all("h1")) == 1
    assert not page.all("img") and not page.all("b")
    assert not [n for _, attributes in page.tags for n in attributes if n.startswith("on")]
    assert HOSTILE[1] in page.text and "{{ 7 * 7 }}" in page.text and "no label" in page.text
    assert "x" * 161 not in page.text


def test_pictures_and_tables_are_told_in_words() -> None:
    page = page_of(facts_of(["a", "b"]))
    pictures = [a for _, a in page.tags if a.get("role") == "img"]
    assert len(pictures) > 6 and all(a["aria-label"] for a in pictures)
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg"))
    assert all(a.get("scope") in {"col", "row"} for a in page.all("th"))
    assert all(a.get("aria-label") for a in page.all("input"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_clip(count: int) -> None:
    page = page_of(facts_of(["a"] * count, filters=[]))
    assert "No filter was applied." in page.text
    assert ("No clip has a pose." in page.text) == (count == 0)


def test_a_dataset_of_failures_only() -> None:
    nan = [np.nan] * 2
    facts = facts_of(
        ["", ""],
        status=["failed", "no_person"],
        num_rows=[0, 0],
        num_people=[0, 0],
        num_frames=[0, 9],
        fps=[0, 0],
        presence=nan,
        mean_confidence=nan,
        mean_score=nan,
        joint_visibility=[[np.nan] * 3] * 2,
    )
    page = page_of(facts)
    assert "No clip has a pose." in page.text and "Not decoded whole: 1 clip." in page.text
    assert "nan" not in page.text


def test_page_of_many_classes_stays_small() -> None:
    labels = [f"class {i}" for i in range(900)] + ["class 7"]
    html = report(facts_of(labels), people=3).html()
    assert len(html.encode()) < 8e6
    assert "The 500 largest of 900 classes" in html
    assert html.count('<figure class="card" data-item>') == 500
    assert "Show 488 more classes" in html


def test_few_clips_are_read_each_once() -> None:
    facts = facts_of([f"{i % 3}" for i in range(5000)])
    asked: list[int] = []

    def clip_at(index: int) -> Any:
        asked.append(index)
        return moving_clip(index)

    DatasetReport(facts, clip_at)
    assert len(asked) < 250 and asked == sorted(set(asked))


def test_written_page_and_figures_are_the_same_every_time(tmp_path: Path) -> None:
    facts = facts_of(["a", "b"], recipe={"path": "bytes \udcff"})
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        figures = report(facts).write(tmp_path / folder / "page.html", tmp_path / folder)
        assert {f.suffix for f in figures} == {".png"} and all(f.is_file() for f in figures)
    one, two = (sorted((p.name, p.read_bytes()) for p in (tmp_path / f).iterdir()) for f in ("one", "two"))
    assert one == two
    with pytest.raises(OutputError):
        report(facts).write(tmp_path / "page.html", tmp_path / "absent")
