"""Frames by torchcodec: the same as PyAV's, and PyAV's where torchcodec gives up.

torchcodec itself is played by PyAV here; the tests marked so run where it is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from video_samples import MakeVideo, corners, grey

from skelkit.errors import MissingExtraError, VideoError
from skelkit.video import Source, open_video, torchcodec_stream

real = pytest.mark.skipif(find_spec("torchcodec") is None, reason="torchcodec is not installed")
FRAMES = [grey(5 * n + 5) for n in range(30)]


class Fake:
    """torchcodec's decoder, made of PyAV; raises from frame `gives_up` on, and knows `count` frames."""

    gives_up = 10**9
    count = 10**9
    asked: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, path: str, **options: Any) -> None:
        Fake.asked = options
        if self.gives_up < 0:
            raise ValueError("no such video\nsomewhere in C++")
        source = Source(video_id="v", path=path.removeprefix("file:"), kind="video")
        with open_video(source) as reader:
            self.all = next(reader.batches(1000))

    def __len__(self) -> int:
        return min(len(self.all), self.count)

    def get_frames_in_range(self, begin: int, end: int) -> Any:
        if end > self.gives_up:
            raise RuntimeError("could not decode\nsomewhere in C++")
        images = 255 - self.all.images[begin:end]  # to tell who has decoded
        return SimpleNamespace(
            data=torch.from_numpy(images), pts_seconds=torch.from_numpy(self.all.pts_s[begin:end] + 3)
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Fake]]:
    monkeypatch.setattr(torchcodec_stream, "require_torchcodec", lambda: Fake)
    yield Fake
    Fake.gives_up = Fake.count = 10**9


def read(source: Source, **options: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    with open_video(source, **options) as reader:
        batches = list(reader.batches(7))
        remark = reader.remark
    parts = ((b.images, b.indices, b.pts_s) for b in batches)
    images, indices, times = (np.concatenate(p) for p in zip(*parts, strict=True))
    return images, indices, times, remark


def test_torchcodec_decodes_on_the_device_that_is_asked_for(make_video: MakeVideo, fake: type[Fake]) -> None:
    source = make_video("v.mp4", FRAMES, pts=[40 * n + 13 * (n > 9) for n in range(30)])
    images, indices, times, remark = read(source, torchcodec="cuda:1", stride=3)
    wanted, wanted_indices, wanted_times, _ = read(source, stride=3)
    np.testing.assert_array_equal(images, 255 - wanted)
    np.testing.assert_array_equal(indices, wanted_indices)
    np.testing.assert_allclose(times, wanted_times, atol=1e-6)
    assert fake.asked["device"] == "cuda:1"
    assert not remark


@pytest.mark.parametrize(("gives_up", "count", "by_torchcodec"), [(20, 99, 16), (99, 12, 12), (-1, 99, 0)])
def test_pyav_goes_on_where_torchcodec_gives_up(
    make_video: MakeVideo, fake: type[Fake], gives_up: int, count: int, by_torchcodec: int
) -> None:
    source = make_video("v.mp4", FRAMES)
    fake.gives_up, fake.count = gives_up, count
    images, indices, times, remark = read(source, torchcodec="cpu")
    wanted, wanted_indices, wanted_times, _ = read(source)
    np.testing.assert_array_equal(images[:by_torchcodec], 255 - wanted[:by_torchcodec])
    np.testing.assert_array_equal(images[by_torchcodec:], wanted[by_torchcodec:])
    np.testing.assert_array_equal(indices, wanted_indices)
    np.testing.assert_allclose(times, wanted_times, atol=1e-6)
    assert remark.startswith("what torchcodec gives up on is decoded by PyAV")
    assert "C++" not in remark


def test_what_torchcodec_would_turn_or_number_otherwise_is_left_to_pyav(
    make_video: MakeVideo, fake: type[Fake]
) -> None:
    one = 1 << 16
    turned = make_video("t.mp4", [corners(64, 48)] * 3, matrix=[0, one, 0, -one, 0, 0, 0, 0, 1 << 30])
    for source, why in (
        (turned, "turned"),
        (make_video("v.avi", FRAMES), "plain MP4"),
        (make_video("v.mkv", FRAMES), "plain MP4"),
    ):
        images, _, _, remark = read(source, torchcodec="cpu")
        np.testing.assert_array_equal(images, read(source)[0])
        assert why in remark


def test_a_fallback_of_torchcodec_itself_is_told(
    make_video: MakeVideo, fake: type[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "cpu_fallback", "Video not supported", raising=False)
    remark = read(make_video("v.mp4", FRAMES), torchcodec="cuda:0")[3]
    assert remark == "what NVDEC cannot decode is decoded by torchcodec on the CPU (Video not supported)"


def test_what_to_type_where_torchcodec_is_missing(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(MissingExtraError, match=r"pip install torchcodec.*apt install ffmpeg") as caught:
        open_video(make_video("v.mp4", FRAMES), torchcodec="cuda:0")
    assert caught.value.extra == "gpu"


@real
def test_real_frames_are_the_same(make_video: MakeVideo) -> None:
    noise = list(np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8))
    source = make_video("v.mp4", noise, pts=[40 * n + 13 * (n > 9) for n in range(40)])
    images, indices, times, remark = read(source, torchcodec="cpu")
    wanted, wanted_indices, wanted_times, _ = read(source)
    assert np.abs(images.astype(int) - wanted).max() <= 2
    np.testing.assert_array_equal(indices, wanted_indices)
    np.testing.assert_allclose(times, wanted_times, atol=1e-6)
    assert not remark


@real
def test_real_decoders_let_go_of_the_file(make_video: MakeVideo) -> None:
    source = make_video("v.mp4", FRAMES)
    with open_video(source, torchcodec="cpu") as reader:
        next(reader.batches(4))
    held = [path.resolve() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert Path(source.path) not in held


@real
@pytest.mark.parametrize("name", ["bad_corrupt_middle.mp4", "bad_truncated60_faststart.mp4"])
def test_real_damage_is_told_in_the_same_words(pack: Path, name: str) -> None:
    said = []
    for torchcodec in (None, "cpu"):
        source = Source(video_id="v", path=str(pack / "media" / name), kind="video")
        with (
            open_video(source, torchcodec=torchcodec, stride=10) as reader,
            pytest.raises(VideoError) as caught,
        ):
            for _ in reader.batches(1):
                pass
        said.append((caught.value.message, reader.info.num_frames))
    assert said[0] == said[1]
