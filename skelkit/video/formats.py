"""File kinds, told by extension. Only used to choose what to pick up; what a file is, its content says."""

from __future__ import annotations

from pathlib import Path

_VIDEOS = """
    3g2 3gp amv asf avi divx dv f4v flv gif h264 h265 hevc ivf m1v m2t m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpe
    mpeg mpg mts mxf nut ogm ogv qt rm rmvb ts vob webm wmv y4m
"""
_IMAGES = "bmp jp2 jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp"

VIDEOS = frozenset(f".{name}" for name in _VIDEOS.split())
IMAGES = frozenset(f".{name}" for name in _IMAGES.split())
MANIFESTS = frozenset({".txt", ".csv"})


def extension(path: str) -> str:
    """Extension in lower case, with its dot."""
    return Path(path).suffix.lower()
