"""Pages as a browser shows them."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

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
OF_ANY_PAGE = """
const box = (node) => node.getBoundingClientRect();
const show = (node) => node.offsetParent !== null;
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
};
"""
"""What holds of the page as such, in `found`; what a probe of a kind of page adds to."""
SEND = """
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


def probed(folder: Path, page: str, probe: str) -> dict[int, dict[str, Any]]:
    """What the page is like in a browser at each of the widths: `OF_ANY_PAGE`, and what the probe adds."""
    probe = OF_ANY_PAGE + probe + SEND
    hashed = base64.b64encode(hashlib.sha256(probe.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{hashed}' ", 1)
    (folder / "page.html").write_text(page.replace("</body>", f"<script>{probe}</script></body>"), "utf-8")
    frames = "".join(f'<iframe src="page.html" width="{width}" height="900"></iframe>' for width in WIDTHS)
    harness = folder / "harness.html"
    harness.write_text(f"<!doctype html><script>{LISTENER}</script><pre></pre>{frames}", "utf-8")
    done = chromium(folder, harness, "--virtual-time-budget=20000", "--dump-dom")
    assert not complaints(done)
    text = re.search("<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert text and text[1], done.stderr
    return {int(width): found for width, found in json.loads(html.unescape(text[1])).items()}
