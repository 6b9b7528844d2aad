from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from skelkit.errors import ConfigError, OutputError
from skelkit.report.plots import plot_confidence, plot_histogram

PLOTS = pytest.mark.parametrize("plot", [plot_confidence, plot_histogram])
Plot = Callable[..., None]

PURPLE, GREEN = (0x5E, 0x3C, 0x99), (0x4D, 0x92, 0x21)


def count(path: Path, colour: tuple[int, int, int]) -> int:
    return int((cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) == colour).all(axis=-1).sum())


def test_bars_grow_with_the_poses_they_stand_for(tmp_path: Path) -> None:
    errors = np.asarray([0.3, 0.3, 0.3, 4.1, np.nan])
    confidence = np.asarray([0.9, 0.18, 0.5, 0.1, 0.1])
    plot_histogram(tmp_path / "a.png", errors, confidence, gamma=0.18)
    plot_histogram(tmp_path / "b.png", errors, confidence, gamma=0.19)
    one, two = (count(tmp_path / n, GREEN) for n in ("a.png", "b.png"))
    assert two > 1.5 * one > 0  # the pose of C = 0.18 is kept by gamma = 0.18
    assert count(tmp_path / "a.png", PURPLE) > count(tmp_path / "b.png", PURPLE)


@PLOTS
def test_svg_says_how_many(plot: Plot, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    errors, confidence = rng.gamma(2, 1, 300), rng.random(300)
    errors[:7] = np.nan
    plot(tmp_path / "a.SVG", errors, confidence, gamma=0.5)
    plot(tmp_path / "b.svg", errors, confidence, gamma=0.5)
    assert ET.parse(tmp_path / "a.SVG").getroot().tag.endswith("svg")
    kept = int((confidence[7:] >= 0.5).sum())
    text = (tmp_path / "a.SVG").read_text()
    assert f"({kept} poses)" in text and f"({293 - kept} poses)" in text
    assert text == (tmp_path / "b.svg").read_text()


@PLOTS
def test_nothing_to_draw_is_an_empty_picture(plot: Plot, tmp_path: Path) -> None:
    plot(tmp_path / "a.png", np.full(3, np.nan), np.ones(3), gamma=0.18)
    assert cv2.imread(str(tmp_path / "a.png")) is not None


@PLOTS
def test_refuses_other_kinds_and_places(plot: Plot, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.svg"):
        plot(tmp_path / "a.pdf", np.ones(1), np.ones(1), gamma=0.18)
    with pytest.raises(OutputError, match="cannot write"):
        plot(tmp_path / "no" / "a.png", np.ones(1), np.ones(1), gamma=0.18)
    assert not list(tmp_path.iterdir())


def test_no_window_system_is_touched(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        import numpy as np
        from skelkit.report.figures import heatmap
        from skelkit.report.plots import plot_histogram
        plot_histogram(Path(sys.argv[1]), np.ones(9), np.ones(9), gamma=0.18)
        heatmap(["train"], np.ones((1, 2)), ["a", "b"]).png()
        sys.exit("matplotlib.pyplot" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=True)
