from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from video_samples import MakeVideo, corners, grey

from skelkit.errors import ConfigError, VideoError
from skelkit.protocols import VideoReader
from skelkit.structures import VideoInfo
from skelkit.video import Source, open_video, prefetch, probe

ONE = 1 << 16  # 1.0 in a display matrix


def read(
    source: Source, *, size: int = 7, **options: Any
) -> tuple[np.ndarray, list[int], np.ndarray, VideoInfo]:
    with open_video(source, **options) as reader:
        batches = list(reader.batches(size))
    images = np.concatenate([b.images for b in batches])
    indices = [i for b in batches for i in b.indices.tolist()]
    return images, indices, np.concatenate([b.pts_s for b in batches]), reader.info


def read_damaged(source: Source, **options: Any) -> tuple[list[int], VideoError, VideoInfo]:
    indices: list[int] = []
    with open_video(source, **options) as reader, pytest.raises(VideoError) as caught:
        for batch in reader.batches(7):
            indices += batch.indices.tolist()
    assert indices == list(range(len(indices)))
    assert caught.value.frames_decoded == reader.info.num_frames == len(indices)
    assert caught.value.path == source.path
    return indices, caught.value, reader.info


def noise(n: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (n, height, width, 3), np.uint8))


def ramp(n: int) -> list[np.ndarray]:
    return [grey(5 * i + 5) for i in range(n)]


def at(source: Source) -> Path:
    return Path(source.path)


def spoil(source: Source, numbers: list[int], junk: Callable[[int], bytes]) -> None:
    """Overwrite some of the video packets in the file."""
    with av.open(source.path) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(at(source).read_bytes())
    for number in numbers:
        pos, size = packets[number]
        data[pos : pos + size] = junk(size)
    at(source).write_bytes(data)


def ones(size: int) -> bytes:
    return b"\xff" * size


@pytest.mark.parametrize("size", [1, 7, 20, 64])
def test_frames_in_batches(make_video: MakeVideo, size: int) -> None:
    source = make_video("a.mp4", ramp(20))
    with open_video(source) as reader:
        assert isinstance(reader, VideoReader)
        assert reader.info.num_frames == -1
        lengths = [len(b) for b in reader.batches(size)]
    assert lengths == [size] * (20 // size) + [20 % size] * (20 % size > 0)
    images, indices, pts_s, info = read(source, size=size)
    assert indices == list(range(20))
    assert pts_s == pytest.approx(np.arange(20) / 25)
    assert images.mean((1, 2, 3)) == pytest.approx([5 * i + 5 for i in range(20)], abs=3)
    assert (info.num_frames, info.num_frames_from_header, info.fps) == (20, 20, 25.0)
    assert (info.width, info.height, info.rotation, info.codec) == (64, 48, 0, "h264")
    assert info.duration_s == pytest.approx(0.8)
    assert info.path == source.path


def test_a_second_pass_goes_on_where_the_first_stopped(make_video: MakeVideo) -> None:
    with open_video(make_video("a.mp4", ramp(10))) as reader:
        assert next(reader.batches(3)).indices.tolist() == [0, 1, 2]
        assert [b.indices.tolist() for b in reader.batches(4)] == [[3, 4, 5, 6], [7, 8, 9]]


def test_batches_do_not_share_memory(make_video: MakeVideo) -> None:
    with open_video(make_video("a.mp4", ramp(8))) as reader:
        first, second = reader.batches(4)
    assert not np.shares_memory(first.images, second.images)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "tolerance"),
    [
        ("a.mp4", "libx264", "yuv420p", 3),
        ("a.mp4", "libx264", "yuv444p", 3),
        ("a.mp4", "libx264", "yuv420p10le", 3),
        ("a.mp4", "mpeg4", "yuv420p", 4),
        ("a.mkv", "ffv1", "bgr0", 0),
        ("a.mkv", "ffv1", "yuv422p12le", 3),
        ("a.mov", "qtrle", "rgb24", 0),
        ("a.avi", "mjpeg", "yuvj420p", 4),
        ("a.avi", "mjpeg", "yuvj444p", 4),
        ("a.gif", "gif", "rgb8", 60),
    ],
)
def test_pixel_formats_come_out_in_the_right_colours(
    make_video: MakeVideo, name: str, codec: str, pix_fmt: str, tolerance: int
) -> None:
    picture = corners(64, 48)
    images, *_ = read(make_video(name, [picture] * 3, codec=codec, pix_fmt=pix_fmt))
    for y, x in product((12, 36), (16, 48)):
        assert np.abs(images[:, y, x].astype(int) - picture[y, x]).max() <= tolerance


def test_colour_space_unknown_to_the_converter(make_video: MakeVideo) -> None:
    images, *_ = read(make_video("a.mp4", [grey(90)] * 2, colorspace=8))
    assert images.mean() == pytest.approx(90, abs=3)


def test_grey_video(make_video: MakeVideo) -> None:
    images, *_ = read(make_video("a.mp4", [grey(0), grey(120), grey(255)], pix_fmt="gray"))
    assert np.ptp(images, axis=3).max() == 0
    assert images[:, 20, 20, 0].tolist() == pytest.approx([0, 120, 255], abs=3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 7), (321, 241), (17, 2), (642, 33)])
@pytest.mark.parametrize("codec", ["ffv1", "mpeg4"])
def test_odd_sizes(make_video: MakeVideo, width: int, height: int, codec: str) -> None:
    pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
    picture = corners(width, height)
    images, *_, info = read(make_video("a.mkv", [picture] * 2, codec=codec, pix_fmt=pix_fmt))
    assert images.shape == (2, height, width, 3)
    assert (info.width, info.height) == (width, height)
    if codec == "ffv1":
        assert np.array_equal(images[0], picture)


def test_one_8k_frame(make_video: MakeVideo) -> None:
    source = make_video("a.avi", [np.full((4320, 7680, 3), 90, np.uint8)], codec="mjpeg", pix_fmt="yuvj420p")
    with open_video(source) as reader:
        (batch,) = reader.batches(4)
    assert batch.images.shape == (1, 4320, 7680, 3)
    assert abs(int(batch.images[0, -1, -1, 0]) - 90) < 3


@pytest.mark.parametrize(("swap", "left", "up"), list(product([False, True], repeat=3)))
def test_frames_are_upright_and_unmirrored(make_video: MakeVideo, swap: bool, left: bool, up: bool) -> None:
    # The matrix takes a stored point (p, q) to (a p + c q, b p + d q): store what it turns upright.
    sx, sy = -ONE if left else ONE, -ONE if up else ONE
    a, b, c, d = (0, sy, sx, 0) if swap else (sx, 0, 0, sy)
    upright = corners(64, 48)
    stored = upright[:: -1 if up else 1, :: -1 if left else 1]
    if swap:
        stored = stored.transpose(1, 0, 2)
    source = make_video("a.mp4", [np.ascontiguousarray(stored)] * 2, matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30])
    images, *_, info = read(source)
    assert images.shape == (2, 48, 64, 3)
    assert (info.width, info.height) == (64, 48)
    for y, x in product((12, 36), (16, 48)):
        assert np.abs(images[:, y, x].astype(int) - upright[y, x]).max() < 12


@pytest.mark.parametrize(
    ("degrees", "matrix"),
    [(90, [0, -ONE, 0, ONE, 0]), (180, [-ONE, 0, 0, 0, -ONE]), (270, [0, ONE, 0, -ONE, 0])],
)
def test_rotation_is_told(make_video: MakeVideo, degrees: int, matrix: list[int]) -> None:
    source = make_video("a.mp4", [corners(64, 48)], matrix=[*matrix, 0, 0, 0, 1 << 30])
    assert probe(source).rotation == degrees


def test_size_that_changes_is_scaled_to_the_first(make_video: MakeVideo, tmp_path: Path) -> None:
    first = make_video("1.h264", [corners(64, 48)] * 3)
    second = make_video("2.h264", [corners(128, 80)] * 3)
    both = tmp_path / "both.h264"
    both.write_bytes(at(first).read_bytes() + at(second).read_bytes())
    images, *_ = read(Source(video_id="both", path=str(both), kind="video"))
    assert images.shape == (6, 48, 64, 3)
    assert np.abs(images[0].astype(int) - images[-1])[4:20, 4:28].max() < 12


def test_variable_frame_rate_survives(make_video: MakeVideo) -> None:
    times = [0, 40, 200, 210, 1000, 1033, 1066]
    for name in ("a.mp4", "a.mkv"):
        _, _, pts_s, _ = read(make_video(name, ramp(7), pts=times))
        assert pts_s == pytest.approx(np.asarray(times) / 1000)


def test_time_starts_with_the_first_frame(make_video: MakeVideo) -> None:
    _, _, pts_s, _ = read(make_video("a.mkv", ramp(5), pts=[5000, 5040, 5080, 5120, 5200]))
    assert pts_s == pytest.approx([0, 0.04, 0.08, 0.12, 0.2])


def test_avi_with_b_frames_has_times_in_order(make_video: MakeVideo) -> None:
    images, _, pts_s, info = read(make_video("a.avi", ramp(40)))
    assert pts_s == pytest.approx(np.arange(40) / 25)
    assert np.all(np.diff(images.mean((1, 2, 3))) > 0)
    assert (info.fps, info.num_frames_from_header) == (25.0, 40)


def test_avi_with_gaps_and_b_frames_has_the_times_of_its_table(make_video: MakeVideo) -> None:
    source = make_video("a.avi", noise(20), pts=[90 * i + 300 * (i > 7) for i in range(20)])
    with av.open(source.path) as container:
        slots = sorted(p.dts for p in container.demux(video=0) if p.size)
    _, _, pts_s, _ = read(source)
    assert pts_s == pytest.approx((np.asarray(slots) - slots[0]) / 1000)


def test_avi_with_gaps_keeps_them(make_video: MakeVideo) -> None:
    times = [0, 400, 440, 480, 1000, 1040]
    source = make_video("a.avi", ramp(6), codec="mjpeg", pix_fmt="yuvj420p", pts=times)
    _, _, pts_s, info = read(source)
    assert pts_s == pytest.approx(np.asarray(times) / 1000)
    assert info.num_frames_from_header == 6
    assert info.fps == pytest.approx(6 / info.duration_s)


def test_stream_without_time_stamps_counts_frames(make_video: MakeVideo) -> None:
    _, indices, pts_s, info = read(make_video("a.h264", ramp(9), fps=30))
    assert indices == list(range(9))
    assert info.fps == 30.0
    assert pts_s == pytest.approx(np.arange(9) / 30)
    assert info.num_frames_from_header is None


def test_extension_does_not_matter(make_video: MakeVideo) -> None:
    _, indices, *_ = read(make_video("a.avi", ramp(5), format="mp4"))
    assert len(indices) == 5


def test_options_select_frames_and_numbers_stay_true(make_video: MakeVideo) -> None:
    source = make_video("a.mp4", ramp(50))
    images, indices, pts_s, info = read(source, stride=3, start_s=0.4, end_s=1.2)
    assert indices == list(range(10, 30, 3))
    assert pts_s == pytest.approx(np.asarray(indices) / 25)
    assert images.mean((1, 2, 3)) == pytest.approx([5 * i + 5 for i in indices], abs=3)
    assert info.num_frames == 31  # up to the first one past the end
    assert read(source, target_fps=5)[1] == list(range(0, 50, 5))
    assert read(source, stride=49)[3].num_frames == 50


def test_nothing_selected_is_no_error(make_video: MakeVideo) -> None:
    with open_video(make_video("a.mp4", ramp(5)), start_s=99) as reader:
        assert list(reader.batches(4)) == []
    assert reader.info.num_frames == 5


def test_options_are_checked_before_the_file_is_opened() -> None:
    source = Source(video_id="x", path="missing", kind="video")
    for options in ({"stride": 0}, {"threads": -1}, {"target_fps": -1.0}):
        with pytest.raises(ConfigError):
            open_video(source, **options)


def test_batch_size_is_checked(make_video: MakeVideo) -> None:
    with open_video(make_video("a.mp4", ramp(2))) as reader, pytest.raises(ConfigError, match="at least 1"):
        next(reader.batches(0))


def test_cut_mp4_gives_its_frames_then_says_so(make_video: MakeVideo) -> None:
    source = make_video("a.mp4", noise(40), options={"movflags": "faststart"})
    data = at(source).read_bytes()
    at(source).write_bytes(data[: len(data) * 6 // 10])
    indices, error, _ = read_damaged(source)
    assert 15 < len(indices) < 30
    assert error.frames_promised == 40
    assert error.message.startswith(
        f"decoded {len(indices)} of the 40 frames the header promises; the file is cut"
    )


@pytest.mark.parametrize(
    ("name", "promised", "options"),
    [
        ("a.avi", 40, {}),
        ("a.mkv", None, {}),
        ("a.mp4", None, {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_other_cut_files_say_so_too(
    make_video: MakeVideo, name: str, promised: int | None, options: dict[str, str]
) -> None:
    source = make_video(name, noise(40), options=options)
    assert len(read(source)[1]) == 40
    data = at(source).read_bytes()
    at(source).write_bytes(data[: len(data) // 2])
    indices, error, _ = read_damaged(source)
    assert 5 < len(indices) < 35
    assert error.frames_promised == promised
    assert "cut short" in error.message


def test_cut_avi_of_sparse_slots_promises_frames_not_slots(make_video: MakeVideo) -> None:
    times = [40 * i for i in range(40)]
    source = make_video("a.avi", noise(40), codec="mjpeg", pix_fmt="yuvj420p", pts=times)
    data = at(source).read_bytes()
    at(source).write_bytes(data[: len(data) // 2])
    _, error, _ = read_damaged(source)
    assert error.frames_promised == 40


def test_cut_behind_the_last_frame_is_no_damage(make_video: MakeVideo) -> None:
    source = make_video("a.avi", noise(20), codec="mjpeg", pix_fmt="yuvj420p")
    data = at(source).read_bytes()
    at(source).write_bytes(data[: data.rindex(b"idx1")])
    assert len(read(source)[1]) == 20


def test_decoding_goes_on_past_damaged_packets(make_video: MakeVideo) -> None:
    source = make_video("a.mp4", noise(40), gop=1)
    spoil(source, [10, 11, 25], ones)
    indices, error, _ = read_damaged(source)
    assert len(indices) == 37
    assert error.fields["damaged_packets"] == 3
    assert "decoded 37 of the 40 frames the header promises; 3 packets are damaged" in error.message


@pytest.mark.parametrize("threads", [1, 2, 4, 0])
def test_threads_lose_nothing_at_a_damaged_end(make_video: MakeVideo, threads: int) -> None:
    source = make_video("a.mp4", noise(40))
    spoil(source, [37, 38], ones)
    indices, error, _ = read_damaged(source, threads=threads)
    assert len(indices) == 38
    assert error.fields["damaged_packets"] == 2


def test_threads_give_the_same_frames(make_video: MakeVideo) -> None:
    source = make_video("a.mp4", noise(30))
    one, four = read(source, threads=1), read(source, threads=4)
    assert np.array_equal(one[0], four[0])
    assert one[1] == four[1]


@pytest.mark.parametrize("hole", [6000, 40000])
def test_avi_that_lost_its_table_and_some_frames(make_video: MakeVideo, hole: int) -> None:
    source = make_video("a.avi", noise(40), codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(at(source).read_bytes().replace(b"idx1", b"JUNK"))
    middle = len(data) // 2
    data[middle : middle + hole] = bytes(hole)
    at(source).write_bytes(data)
    indices, error, _ = read_damaged(source)
    assert 5 < len(indices) < 40
    assert error.frames_promised == 40
    assert "missing from the file" in error.message


def test_nothing_decodes(make_video: MakeVideo) -> None:
    source = make_video("a.mp4", noise(5))
    spoil(source, list(range(5)), ones)
    for attempt in (open_video, probe):
        with pytest.raises(VideoError, match="decoded 0 of the 5 frames") as caught:
            attempt(source)
        assert caught.value.frames_decoded == 0


def test_recording_joined_midway_is_not_damaged(make_video: MakeVideo) -> None:
    # the next key frame is so far away that packets reach the decoder before it knows what they are
    source = make_video("a.ts", noise(20) * 35, gop=400)
    data = at(source).read_bytes()
    at(source).write_bytes(data[len(data) // 7 // 188 * 188 :])
    _, indices, *_ = read(source)
    assert len(indices) == pytest.approx(300, abs=2)


def test_edit_list_hides_frames_and_is_not_damage(make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video("a.mp4", noise(40), gop=10)
    trimmed = tmp_path / "trimmed.mp4"
    with (
        av.open(source.path) as old,
        av.open(str(trimmed), "w", options={"avoid_negative_ts": "disabled"}) as new,
    ):
        stream = new.add_stream_from_template(old.streams.video[0])
        shift = round(Fraction(14, 25) / old.streams.video[0].time_base)
        for packet in old.demux(video=0):
            if packet.size and packet.dts >= shift - shift // 2:
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                new.mux(packet)
    info = probe(Source(video_id="t", path=str(trimmed), kind="video"))
    _, indices, *_ = read(Source(video_id="t", path=str(trimmed), kind="video"))
    assert len(indices) == info.num_frames_from_header < 40


def test_metadata_that_is_not_utf8(make_video: MakeVideo) -> None:
    source = make_video("a.avi", ramp(3), metadata={"title": "TITLETITLE"})
    at(source).write_bytes(at(source).read_bytes().replace(b"TITLETITLE", b"\xff\xfe\xe9ITLETITL"))
    assert len(read(source)[1]) == 3


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "an empty file"),
        (b"just text\n" * 100, "none of the formats"),
        (b"\0" * 5000, "none of the formats"),
        (b"\x00\x00\x00\x18ftypmp42" + b"\0" * 400, "without its index"),
    ],
    ids=["empty", "text", "zeros", "no moov"],
)
def test_not_a_video(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    source = Source(video_id="x", path=str(path), kind="video")
    for attempt in (open_video, probe):
        with pytest.raises(VideoError, match=why) as caught:
            attempt(source)
        assert caught.value.path == str(path)
        assert "\n" not in caught.value.message


def test_playlist_does_not_reach_the_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        path = tmp_path / "x.m3u8"
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n")
        source = Source(video_id="x", path=str(path), kind="video")
        rescue = threading.Timer(5, server.shutdown, [socket.SHUT_RDWR])  # frees whoever waits for an answer
        rescue.start()
        with pytest.raises(VideoError):
            probe(source)
        rescue.cancel()
        rescue.join()
        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no such file"):
        probe(Source(video_id="x", path=str(tmp_path / "x.mp4"), kind="video"))
    with pytest.raises(VideoError, match="a folder"):
        probe(Source(video_id="x", path=str(tmp_path), kind="video"))


def test_permission_denied(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, **_: object) -> None:
        raise av.error.PermissionError(13, "Permission denied", path)

    source = make_video("a.mp4", ramp(1))
    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(VideoError, match="permission"):
        probe(source)


def sound(path: Path, *, cover: bool) -> Source:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        picture = container.add_stream("mjpeg", rate=1) if cover else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame.from_ndarray(grey(9), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Source(video_id="sound", path=str(path), kind="video")


@pytest.mark.parametrize("cover", [False, True])
def test_sound_only(tmp_path: Path, cover: bool) -> None:
    with pytest.raises(VideoError, match="video stream"):
        probe(sound(tmp_path / "a.mp4", cover=cover))


def test_unknown_codec(make_video: MakeVideo) -> None:
    source = make_video("a.mp4", ramp(2))
    at(source).write_bytes(at(source).read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoError, match="unknown codec"):
        probe(source)


@pytest.mark.parametrize(
    "name", ["http:x.mp4", "%03d.mp4", "two\nlines.mp4", "concat:a|b.mp4", "caf\udce9.mp4"]
)
def test_names_are_files_whatever_they_look_like(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    at(make_video("a.mp4", ramp(2))).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read(Source(video_id="x", path=name, kind="video"))[1]) == 2


def test_probe_reads_the_header_only(make_video: MakeVideo) -> None:
    source = make_video("a.mp4", ramp(30))
    info = probe(source)
    assert (info.num_frames, info.num_frames_from_header) == (-1, 30)
    assert (info.width, info.height, info.fps, info.duration_s) == (64, 48, 25.0, pytest.approx(1.2))


def test_prefetched_reading_gives_the_same(make_video: MakeVideo) -> None:
    source = make_video("a.mp4", noise(30))
    with open_video(source) as reader:
        ahead = list(prefetch(reader.batches(7), 2))
    assert np.array_equal(np.concatenate([b.images for b in ahead]), read(source)[0])
    assert reader.info.num_frames == 30


def test_frames_are_let_go_without_the_garbage_collector(make_video: MakeVideo) -> None:
    source = make_video("a.mp4", ramp(40), matrix=[0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30])
    gc.collect()
    gc.disable()
    try:
        with open_video(source) as reader:
            for _ in reader.batches(4):
                kinds = map(type, gc.get_objects())  # not isinstance: what weak proxies stand for may be gone
                alive = sum(issubclass(kind, av.VideoFrame) for kind in kinds)
                assert alive <= 8
    finally:
        gc.enable()


def test_leaving_early_lets_go_of_the_file(make_video: MakeVideo) -> None:
    source = make_video("a.mp4", noise(30))
    with open_video(source) as reader:
        for batch in prefetch(reader.batches(4), 2):
            assert len(batch) == 4
            break
    descriptors = [p.resolve() for p in Path("/proc/self/fd").iterdir() if p.is_symlink()]
    assert at(source) not in descriptors
