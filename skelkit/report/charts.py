"""A figure of a dataset's report: as PNG, and as SVG that takes its colours from the page around it.

Drawn without pyplot: no window, no global state. Equal figures give equal bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from skelkit.report.palette import PAGE

_STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "text.color": PAGE["ink"][0],
    "text.parse_math": False,
    "axes.edgecolor": PAGE["line"][0],
    "axes.labelcolor": PAGE["muted"][0],
    "axes.facecolor": PAGE["paper"][0],
    "figure.facecolor": PAGE["paper"][0],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "xtick.color": PAGE["line"][0],
    "ytick.color": PAGE["line"][0],
    "xtick.labelcolor": PAGE["muted"][0],
    "ytick.labelcolor": PAGE["muted"][0],
    "ytick.major.size": 0.0,
    "grid.color": PAGE["line"][0],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "svg.fonttype": "none",
}
_CLUTTER = (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->", r' xmlns\S*?=".*?"')
"""Of matplotlib's SVG: what says nothing in a page, or would change the page around it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chart:
    """A figure, and what it shows in words."""

    name: str
    """Plain file name without extension."""
    title: str
    caption: str
    figure: Figure

    def png(self) -> bytes:
        """As a picture of its own, with its title."""
        data = io.BytesIO()
        with style():
            self.figure.suptitle(self.title, x=0.01, ha="left", fontsize=11, fontweight="bold")
            self._save(data, format="png", dpi=150)
            self.figure.suptitle("")
        return data.getvalue()

    def svg(self) -> Markup:
        """For a page that defines the colours of `PAGE` as CSS variables: without title and own styles."""
        data = io.StringIO()
        with style(**{"svg.hashsalt": self.name}):
            self._save(data, format="svg", transparent=True, metadata={"Date": None})
        text = data.getvalue()
        text = text[text.index("<svg") :]
        for clutter in _CLUTTER:
            text = re.sub(clutter, "", text, flags=re.DOTALL)
        text = re.sub(r'<g id="[^"]*"', "<g", text)  # the same in all figures
        text = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 aria-hidden="true">', text)
        for role, (light, _) in PAGE.items():
            text = text.replace(light, f"var(--{role})")
        return Markup(text.replace("xlink:href", "href"))  # matplotlib escapes what is text

    def _save(self, data: io.BytesIO | io.StringIO, **how: Any) -> None:
        with warnings.catch_warnings():
            # Names in other scripts become boxes in pictures; in pages the browser has letters for them.
            warnings.filterwarnings("ignore", "Glyph", UserWarning)
            self.figure.savefig(data, **how)


def style(**more: Any) -> AbstractContextManager[None]:
    """How figures look; both while they are made and while they are written."""
    return rc_context(_STYLE | more)


def new_figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """An empty figure of this many inches (width, height)."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def count_upwards(axes: Axes) -> None:
    """Counts on the y axis."""
    axes.grid(axis="y")
    axes.set_ylim(bottom=0)
    whole_numbers(axes.yaxis, 4)


def count_sideways(axes: Axes) -> None:
    """Counts of clips on the x axis."""
    axes.grid(axis="x")
    axes.set_xlim(left=0)
    axes.set_xlabel("clips")
    whole_numbers(axes.xaxis, 4)


def whole_numbers(axis: Axis, most: int) -> None:
    """Up to this many ticks (and one more), at whole numbers."""
    axis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def add_legend(figure: Figure, axes: Axes) -> None:
    """Above the axes, where it hides nothing; none where there is nothing to tell apart."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(
            handles,
            labels,
            loc="outside upper right",
            ncols=4,
            borderpad=0.1,
            handlelength=1.2,
            columnspacing=1.2,
        )
