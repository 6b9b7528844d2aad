from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import cv2
import numpy as np
import pytest
from made_facts import facts_of

from skelkit.report.charts import Chart
from skelkit.report.figures import class_sizes, funnel, heatmap, histograms, named_classes
from skelkit.report.palette import PAGE
from skelkit.report.tables import FilterRow, class_rows


def picture(chart: Chart) -> Any:
    return cv2.imdecode(np.frombuffer(chart.png(), np.uint8), cv2.IMREAD_COLOR_RGB)


def area(chart: Chart, role: str) -> int:
    colour = tuple(bytes.fromhex(PAGE[role][0][1:]))
    return int((picture(chart) == colour).all(axis=-1).sum())


def charts_of(count: int = 40, **changes: Any) -> dict[str, Chart]:
    rng = np.random.default_rng(0)
    facts = facts_of(["a"] * count, mean_confidence=rng.random(count), **changes)
    return {chart.name: chart for chart in histograms(facts, rng.random(100).astype(np.float32))}


def test_svg_is_ready_for_a_page() -> None:
    charts = charts_of(split=["train"] * 30 + ["val"] * 10)
    assert list(charts) == ["length", "people", "presence", "confidence", "poses", "score"]
    for chart in charts.values():
        svg = chart.svg()
        assert ET.fromstring(svg).attrib["viewBox"]
        for unwanted in ("http", "<style", "xmlns", "xlink", "<!", "<?", "metadata", ' id="figure'):
            assert unwanted not in svg
        assert "var(--series-1)" in svg or chart.name == "poses"
        assert not [light for light, _ in PAGE.values() if light in svg]
        assert len(svg) < 40_000
    assert "gamma = 0.18" in charts["confidence"].svg() and "gamma" not in charts["score"].svg()
    assert "C ≥ 0.18" in charts["poses"].svg()


def test_equal_facts_give_equal_bytes() -> None:
    one, other = charts_of()["confidence"], charts_of()["confidence"]
    assert (one.svg(), one.png()) == (other.svg(), other.png())
    assert one.svg() == other.svg()  # the title of the PNG is gone


def test_bars_grow_with_what_they_stand_for() -> None:
    few, many = (charts_of(split=["train"] * (40 - n) + ["val"] * n)["length"] for n in (5, 15))
    assert area(many, "series-1") > 1.5 * area(few, "series-1") > 0


def test_the_last_bar_stands_for_all_longer_ones() -> None:
    frames = [*range(1, 200)] * 5 + [100_000]
    chart = charts_of(len(frames), num_frames=frames)["length"]
    assert "and more)" in chart.svg() and "100,000" not in chart.svg()
    assert "and more)" not in charts_of()["length"].svg()


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_clip(count: int) -> None:
    facts = facts_of(["a"] * count, mean_confidence=[np.nan] * count, label_names=["a"])
    charts = histograms(facts, np.zeros(0, np.float32))
    assert {"confidence", "poses"}.isdisjoint(chart.name for chart in charts)
    rows = class_rows(facts)
    for chart in (*charts, class_sizes(facts, rows), named_classes(facts, rows)):
        assert chart.svg() and picture(chart) is not None


def test_names_are_never_markup_or_mathematics() -> None:
    names = ["<script>alert(1)</script>", "$\\frac{", "_hidden", "a" * 500, "line\nbreak", "日本"]
    facts = facts_of(names, split=[*names[:5], "x"])
    charts = [class_sizes(facts, class_rows(facts)), named_classes(facts, class_rows(facts))]
    charts += histograms(facts, np.zeros(0, np.float32))
    charts.append(funnel([FilterRow(rule=name, limit="$", clips_in=9, dropped=2) for name in names]))
    charts.append(heatmap(names, np.full((6, 3), 0.5), ["$x", "b", "c"]))
    for chart in charts:
        assert "<script" not in chart.svg() and picture(chart) is not None
    assert "hidden" in charts[0].svg()


def test_all_of_320_classes_are_named_in_the_picture() -> None:
    labels = [f"class {i}" for i in range(320)]
    facts = facts_of(labels + labels[:100])
    chart = named_classes(facts, class_rows(facts))
    svg = chart.svg()
    assert all(f">{label}<" in svg for label in labels)
    height, width, _ = picture(chart).shape
    assert 0.5 < height / width < 1.2


def test_the_heatmap_has_a_cell_for_every_joint() -> None:
    shares = np.array([[0.0, 1.0, np.nan]])
    chart = heatmap(["train"], shares, ["a", "b", "c"])
    assert area(chart, "ground") > 20_000 and area(chart, "series-0") > 20_000
