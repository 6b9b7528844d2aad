"""The dataset's and the run's page as a browser shows them; skipped where there is no Chromium."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, WIDTHS, chromium, complaints, probed
from made_runs import run_of

from skelkit.report.facts import DatasetFacts
from skelkit.report.page import DatasetReport
from skelkit.report.palette import PAGE
from skelkit.report.run_page import RunReport
from skelkit.skeletons import COCO17
from skelkit.structures import SkeletonSequence

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian packages it as chromium)")

HOSTILE = (
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title = 1">',
    "</style></script></title><h1>big</h1>",
    "a name without any space to break at " + "x" * 500,
)
PROBE = """
const column = (table, i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent.trim());
const classes = document.querySelector("#class-table table");
found.before = column(classes, 0);
const heads = [...classes.tHead.querySelectorAll("th button")];
heads[0].click();
found.by_name = column(classes, 0);
heads.find((head) => head.textContent === "Clips").click();
found.by_clips = column(classes, 2).map(Number);
const search = document.querySelector("#gallery input[type=search]");
if (search) {
  search.value = "CLASS 1";
  search.dispatchEvent(new Event("input"));
  found.searched = document.querySelectorAll("#gallery .card:not([hidden])").length;
  found.opened = document.querySelector("#gallery details").open;
}
"""


def clip_at(index: int) -> SkeletonSequence:
    time = np.arange(20) / 20
    points = np.random.default_rng(index).uniform(0, 100, (1, 1, 17, 2)) * np.ones((1, 20, 1, 1))
    points[..., 0] += 40 * np.sin(6 * time)[None, :, None]
    return SkeletonSequence(
        skeleton=COCO17,
        keypoints=points.astype(np.float32),
        scores=np.ones((1, 20, 17), np.float32),
        confidence=np.full((1, 20), 0.5, np.float32),
        track_ids=np.array([0]),
        frame_indices=np.arange(20),
        pts_s=time,
        video_id="x" * 200,
        fps=20.0,
        image_size=(100, 100),
        sources=HOSTILE[:1],
    )


def page_of(labels: Sequence[str]) -> str:
    count = len(labels)
    rng = np.random.default_rng(0)
    facts = DatasetFacts(
        name=HOSTILE[0],
        skeleton=COCO17,
        dimensions=2,
        coordinate_unit="px",
        created_with="skelkit 0",
        recipe={"note": HOSTILE[2]},
        filters=[{"rule": HOSTILE[1], "limit": 0.5, "clips_in": 142_000 + count, "clips_dropped": 142_000}],
        label_names=sorted({*labels, *HOSTILE}),
        num_shards=64,
        size_bytes=10**9,
        gamma=0.18,
        video_id=np.array([f"{i}" + HOSTILE[i % 4] for i in range(count)], object),
        label=np.array(labels, object),
        split=np.array([("train", "train", "val", HOSTILE[3])[i % 4] for i in range(count)], object),
        status=np.array(["ok"] * count, object),
        num_frames=rng.integers(1_000_000, 2_000_000, count),
        num_people=rng.integers(1, 9, count),
        num_rows=rng.integers(1, 300, count),
        fps=np.full(count, 25.0),
        presence=rng.random(count),
        mean_confidence=rng.random(count),
        mean_score=rng.random(count),
        joint_visibility=rng.random((count, 17)),
    )
    return DatasetReport(facts, clip_at).html()


@functools.cache
def many() -> str:
    labels = [f"class {i}" for i in range(320)]
    return page_of([*labels, *labels[:50], *HOSTILE, "", "class 319"])


@pytest.mark.parametrize("kind", ["two classes", "many"])
def test_page_in_a_browser(kind: str, tmp_path: Path) -> None:
    page = many() if kind == "many" else page_of(["sit", "walk", "sit"])
    found = probed(tmp_path, page, PROBE)
    assert set(found) == set(WIDTHS)
    for here in found.values():
        assert len(here["sections"]) == 8
        assert "document.title" in here["title"] and here["title"].endswith("dataset report")
        assert here["scripts"] == 2  # ours, and the probe
        assert here["too_wide"] == 0
        assert here["sticking_out"] == [] and here["cut_letters"] == []
        assert sorted(here["before"]) == sorted(here["by_name"]) and here["before"] != here["by_name"]
        assert here["by_clips"] == sorted(here["by_clips"], reverse=True)
        if kind == "many":
            assert len(here["before"]) == 325
            assert here["searched"] == 111 and here["opened"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_takes_the_colours_of_its_reader(scheme: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page_of(["sit", "walk"]), "utf-8")
    done = chromium(
        tmp_path,
        tmp_path / "page.html",
        f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
        "--window-size=1280,900",
        f"--screenshot={tmp_path / 'page.png'}",
    )
    assert not complaints(done)
    picture = cv2.imread(str(tmp_path / "page.png"), cv2.IMREAD_COLOR_RGB)
    ground, ink = (bytes.fromhex(PAGE[name][scheme == "dark"][1:]) for name in ("ground", "ink"))
    assert (picture == tuple(ground)).all(axis=-1).mean() > 0.3
    assert (picture == tuple(ink)).all(axis=-1).any()


def test_the_policy_of_the_page_stops_what_got_in(tmp_path: Path) -> None:
    """Were a name not escaped: it could neither run nor call home."""
    bad = "<script>document.title = 'owned'</script><img src='http://127.0.0.1:9/x.png'>"
    path = tmp_path / "page.html"
    path.write_text(page_of(["sit"]).replace("<main>", f"<main>{bad}"), "utf-8")
    done = chromium(tmp_path, path, "--dump-dom")
    assert len(complaints(done)) >= 2
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title and title[1] != "owned"


RUN_PROBE = """
const matrix = document.querySelector("[data-cells]");
if (matrix) {
  const cells = matrix.querySelector(".cells");
  const at = box(cells);
  const point = (row, column, many) => cells.dispatchEvent(new PointerEvent("pointermove", {
    clientX: at.left + (column + .5) / many * at.width, clientY: at.top + (row + .5) / many * at.height }));
  const { names, counts } = JSON.parse(matrix.dataset.cells);
  const [row, column, count] = counts.find(([row, column]) => row !== column);
  point(row, column, names.length);
  found.told = matrix.querySelector("figcaption").textContent;
  found.wanted = `“${names[row]}” taken for “${names[column]}”: ${count} of`;
  found.side = at.width;
}
found.heat = Math.max(...[...document.querySelectorAll(".heat thead tr")].map((row) => row.cells.length));
found.pictures = [...document.images].map((image) => image.complete && image.naturalWidth > 0);
"""


@pytest.mark.parametrize("kind", ["14 classes", "320 classes", "unfinished"])
def test_page_of_a_run_in_a_browser(kind: str, tmp_path: Path) -> None:
    count = 320 if kind == "320 classes" else 14
    names = [*HOSTILE, *(f"class {i}" for i in range(count - len(HOSTILE)))]
    splits = () if kind == "unfinished" else ("test", HOSTILE[3])
    facts = run_of(names, splits=splits, name=HOSTILE[0], finished=bool(splits))
    found = probed(tmp_path, RunReport(facts, lambda name: clip_at(0)).html(), RUN_PROBE)
    assert set(found) == set(WIDTHS)
    for width, here in found.items():
        middle = ["split-1", "split-2"] if splits else ["results"]
        assert here["sections"] == ["curves", *middle, "joints", "recipe"]
        assert "document.title" in here["title"] and here["title"].endswith("training report")
        assert here["scripts"] == 2
        assert here["too_wide"] == 0
        assert here["sticking_out"] == [] and here["cut_letters"] == []
        assert all(here["pictures"])
        if kind == "320 classes":
            assert here["told"].startswith(here["wanted"])
            assert here["side"] >= min(320, 0.8 * width)
            assert here["heat"] <= 26
