"""The dataset's page as a browser shows it; skipped where there is no Chromium."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from skelkit.report.facts import DatasetFacts
from skelkit.report.page import DatasetReport
from skelkit.report.palette import PAGE
from skelkit.skeletons import COCO17
from skelkit.structures import SkeletonSequence

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian packages it as chromium)")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
WIDTHS = (1280, 400)
HOSTILE = (
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title = 1">',
    "</style></script></title><h1>big</h1>",
    "a name without any space to break at " + "x" * 500,
)
PROBE = """
const box = (node) => node.getBoundingClientRect();
const show = (node) => node.offsetParent !== null;
const column = (table, i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent.trim());
const classes = document.querySelector("#class-table table");
const found = {
  title: document.title,
  sections: [...document.querySelectorAll("section")].filter(show).map((section) => section.id),
  scripts: document.scripts.length,
  too_wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  sticking_out: [...document.querySelectorAll(
    "h1, h2, h3, p, dt, dd, li, figure, figcaption, .scroll, .strip, nav, input")].filter(show)
    .filter((node) => !node.closest("nav ul") && node.scrollWidth > node.clientWidth + 1
      && getComputedStyle(node).overflowX === "visible"
      && getComputedStyle(node).display !== "inline")
    .map((node) => node.outerHTML.slice(0, 200)),
  cut_letters: [...document.querySelectorAll(".chart svg")].flatMap((svg) => [...svg.querySelectorAll("text")]
    .filter((text) => box(text).left < box(svg).left - 2 || box(text).right > box(svg).right + 2)
    .map((text) => text.textContent)),
  ground: getComputedStyle(document.body).backgroundColor,
  before: column(classes, 0),
};
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
parent.postMessage(JSON.stringify(found), "*");
"""
LISTENER = """
const found = {};
addEventListener("message", (event) => {
  const frame = [...document.querySelectorAll("iframe")].find((one) => one.contentWindow === event.source);
  found[frame.width] = JSON.parse(event.data);
  document.querySelector("pre").textContent = JSON.stringify(found);
});
"""


def chromium(folder: Path, url: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, url.as_uri()]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=True)


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the page said on the console: errors of scripts, refused requests."""
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


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


def probed(folder: Path, page: str) -> dict[int, dict[str, Any]]:
    """What the page is like in a browser at each of the widths."""
    hashed = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{hashed}' ", 1)
    (folder / "page.html").write_text(page.replace("</body>", f"<script>{PROBE}</script></body>"), "utf-8")
    frames = "".join(f'<iframe src="page.html" width="{width}" height="900"></iframe>' for width in WIDTHS)
    harness = folder / "harness.html"
    harness.write_text(f"<!doctype html><script>{LISTENER}</script><pre></pre>{frames}", "utf-8")
    done = chromium(folder, harness, "--virtual-time-budget=20000", "--dump-dom")
    assert not complaints(done)
    text = re.search("<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert text and text[1], done.stderr
    return {int(width): found for width, found in json.loads(html.unescape(text[1])).items()}


@functools.cache
def many() -> str:
    labels = [f"class {i}" for i in range(320)]
    return page_of([*labels, *labels[:50], *HOSTILE, "", "class 319"])


@pytest.mark.parametrize("kind", ["two classes", "many"])
def test_page_in_a_browser(kind: str, tmp_path: Path) -> None:
    page = many() if kind == "many" else page_of(["sit", "walk", "sit"])
    found = probed(tmp_path, page)
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
