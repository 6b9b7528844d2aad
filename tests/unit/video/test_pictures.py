from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from skelkit.errors import VideoError
from skelkit.video import Source, find_sources, open_video, probe


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


def flat(level: int, width: int = 20, height: int = 10) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


@pytest.fixture
def clip(tmp_path: Path) -> Source:
    for i in range(12):
        write(tmp_path / "clip" / f"{i + 1:06d}.png", flat(10 * i))
    return find_sources([tmp_path / "clip"])[0]


def test_folder_of_numbered_images_is_one_clip(clip: Source) -> None:
    with open_video(clip) as reader:
        assert reader.info.num_frames == -1
        batches = list(reader.batches(5))
        info = reader.info
    assert [len(b) for b in batches] == [5, 5, 2]
    assert np.concatenate([b.indices for b in batches]).tolist() == list(range(12))
    assert np.concatenate([b.pts_s for b in batches]) == pytest.approx(np.arange(12) / 30)
    levels = np.concatenate([b.images for b in batches])[:, 0, 0, 0]
    assert levels.tolist() == [10 * i for i in range(12)]
    assert (info.num_frames, info.num_frames_from_header, info.fps) == (12, 12, 30.0)
    assert (info.width, info.height, info.codec, info.rotation) == (20, 10, "image", 0)
    assert info.duration_s == pytest.approx(0.4)


def test_options_work_on_pictures_too(clip: Source) -> None:
    with open_video(clip, target_fps=10, start_s=0.1) as reader:
        (batch,) = reader.batches(100)
    assert batch.indices.tolist() == [3, 6, 9]
    assert reader.info.num_frames == 12


def test_single_image_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    image = np.zeros((9, 16, 3), np.uint8)
    image[..., 0] = 250  # red: the channel order shows
    write(tmp_path / "still.png", image)
    (source,) = find_sources([tmp_path / "still.png"])
    with open_video(source) as reader:
        (batch,) = reader.batches(8)
    assert np.array_equal(batch.images, image[None])
    assert batch.pts_s.tolist() == [0.0]
    assert (reader.info.num_frames, reader.info.fps, reader.info.duration_s) == (1, 0.0, 0.0)


def exif_jpeg(image: np.ndarray, orientation: int) -> bytes:
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0])
    payload = b"Exif\x00\x00" + tiff + b"\x00\x00\x00\x00"
    out = io.BytesIO()
    out.write(data[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + data[2:])
    return out.getvalue()


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, turns: int) -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    image[:16, :32] = 255
    (tmp_path / "photo.jpg").write_bytes(exif_jpeg(image, orientation))
    (source,) = find_sources([tmp_path / "photo.jpg"])
    with open_video(source) as reader:
        (batch,) = reader.batches(1)
    wanted = np.rot90(image, turns)
    assert batch.images.shape[1:] == wanted.shape
    assert np.abs(batch.images[0].astype(int) - wanted).mean() < 3


@pytest.mark.parametrize(
    "image",
    [flat(77)[..., 0], np.full((10, 20), 77 * 257, np.uint16), np.dstack([flat(77), flat(9)[..., 0]])],
    ids=["grey", "16 bit", "alpha"],
)
def test_other_pixel_formats(tmp_path: Path, image: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), image)
    with open_video(find_sources([tmp_path / "x.png"])[0]) as reader:
        (batch,) = reader.batches(1)
    assert np.array_equal(batch.images[0], flat(77))


def test_images_of_other_sizes_are_scaled_to_the_first(tmp_path: Path) -> None:
    write(tmp_path / "c" / "1.png", flat(10, 20, 10))
    write(tmp_path / "c" / "2.png", flat(50, 31, 7))
    with open_video(find_sources([tmp_path / "c"])[0]) as reader:
        (batch,) = reader.batches(2)
    assert batch.images.shape == (2, 10, 20, 3)
    assert np.all(batch.images[1] == 50)


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "an empty file"), (b"text", "does not decode"), (None, "no such file")]
)
def test_unreadable_image_ends_the_clip_after_the_frames_before_it(
    clip: Source, content: bytes | None, why: str
) -> None:
    bad = clip.paths[7]
    bad.unlink()
    if content is not None:
        bad.write_bytes(content)
    got = []
    with open_video(clip) as reader, pytest.raises(VideoError, match=why) as caught:
        for batch in reader.batches(5):
            got += batch.indices.tolist()
    assert got == list(range(7))
    assert (caught.value.frames_decoded, caught.value.frames_promised) == (7, 12)
    assert Path(caught.value.fields["file"]) == bad
    assert reader.info.num_frames == 7


def test_unreadable_first_image_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no image")
    with pytest.raises(VideoError, match="decoded 0 of 1 pictures"):
        probe(find_sources([tmp_path / "x.jpg"])[0])
