"""The Kinetics-400 table that skelkit ships, and that its README tells the same."""

from __future__ import annotations

import csv
import re
from importlib.resources import files
from pathlib import Path

import pytest

TABLES = files("skelkit.data") / "label_tables"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return (TABLES / "kinetics400-posetics320.csv").read_text("utf-8").splitlines()


@pytest.fixture(scope="module")
def rows(lines: list[str]) -> list[dict[str, str]]:
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


@pytest.fixture(scope="module")
def targets(rows: list[dict[str, str]]) -> dict[str, str]:
    return {row["source"]: row["target"] for row in rows}


def test_comments_stand_above_the_header_and_say_whose_table_it_is(lines: list[str]) -> None:
    header = lines.index("source,target,reason")
    assert all(line.startswith("# ") for line in lines[:header])
    assert not any(line.startswith("#") for line in lines[header:])
    said = " ".join(line.removeprefix("# ") for line in lines[:header])
    assert "skelkit's own table" in said
    assert "not public" in said
    assert "Apache-2.0" in said


def test_400_sources_once_each_in_order(rows: list[dict[str, str]]) -> None:
    sources = [row["source"] for row in rows]
    assert len(sources) == len(set(sources)) == 400
    assert sources == sorted(sources)


def test_320_targets_without_chains(targets: dict[str, str]) -> None:
    assert len(set(targets.values())) == 320
    chained = {t for t in targets.values() if targets.get(t, t) != t}
    assert chained == set()


def test_targets_differ_by_more_than_case_and_punctuation(targets: dict[str, str]) -> None:
    plain = {re.sub(r"[^a-z]+", " ", name.lower()).strip() for name in targets.values()}
    assert len(plain) == 320


def test_cells_are_clean(rows: list[dict[str, str]]) -> None:
    for row in rows:
        assert row.keys() == {"source", "target", "reason"}
        for cell in row.values():
            assert cell, row
            assert cell == " ".join(cell.split()), row
            assert cell.isascii(), row


def test_reasons_tell_merged_from_kept(rows: list[dict[str, str]], targets: dict[str, str]) -> None:
    members: dict[str, set[str]] = {}
    for row in rows:
        members.setdefault(row["target"], set()).add(row["reason"])
        alone = list(targets.values()).count(row["target"]) == 1
        assert (row["reason"].split(":")[0] == "kept") == alone, row
        assert not alone or row["source"] == row["target"], row
    assert all(len(reasons) == 1 for reasons in members.values()), "one group, one reason"


def test_the_examples_of_the_paper(targets: dict[str, str]) -> None:
    for source in ("making a cake", "making sushi", "making pizza"):
        assert targets[source] == "making food"
    for source in ("doing laundry", "washing feet", "washing hair"):
        assert targets[source] == source


def test_the_readme_lists_the_same_groups(rows: list[dict[str, str]]) -> None:
    table: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if not row["reason"].startswith("kept"):
            table.setdefault((row["target"], row["reason"]), []).append(row["source"])
    text = (TABLES / "README.md").read_text("utf-8")
    section = text.split("## Groups")[1].split("## Doubtful")[0]
    listed = [[c.strip() for c in li.strip("|").split("|")] for li in section.splitlines() if li[:1] == "|"][
        2:
    ]
    assert {(target, reason): members.split("; ") for target, _, reason, members in listed} == table
    assert [int(count) for _, count, _, _ in listed] == [len(m.split("; ")) for _, _, _, m in listed]
    merged = sum(map(len, table.values()))
    assert f"{merged} source classes merge into {len(table)}; the other {400 - merged}" in section


def test_sources_are_the_names_of_kinetics_400(targets: dict[str, str], pack: Path) -> None:
    assert list(targets) == (pack / "labels" / "k400.txt").read_text("utf-8").splitlines()
