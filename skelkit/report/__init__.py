"""Pictures: overlays of skeletons on video."""

from skelkit.report.drawing import PeoplePainter
from skelkit.report.layout import Grid
from skelkit.report.movie import MovieWriter, write_picture
from skelkit.report.tags import draw_legend, draw_tag

__all__ = ["Grid", "MovieWriter", "PeoplePainter", "draw_legend", "draw_tag", "write_picture"]
