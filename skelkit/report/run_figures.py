"""What the figures of a run's report show."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from skelkit.report.charts import Chart, add_legend, new_figure, style, whole_numbers
from skelkit.report.figures import drawn, named_bars
from skelkit.report.palette import PAGE
from skelkit.report.run_facts import JointMatrices, RunFacts, SplitResult
from skelkit.report.run_tables import ALL_IN_A_TABLE, ClassScore, similar_order
from skelkit.structures import Float32, Float64, Int64, Skeleton

_RIGHT, _WRONG = (to_rgba(PAGE[role][0]) for role in ("series-0", "series-1"))
_SMALL = 6.5
"""Points of the letters where there are many names."""
_IN_A_ROW = 5
"""Matrices beside each other."""
_UNEVEN = 0.2
"""Attention that differs less than this from an even share, relative to it, counts as spread evenly."""
_NAMES = 1.1
"""Inches that names of classes take around a confusion matrix, on the mean."""
_WIDTH = 7.4
"""Inches of a figure of matrices."""
_OVERVIEW = 960
"""Pixels of the side of a picture of all classes, about."""

# Both fade into whatever ground they stand on, light or dark.
_WEIGHTS = LinearSegmentedColormap.from_list("weights", [(*_RIGHT[:3], 0.0), _RIGHT])
_SIGNED = LinearSegmentedColormap.from_list(
    "signed", [_WRONG, (*_WRONG[:3], 0.0), (*_RIGHT[:3], 0.0), _RIGHT]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All classes' confusions as one picture that tells what is under the pointer."""

    picture: Markup
    """URL."""
    cells: str
    """JSON: names in the order of the picture, clips of each, and [row, column, count] of cells above 0."""
    alt: str


def curves(facts: RunFacts) -> list[Chart]:
    """Loss, top-1, and the rate over epochs; those without a point are left out."""
    epochs = facts.whole_epochs
    steps = epochs[0]["step"] if epochs else 0.0
    name = "epoch" if steps else "step"
    points = [point for point in facts.curves if "loss" in point]
    at = np.array([point["step"] for point in points]) / (steps or 1)
    after = np.array([point["epoch"] + 1 for point in epochs])
    losses = {"training": _of(epochs, "train_loss"), "validation": _of(epochs, "val_loss")}
    hits = {"training": _of(epochs, "train_top1"), "validation": _of(epochs, "val_top1")}
    found = [_loss(at, _of(points, "loss"), after, losses, name), _top1(facts, after, hits)]
    return [chart for chart in (*found, _rate(at, _of(points, "lr"), name)) if chart]


def class_bars(rows: Sequence[ClassScore], split: str) -> Chart:
    """Share of every class that is recognised, with the names of all."""

    def draw(axes: Axes, part: slice) -> None:
        here = rows[part]
        axes.barh(range(len(here)), np.nan_to_num([row.share for row in here]), color=_RIGHT)
        for place, row in enumerate(here):
            text = f"{row.right}/{row.clips}" if row.clips else "no clip"
            axes.annotate(
                text, (row.share if row.clips else 0, place), (3, 0), textcoords="offset points", va="center"
            )
        axes.set(xlim=(0, 1.18), xlabel="recognised")
        axes.set_xticks([0, 0.5, 1])
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x")

    figure = named_bars([row.label for row in rows], draw)
    caption = f"{len(rows):,} classes, the worst first; clips recognised of clips tested"
    return Chart(
        name=f"{_plain(split)}-classes",
        title=f"Accuracy of classes on {drawn(split, 24)}",
        caption=caption,
        figure=figure,
    )


def confusion_picture(facts: RunFacts, result: SplitResult) -> Chart:
    """The confusion matrix with the names of all classes; with counts where they are few."""
    order = similar_order(result.confusion)
    counts = result.confusion[np.ix_(order, order)]
    few = len(order) <= ALL_IN_A_TABLE
    cell, letters = (0.3, _SMALL + 0.5) if few else (0.085, 4.5)
    side = max(2.5, cell * len(order))
    with style(**{"font.size": letters}):
        figure, axes = new_figure((side + 2 * _NAMES, side + 2 * _NAMES))
        figure.set_layout_engine(None)
        share = _NAMES / (side + 2 * _NAMES)
        figure.subplots_adjust(1.7 * share, 1.7 * share, 1 - 0.3 * share, 1 - 0.3 * share)
        axes.imshow(_colours(counts), aspect="equal", interpolation="nearest")
        names = [drawn(facts.class_names[i], 28) for i in order]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.set(xlabel="taken for", ylabel="class")
        for i, j in np.argwhere(counts) if few else ():
            strong = counts[i, j] > 0.5 * counts[i].sum()
            axes.text(
                j, i, str(counts[i, j]), ha="center", va="center", color=PAGE["paper" if strong else "ink"][0]
            )
    caption = f"{len(order):,} classes, {result.clips:,} clips; classes taken for each other stand together"
    return Chart(
        name=f"{_plain(result.split)}-confusion",
        title=f"Confusions on {drawn(result.split, 24)}",
        caption=caption,
        figure=figure,
    )


def confusion_overview(facts: RunFacts, result: SplitResult) -> Overview:
    """The confusion matrix for a page, for more classes than a table could hold."""
    order = similar_order(result.confusion)
    counts = result.confusion[np.ix_(order, order)]
    scale = max(1, _OVERVIEW // len(counts))
    pixels = (255 * _colours(counts)).round().astype(np.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    _, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA))
    rows, columns = counts.nonzero()
    cells = {
        "names": [facts.class_names[i] for i in order],
        "totals": counts.sum(axis=1).tolist(),
        "counts": np.stack([rows, columns, counts[rows, columns]], axis=1).tolist(),
    }
    return Overview(
        picture=Markup("data:image/png;base64," + base64.b64encode(data.tobytes()).decode()),  # ours
        cells=json.dumps(cells, ensure_ascii=False, separators=(",", ":")),
        alt=f"Confusion matrix of {len(order)} classes; the table below holds the hardest.",
    )


def graphs_before(matrices: Sequence[JointMatrices], skeleton: Skeleton | None) -> list[Chart]:
    """The graphs that the units began with, each once."""
    found: dict[bytes, Chart] = {}
    for unit in matrices:
        if unit.before is not None and (key := unit.before.tobytes()) not in found:
            title = "Graph before learning" + "".join(f", {part}" for part in unit.name.split(", ")[1:])
            figure = _grid([("graph", unit.before)], unit.matrix, skeleton)
            found[key] = Chart(
                name=f"graph-{len(found) + 1}",
                title=title,
                caption=f"{_many(len(unit.before), unit.matrix)}, made from the bones of the joint set",
                figure=figure,
            )
    return list(found.values())


def joint_matrices(unit: JointMatrices, skeleton: Skeleton | None) -> Chart:
    """What a unit has learnt, and its attention where it is known (figure 5 of UNIK)."""
    rows = [("learnt", unit.learned)]
    words = [f"learnt: {told}"] if (told := strongest(unit.learned, unit.matrix, skeleton)) else []
    least = 0.0
    if unit.attention is not None:
        values, even = above_even(unit.attention)
        rows.append(("attention", values))
        least = _UNEVEN * even
        if np.abs(values).max() < least:
            words.append("attention: spread evenly")
        elif told := strongest(values, unit.matrix, skeleton, signed=True):
            words.append(f"attention: {told}")
    if unit.before is not None:
        words.append(f"largest change of the graph {np.abs(unit.learned - unit.before).max():.2f}")
    return Chart(
        name=f"joints-{_plain(unit.name)}",
        title=unit.name,
        caption="; ".join(words),
        figure=_grid(rows, unit.matrix, skeleton, least=least),
    )


def above_even(attention: Float32) -> tuple[Float32, float]:
    """Attention less the share that all joints would have if it were spread evenly, and that share.

    Attention that is no share of a whole stays as it is, with a share of 0.
    """
    even = 1 / attention.shape[1]
    if not np.allclose(attention.sum(axis=1), 1, atol=1e-3):
        return attention, 0.0
    return attention - np.float32(even), even


def strongest(
    values: Float32, matrix: str, skeleton: Skeleton | None, *, count: int = 3, signed: bool = False
) -> str:
    """The largest weights from one joint to another, in words; empty where nodes are not joints."""
    if skeleton is None or values.shape[1] != skeleton.num_joints:
        return ""
    size = np.abs(values) * ~np.eye(values.shape[1], dtype=bool)
    order = np.argsort(-size, axis=None, kind="stable")[:count]
    joints = [joint.replace("_", " ") for joint in skeleton.joints]
    form = "+.2f" if signed else ".2f"
    return ", ".join(
        f"{joints[v]} \N{RIGHTWARDS ARROW} {joints[w]} {values[s, v, w]:{form}} ({matrix} {s + 1})"
        for s, v, w in zip(*np.unravel_index(order, values.shape), strict=True)
    )


def _loss(
    at: Float64, step: Float64, after: Float64, epoch: Mapping[str, Float64], name: str
) -> Chart | None:
    known = np.concatenate([*epoch.values(), step])
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    with style():
        figure, axes = new_figure((4.7, 2.8))
        axes.plot(at, step, lw=0.6, color=PAGE["muted"][0], label="single steps")
        _lines(axes, after, epoch)
        whole = np.concatenate(list(epoch.values()))
        whole = whole[np.isfinite(whole)]
        # The first steps may lie so high that they would flatten all others.
        top = max(np.quantile(known, 0.97), whole.max() if len(whole) else 0.0)
        axes.set(xlabel=name, ylim=(0, 1.08 * float(top) or 1.0))
        _along(axes)
        add_legend(figure, axes)
    return Chart(
        name="loss", title="Loss", caption=_last(epoch, "{:.3g}") or f"{known[-1]:.3g}", figure=figure
    )


def _top1(facts: RunFacts, after: Float64, hits: Mapping[str, Float64]) -> Chart | None:
    if not len(after):
        return None
    with style():
        figure, axes = new_figure((4.7, 2.8))
        _lines(axes, after, hits)
        for i, result in enumerate(facts.results[:3]):
            label = drawn(result.split, 16)
            axes.axhline(result.top1, ls=(0, (4, 3)), lw=1.2, color=PAGE[f"series-{i + 2}"][0], label=label)
        axes.set(xlabel="epoch", ylim=(0, 1.02))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        _along(axes)
        add_legend(figure, axes)
    return Chart(name="top1", title="Top-1 accuracy", caption=_last(hits, "{:.1%}"), figure=figure)


def _rate(at: Float64, rate: Float64, name: str) -> Chart | None:
    if not len(rate):
        return None
    with style():
        figure, axes = new_figure((4.7, 2.8))
        axes.plot(at, rate, color=_RIGHT, marker="o" if len(rate) < 3 else "")
        axes.set(xlabel=name, ylim=(0, 1.08 * float(rate.max()) or 1.0))
        _along(axes)
    return Chart(name="rate", title="Learning rate", caption=f"at most {rate.max():.3g}", figure=figure)


def _lines(axes: Axes, after: Float64, parts: Mapping[str, Float64]) -> None:
    for i, (name, values) in enumerate(parts.items()):
        if np.isfinite(values).any():
            axes.plot(
                after, values, color=PAGE[f"series-{i}"][0], marker="o" if len(after) < 3 else "", label=name
            )


def _along(axes: Axes) -> None:
    axes.grid(axis="y")
    axes.set_xlim(left=0)
    whole_numbers(axes.xaxis, 6)
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _last(parts: Mapping[str, Float64], form: str) -> str:
    told = [f"{name} {form.format(v[-1])}" for name, v in parts.items() if len(v) and np.isfinite(v[-1])]
    return f"last epoch: {', '.join(told)}" if told else ""


def _of(points: Sequence[Mapping[str, float]], name: str) -> Float64:
    return np.array([point.get(name, np.nan) for point in points], np.float64)


def _colours(counts: Int64) -> Float64:
    """(n, n, 4): the share of a row, its root for small ones to be seen; what is wrong in another colour."""
    share = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    right = np.eye(len(counts), dtype=bool)[..., None]
    colour = np.where(right, np.array(_RIGHT[:3]), np.array(_WRONG[:3]))
    return np.concatenate([colour, share[..., None]], axis=-1)


def _grid(
    rows: Sequence[tuple[str, Float32]], matrix: str, skeleton: Skeleton | None, *, least: float = 0.0
) -> Figure:
    """Matrices of several kinds, of each kind as many beside each other as there is room for.

    Colours of the last kind reach at least to `least`: what hardly differs shall look so.
    """
    count, nodes = rows[0][1].shape[:2]
    columns = min(count, _IN_A_ROW)
    joints: list[str] = []
    if skeleton is not None and nodes == skeleton.num_joints:
        joints = [joint.replace("_", " ") for joint in skeleton.joints]
    # In inches, worked out here: matplotlib would take a second to find the same.
    left, below, gap, head, bar = (0.95, 0.85, 0.07, 0.2, 0.55) if joints else (0.1, 0.1, 0.07, 0.2, 0.55)
    cell = min(2.4, (_WIDTH - left - bar) / columns - gap)
    line = cell + head
    height = len(rows) * (-(-count // columns) * line + below) + 0.1
    with style(**{"font.size": _SMALL}):
        figure, first = new_figure((_WIDTH, height))
        figure.set_layout_engine(None)
        first.remove()
        top = height - 0.05
        for number, (name, values) in enumerate(rows):
            colours, scale = _scale(values, least if number == len(rows) - 1 else 0.0)
            for s in range(count):
                down, across = divmod(s, columns)
                place = left + across * (cell + gap), top - (down + 1) * line, cell, cell
                axes = figure.add_axes(_shares(place, height))
                # As vectors: every cell keeps its edges at any size.
                axes.imshow(values[s], cmap=colours, norm=scale, interpolation="none")
                axes.set_title(f"{name}, {matrix} {s + 1}", fontsize=_SMALL + 0.5, pad=2)
                _name_axes(axes, joints if across == 0 else [], joints if s + columns >= count else [])
            place = left + columns * (cell + gap), top - line, 0.1, cell
            legend = figure.colorbar(
                ScalarMappable(scale, colours), cax=figure.add_axes(_shares(place, height))
            )
            legend.outline.set_visible(False)
            legend.ax.yaxis.set_major_locator(MaxNLocator(5))
            top -= -(-count // columns) * line + below
    return figure


def _shares(inches: tuple[float, float, float, float], height: float) -> tuple[float, float, float, float]:
    """Left, bottom, width and height as shares of the figure."""
    left, bottom, across, up = inches
    return left / _WIDTH, bottom / height, across / _WIDTH, up / height


def _scale(values: Float32, least: float) -> tuple[LinearSegmentedColormap, Normalize]:
    top = max(float(np.abs(values).max()), least) or 1.0
    return (_SIGNED, Normalize(-top, top)) if (values < 0).any() else (_WEIGHTS, Normalize(0, top))


def _name_axes(axes: Axes, left: Sequence[str], below: Sequence[str]) -> None:
    axes.tick_params(length=0, pad=1.5)
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.5)
    axes.set_yticks(range(len(left)), left)
    axes.set_xticks(range(len(below)), below, rotation=90)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _plain(name: str) -> str:
    """For a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "all"
