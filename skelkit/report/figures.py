"""What the figures of a dataset's report show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from skelkit.report.charts import (
    Chart,
    add_legend,
    count_sideways,
    count_upwards,
    new_figure,
    style,
    whole_numbers,
)
from skelkit.report.facts import Column, DatasetFacts
from skelkit.report.palette import PAGE, SERIES
from skelkit.report.tables import ClassRow, FilterRow, shortened
from skelkit.structures import Float64

_BARS = 40
"""Bars of a histogram, about."""
_PER_COLUMN = 80
"""Classes below each other in the picture of all classes."""
_SMALL = 7.0
"""Points of the letters where there are many names."""

_SHARES = LinearSegmentedColormap.from_list("shares", [PAGE["ground"][0], PAGE["series-0"][0]])


def histograms(facts: DatasetFacts, pose_confidence: Column) -> list[Chart]:
    """Of length, people, presence, and the confidences; those without a finite value are left out.

    Args:
        facts: The dataset.
        pose_confidence: C of single poses, of a part of the clips.
    """
    gamma = facts.gamma
    by_split = [(split, facts.split == split, _colour(i)) for i, split in enumerate(facts.splits)]
    kept = pose_confidence >= gamma
    by_gamma = [(f"C ≥ {gamma:g}", kept, PAGE["kept"][0]), (f"C < {gamma:g}", ~kept, PAGE["discarded"][0])]
    unit = np.linspace(0, 1, _BARS + 1)
    mean_c, presence, score = facts.mean_confidence, facts.presence, facts.mean_score
    charts = [
        _histogram("length", "Length of clips", "frames", facts.num_frames, by_split),
        _histogram("people", "People per clip", "people", facts.num_people, by_split),
        _histogram("presence", "Frames with somebody", "share of frames", presence, by_split, edges=unit),
        _histogram("confidence", "Confidence of clips", "mean C", mean_c, by_split, edges=unit, gamma=gamma),
        _histogram("poses", "Confidence of poses", "C", pose_confidence, by_gamma, edges=unit, gamma=gamma),
        _histogram("score", "Scores of joints", "mean score of a clip", score, by_split, edges=unit),
    ]
    return [chart for chart in charts if chart]


def class_sizes(facts: DatasetFacts, classes: Sequence[ClassRow]) -> Chart:
    """Clips of every class by split, from the largest to the smallest."""
    sizes = np.array([row.by_split for row in classes], float).reshape(len(classes), len(facts.splits))
    edges = np.arange(len(sizes) + 1, dtype=np.float64) + 0.5
    with style():
        figure, axes = new_figure((12.5, 2.4))
        _stack(axes, edges, [(split, sizes[:, i], _colour(i)) for i, split in enumerate(facts.splits)])
        axes.set(xlabel="classes, from the largest to the smallest", ylabel="clips")
        axes.set_xlim(0.5, max(1.5, edges[-1]))
        count_upwards(axes)
        add_legend(figure, axes)
    middle = np.median(sizes.sum(axis=1)) if len(sizes) else 0
    caption = f"{len(classes):,} classes, median size {middle:,.0f}"
    return Chart(name="class-sizes", title="Sizes of classes", caption=caption, figure=figure)


def named_classes(facts: DatasetFacts, classes: Sequence[ClassRow]) -> Chart:
    """Clips of every class by split, with the names of all."""
    most = max([row.clips for row in classes], default=0) or 1

    def draw(axes: Axes, part: slice) -> None:
        here = classes[part]
        left = np.zeros(len(here))
        for i, split in enumerate(facts.splits):
            width = np.array([row.by_split[i] for row in here], float)
            axes.barh(range(len(here)), width, left=left, color=_colour(i), label=drawn(split, 16))
            left += width
        count_sideways(axes)
        axes.set_xlim(0, 1.02 * most)

    figure = named_bars([row.label for row in classes], draw)
    caption = f"{len(classes):,} classes"
    return Chart(name="classes", title="Clips of every class", caption=caption, figure=figure)


def named_bars(names: Sequence[str], draw: Callable[[Axes, slice], None]) -> Figure:
    """A line for each name, in as many columns as are needed; `draw` draws some of them into the axes."""
    columns = max(1, -(-len(names) // _PER_COLUMN))
    rows = -(-max(1, len(names)) // columns)
    with style(**{"font.size": _SMALL}):
        figure, first = new_figure((max(7.0, 4.2 * columns), 1.1 + 0.15 * rows))
        first.remove()
        for column, axes in enumerate(figure.subplots(1, columns, squeeze=False)[0]):
            part = slice(column * rows, (column + 1) * rows)
            draw(axes, part)
            axes.set_yticks(range(len(names[part])), [drawn(name) for name in names[part]])
            axes.set_ylim(rows - 0.4, -0.6)
        add_legend(figure, axes)
    return figure


def funnel(filters: Sequence[FilterRow]) -> Chart:
    """What every rule left and took."""
    places = range(len(filters))
    left, dropped = [rule.left for rule in filters], [rule.dropped for rule in filters]
    with style():
        figure, axes = new_figure((7.0, 1.3 + 0.3 * len(filters)))
        axes.barh(places, left, color=_colour(0), label="left")
        axes.barh(places, dropped, left=left, color=_colour(1), label="dropped")
        axes.set_yticks(places, [drawn(f"{rule.rule} {rule.limit}") for rule in filters])
        for place, rule in enumerate(filters):
            text = f"-{rule.dropped:,}"
            axes.annotate(text, (rule.clips_in, place), (4, 0), textcoords="offset points", va="center")
        axes.margins(x=0.12)
        axes.set_ylim(len(filters) - 0.4, -0.6)
        count_sideways(axes)
        add_legend(figure, axes)
    caption = f"{sum(dropped):,} clips dropped"
    return Chart(name="filters", title="Clips left and dropped by rule", caption=caption, figure=figure)


def heatmap(names: Sequence[str], shares: Float64, joints: Sequence[str]) -> Chart:
    """Share of poses that have each joint.

    Args:
        names: Of the G rows.
        shares: (G, K); NaN where there is no pose.
        joints: K names.
    """
    with style(**{"font.size": _SMALL}):
        figure, axes = new_figure((4.2 + 0.3 * len(joints), 2.1 + 0.15 * max(1, len(names))))
        image = axes.imshow(shares, vmin=0, vmax=1, aspect="auto", cmap=_SHARES)
        axes.set_xticks(range(len(joints)), joints, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), [drawn(name) for name in names])
        figure.colorbar(image, ax=axes, label="share of poses", pad=0.02)
    return Chart(name="visibility", title="Visible joints", caption=f"{len(names):,} rows", figure=figure)


def drawn(name: str, length: int = 48) -> str:
    """A name in a picture: in one line and not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return shortened(line, length).lstrip("_") or "no label"  # matplotlib hides labels that begin with _


def _histogram(
    name: str,
    title: str,
    label: str,
    values: Column,
    groups: Sequence[tuple[str, Column, str]],
    *,
    edges: Float64 | None = None,
    gamma: float | None = None,
) -> Chart | None:
    """Stacked by group; without edges of whole numbers, the last bar for all that is larger."""
    known = np.isfinite(values)
    if not known.any():
        return None
    low, middle, high = np.quantile(values[known], [0.25, 0.5, 0.75])
    if whole := edges is None:
        edges, more = _whole_edges(values[known])
        label += f" (last bar: {more:,.0f} and more)" if more else ""
    shown = np.clip(values, edges[0], edges[-1])
    parts = [(n, np.histogram(shown[chosen & known], edges)[0], colour) for n, chosen, colour in groups]
    with style():
        figure, axes = new_figure((4.7, 2.6))
        _stack(axes, edges, parts)
        if gamma is not None:
            axes.axvline(gamma, ls=(0, (4, 3)), lw=1.2, color=PAGE["ink"][0], label=f"gamma = {gamma:g}")
        axes.set(xlabel=label, xlim=(edges[0], edges[-1]))
        if whole:
            whole_numbers(axes.xaxis, 6)
        count_upwards(axes)
        add_legend(figure, axes)
    places = 0 if whole else 2
    caption = f"median {middle:,.{places}f}, middle half {low:,.{places}f} to {high:,.{places}f}"
    return Chart(name=name, title=title, caption=caption, figure=figure)


def _stack(axes: Axes, edges: Float64, parts: Sequence[tuple[str, Column, str]]) -> None:
    """Steps on top of each other: name, height between the edges, colour."""
    bottom = np.zeros(len(edges) - 1)
    for name, height, colour in parts:
        top = bottom + height
        axes.stairs(top, edges, baseline=bottom, fill=True, color=colour, label=drawn(name, 16))
        bottom = top


def _whole_edges(values: Column) -> tuple[Float64, float]:
    """Edges around whole numbers, and where the last bar begins if it stands for all larger ones, else 0."""
    low, high, most = float(values.min()), float(np.quantile(values, 0.99)), float(values.max())
    step = max(1.0, np.ceil((high - low + 1) / _BARS))
    count = max(4, int((high - low) // step) + 1)  # a bar as wide as the figure would look like a fault
    edges = low - 0.5 + step * np.arange(count + 1)
    return edges, edges[-2] + 0.5 if most > edges[-1] else 0.0


def _colour(number: int) -> str:
    return PAGE[f"series-{number % SERIES}"][0]
