"""The thesis' two pictures of how much the body-level confidence C is worth (figures 3.7 and 3.8).

PNG or SVG, by the file's extension. Figures are drawn without pyplot: no window, no global state.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from skelkit.errors import ConfigError
from skelkit.report.movie import write_whole
from skelkit.structures import Float64

PLOT_KINDS = (".png", ".svg")
"""Extensions of pictures that can be drawn."""

_KEPT, _DISCARDED = "#5e3c99", "#4d9221"  # the thesis' purple and green
_BIN = 0.25
_LAST_BIN = 6.0
_SPEED_LIMIT = 20_000  # more points than this make an SVG of many megabytes, so they become pixels


def check_plot_name(path: str | os.PathLike[str]) -> None:
    """Raise ConfigError unless a plot can have this name."""
    if Path(path).suffix.lower() not in PLOT_KINDS:
        raise ConfigError(f"expected a picture that ends in {' or '.join(PLOT_KINDS)}, got {str(path)!r}")


def plot_confidence(
    path: str | os.PathLike[str], errors: Float64, confidence: Float64, *, gamma: float
) -> None:
    """Every pose's error against its confidence (figure 3.8), with the median error in steps of C.

    Args:
        path: The picture, replaced if it exists.
        errors: (P,) mean joint error in head lengths; poses with NaN are not drawn.
        confidence: (P,) C.
        gamma: Poses with a smaller C count as discarded.

    Raises:
        ConfigError: neither ``.png`` nor ``.svg``.
        OutputError: the operating system refuses (disk full, no permission).
    """
    check_plot_name(path)
    known = np.isfinite(errors) & np.isfinite(confidence)
    errors, confidence = errors[known], confidence[known]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, part, colour in _parts(confidence, gamma):
        axes.plot(
            confidence[part],
            errors[part],
            ".",
            ms=4,
            alpha=0.5,
            color=colour,
            label=f"{name} ({part.sum()} poses)",
            rasterized=len(errors) > _SPEED_LIMIT,
        )
    steps = np.linspace(0, 1, 21)
    at = np.digitize(confidence, steps[1:-1])
    filled = np.unique(at)
    axes.plot(
        (filled + 0.5) * steps[1],
        [np.median(errors[at == i]) for i in filled],
        "-o",
        ms=4,
        color="black",
        label="median",
    )
    axes.axvline(gamma, ls="--", lw=1, color="grey", label=f"gamma = {gamma:g}")
    # A few poses of someone else lie so high that they would flatten all others.
    top = 1.05 * float(np.quantile(errors, 0.99, method="higher")) if len(errors) else 1.0
    higher = int((errors > top).sum())
    note = f" ({higher} poses lie higher)" if higher else ""
    axes.set(xlabel="confidence C", ylabel=f"MPJPE / head length{note}", xlim=(0, 1.02), ylim=(0, top or 1))
    axes.legend()
    _save(figure, Path(path))


def plot_histogram(
    path: str | os.PathLike[str], errors: Float64, confidence: Float64, *, gamma: float
) -> None:
    """How many poses are kept and discarded at which error (figure 3.7).

    Args:
        path: The picture, replaced if it exists.
        errors: (P,) mean joint error in head lengths; poses with NaN are not counted.
        confidence: (P,) C.
        gamma: Poses with a smaller C count as discarded.

    Raises:
        ConfigError: neither ``.png`` nor ``.svg``.
        OutputError: the operating system refuses (disk full, no permission).
    """
    check_plot_name(path)
    known = np.isfinite(errors) & np.isfinite(confidence)
    errors, confidence = np.minimum(errors[known], _LAST_BIN), confidence[known]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    parts = _parts(confidence, gamma)
    axes.hist(
        [errors[part] for _, part, _ in parts],
        bins=list(np.arange(0, _LAST_BIN + _BIN, _BIN)),
        stacked=True,
        color=[colour for *_, colour in parts],
        label=[f"{name} ({part.sum()} poses)" for name, part, _ in parts],
    )
    axes.set(xlabel=f"MPJPE / head length (last bar: {_LAST_BIN - _BIN:g} and more)", ylabel="poses")
    axes.set_xlim(0, _LAST_BIN)
    axes.legend()
    _save(figure, Path(path))


def _parts(confidence: Float64, gamma: float) -> list[tuple[str, np.ndarray, str]]:
    """Kept and discarded poses (equation 3.3): name, which, colour."""
    kept = confidence >= gamma
    return [(f"kept, C ≥ {gamma:g}", kept, _KEPT), (f"discarded, C < {gamma:g}", ~kept, _DISCARDED)]


def _save(figure: Figure, path: Path) -> None:
    """Draw in memory, so that the file appears whole or not at all."""
    FigureCanvasAgg(figure)
    data = io.BytesIO()
    kind = path.suffix.lower()[1:]
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.hashsalt": "skelkit"}):  # the same figures give the same bytes
        figure.savefig(data, format=kind, dpi=150, metadata=metadata)
    write_whole(path, data.getvalue())
