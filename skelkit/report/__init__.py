"""Pictures: overlays of skeletons on video, plots, and the report of a dataset (`skelkit.report.page`)."""

from skelkit.report.drawing import PeoplePainter
from skelkit.report.layout import Grid
from skelkit.report.movie import MovieWriter, write_picture
from skelkit.report.palette import DARK
from skelkit.report.panel import Panel, resized
from skelkit.report.tags import draw_legend

__all__ = [
    "DARK",
    "Grid",
    "MovieWriter",
    "Panel",
    "PeoplePainter",
    "draw_legend",
    "resized",
    "write_picture",
]
