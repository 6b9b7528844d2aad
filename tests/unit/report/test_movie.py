from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from skelkit.errors import OutputError
from skelkit.report import MovieWriter, write_picture


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_movie(path: Path, times: list[float], height: int = 48, width: int = 64) -> None:
    with MovieWriter(path, fps=25.0) as movie:
        for level, pts_s in enumerate(times):
            movie.write(np.full((height, width, 3), 20 * level, np.uint8), pts_s)


def read_movie(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(f.pts * f.time_base) for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """What a full disk looks like to a process: writes beyond this size fail."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_uneven_times_survive_and_start_at_zero(tmp_path: Path) -> None:
    times = [3.0, 3.02, 3.121, 3.5, 3.5334, 9.0]
    write_movie(tmp_path / "out.mp4", times)
    stamps, images = read_movie(tmp_path / "out.mp4")
    assert stamps == pytest.approx([t - 3.0 for t in times], abs=1e-5)
    assert [round(float(image.mean()) / 20) for image in images] == list(range(6))
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_times_that_stand_still_are_pushed_on(tmp_path: Path) -> None:
    write_movie(tmp_path / "out.mp4", [0.0, 0.0, 0.0])
    stamps, _ = read_movie(tmp_path / "out.mp4")
    assert len(set(stamps)) == 3


def test_it_plays_everywhere(tmp_path: Path) -> None:
    write_movie(tmp_path / "out.mp4", [0.0, 0.04])
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize(("height", "width"), [(47, 63), (48, 63), (1, 1)])
def test_odd_sizes_are_padded(tmp_path: Path, height: int, width: int) -> None:
    with MovieWriter(tmp_path / "out.mp4", fps=0.0) as movie:
        movie.write(np.full((height, width, 3), 200, np.uint8), 0.0)
    (image,) = read_movie(tmp_path / "out.mp4")[1]
    assert image.shape == (height + height % 2, width + width % 2, 3)
    assert abs(float(image[0, 0].mean()) - 200) < 40


def _movie(path: Path) -> None:
    with MovieWriter(path, fps=25.0) as movie:
        for i in range(20):
            movie.write(noise(240, 320, i), i / 25)


def _picture(path: Path) -> None:
    write_picture(path, noise(240, 320))


@pytest.mark.parametrize(("write", "name"), [(_movie, "out.mp4"), (_picture, "out.png")])
class TestRefusals:
    def test_a_full_disk_leaves_what_was_there(
        self, tmp_path: Path, write: Callable[[Path], None], name: str
    ) -> None:
        (tmp_path / name).write_text("before")
        with largest_file(50_000), pytest.raises(OutputError, match="File too large"):
            write(tmp_path / name)
        assert [p.name for p in tmp_path.iterdir()] == [name]
        assert (tmp_path / name).read_text() == "before"

    def test_a_folder_that_is_not_there(
        self, tmp_path: Path, write: Callable[[Path], None], name: str
    ) -> None:
        with pytest.raises(OutputError, match="No such file"):
            write(tmp_path / "nowhere" / name)


def test_after_an_exception_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), MovieWriter(tmp_path / "out.mp4", fps=25.0) as movie:
        movie.write(noise(48, 64), 0.0)
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_movie_without_frames_is_none(tmp_path: Path) -> None:
    with MovieWriter(tmp_path / "out.mp4", fps=25.0):
        pass
    assert not list(tmp_path.iterdir())


def test_a_picture_comes_back_as_it_was(tmp_path: Path) -> None:
    image = noise(31, 47)
    write_picture(tmp_path / "out.png", image)
    assert (cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_COLOR_RGB) == image).all()
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
