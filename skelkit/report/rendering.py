"""Templates -> pages: one HTML file that needs nothing else, whatever it reports on."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from skelkit.report.charts import Chart
from skelkit.report.movie import write_whole
from skelkit.report.palette import PAGE, SERIES
from skelkit.report.tables import shortened


def render(template: str, **values: Any) -> str:
    """The page of a template that extends ``base.html``."""
    script = (files("skelkit.report") / "templates" / "page.js").read_text("utf-8")
    return (
        _environment()
        .get_template(template)
        .render(
            palette=PAGE,
            num_series=SERIES,
            script=Markup(script),  # ours
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            **values,
        )
    )


def write_report(html: str, charts: Iterable[Chart], page: Path, figures: Path) -> list[Path]:
    """Write a page, and its figures into a folder that is there.

    Returns:
        The figures.

    Raises:
        OutputError: the operating system refuses (disk full, no permission).
    """
    written = []
    for chart in charts:
        written.append(figures / f"{chart.name}.png")
        write_whole(written[-1], chart.png())
    write_whole(page, html.encode("utf-8", "backslashreplace"))
    return written


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("skelkit.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "number": _number,
        "percent": _percent,
        "count": _count,
        "size": _size,
        "name": _name,
    }
    return environment


def _number(value: float, places: int = 0) -> str:
    """With thousands set off; a dash where there is none."""
    return f"{value:,.{places}f}" if np.isfinite(value) else "\N{EN DASH}"


def _percent(share: float) -> str:
    """To one place, without the sign."""
    return _number(100 * share, 1)


def _count(count: int) -> str:
    """In millions, to three places, where it is many: room is short."""
    millions = count / 1e6
    return _number(count) if millions < 1 else f"{millions:,.{2 - sum(millions >= n for n in (10, 100))}f} M"


def _size(count: int) -> str:
    """Bytes for people."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"


def _name(text: str, none: str = "no label", longest: int = 160) -> Markup:
    """A name of any length and direction of writing, or a note that there is none."""
    if not text:
        return Markup("<i>{}</i>").format(none)
    return Markup("<bdi>{}</bdi>").format(shortened(text, longest))
