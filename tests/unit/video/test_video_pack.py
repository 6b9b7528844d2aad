"""The reader on real files, good and bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skelkit.errors import VideoError
from skelkit.video import Source, find_sources, open_video, probe

# name -> frames that `ffprobe -count_frames` counts, (width, height) upright, last time stamp in seconds
GOOD = {
    "S001C001P001R001A001_rgb.avi": (103, (1920, 1080), 102 / 30),
    "demo_armwrestling.mp4": (280, (340, 256), 279 / 28),
    "demo_skeleton.mp4": (72, (1920, 1080), 2.533333),
    "mmpose_demo.mp4": (5, (960, 540), 0.8),
    "no_person.mp4": (36, (300, 256), 35 / 30),
    "ntu_sample.avi": (72, (1920, 1080), 71 / 30),
    "odd_321x241_h264_444.mp4": (72, (321, 241), 2.533333),
    "odd_321x241_mpeg4.mp4": (72, (321, 241), 2.533333),
    "one_frame.mp4": (1, (960, 540), 0.0),
    "openpose_video.avi": (205, (1280, 720), 204 / 50),
    "posetrack18_000001_mpiinew_test.mp4": (5, (1280, 720), 4 / 30),
    "rotated90_tag.mp4": (72, (640, 360), 2.533333),
    "test_makeup.avi": (164, (320, 240), 163 / 25),
    "test_pool.mp4": (300, (340, 256), 299 / 30),
    "vfr.mp4": (99, (640, 360), 4.0),
}
DAMAGED = {  # name -> frames that ffprobe counts, frames promised, what is said
    "bad_corrupt_middle.mp4": (70, 72, "2 packets are damaged"),
    "bad_truncated60_faststart.mp4": (40, 72, "cut short"),
}
UNREADABLE = {
    "audio_only.mp4": "only audio",
    "bad_text.mp4": "none of the formats",
    "bad_truncated60.mp4": "without its index",
    "bad_zero_byte.mp4": "an empty file",
}


def source(pack: Path, name: str) -> Source:
    return Source(video_id=name, path=str(pack / "media" / name), kind="video")


def test_every_file_is_found(pack: Path) -> None:
    found = find_sources([pack / "media"])
    assert {Path(s.path).name for s in found} == {*GOOD, *DAMAGED, *UNREADABLE}
    assert [s.video_id for s in found] == sorted(Path(s.path).stem for s in found)


@pytest.mark.parametrize("name", GOOD)
def test_good(pack: Path, name: str) -> None:
    count, size, last = GOOD[name]
    header = probe(source(pack, name))
    times, indices = [], []
    with open_video(source(pack, name)) as reader:
        for batch in reader.batches(16):
            assert batch.images.shape[1:] == (size[1], size[0], 3)
            times += batch.pts_s.tolist()
            indices += batch.indices.tolist()
    assert indices == list(range(count))
    assert reader.info.num_frames == header.num_frames_from_header == count
    assert (header.width, header.height) == size
    assert times[0] == 0.0
    assert np.all(np.diff(times) > 0.01)
    assert times[-1] == pytest.approx(last, abs=1e-5)


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(pack: Path, name: str) -> None:
    count, promised, said = DAMAGED[name]
    seen = 0
    with open_video(source(pack, name)) as reader, pytest.raises(VideoError, match=said) as caught:
        for batch in reader.batches(16):
            seen += len(batch)
    assert seen == caught.value.frames_decoded == reader.info.num_frames == count
    assert caught.value.frames_promised == promised
    assert f"decoded {count} of the {promised} frames" in caught.value.message


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable(pack: Path, name: str) -> None:
    with pytest.raises(VideoError, match=UNREADABLE[name]) as caught:
        open_video(source(pack, name))
    assert caught.value.frames_decoded == 0


def test_rotated_file_shows_the_same_as_the_one_it_was_made_from(pack: Path) -> None:
    pictures = []
    for name in ("rotated90_tag.mp4", "demo_skeleton.mp4"):
        with open_video(source(pack, name)) as reader:
            pictures.append(next(reader.batches(1)).images[0])
    turned, original = pictures
    shrunk = original.reshape(360, 3, 640, 3, 3).mean((1, 3))
    assert np.abs(turned - shrunk).mean() < 4
    assert probe(source(pack, "rotated90_tag.mp4")).rotation == 90


def test_avi_and_mp4_of_the_same_scene_have_the_same_rate(pack: Path) -> None:
    assert probe(source(pack, "ntu_sample.avi")).fps == 30.0
    assert probe(source(pack, "vfr.mp4")).fps == pytest.approx(99 / 3.9)
