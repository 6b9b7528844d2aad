from __future__ import annotations

import hashlib
import os
import random
import socket
from pathlib import Path

import pytest

from skelkit.errors import InputError, VideoError
from skelkit.video import Source, find_sources, fingerprint, open_video, sha256


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def ids(*inputs: str | os.PathLike[str]) -> list[str]:
    return [s.video_id for s in find_sources(inputs)]


def test_folder_is_searched_with_its_subfolders(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "sub/b.MKV", "sub/deep/c.webm", "notes.md", "sub/list.txt", "sub/x.csv", "p.jpg")
    sources = find_sources([tmp_path])
    assert [(s.video_id, s.kind) for s in sources] == [
        ("a", "video"),
        ("p", "image"),
        ("sub/b", "video"),
        ("sub/deep/c", "video"),
    ]
    assert all(Path(s.path).is_file() for s in sources)


def test_hidden_names_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", ".b.mp4", "._a.mp4", ".cache/c.mp4")
    assert ids(tmp_path) == ["a"]


def test_file_named_directly_is_taken_whatever_its_extension(tmp_path: Path) -> None:
    touch(tmp_path, "x/movie.bin", "x/noext", "x/.hidden.mp4")
    assert ids(*(tmp_path / "x" / n for n in ("movie.bin", "noext", ".hidden.mp4"))) == [
        ".hidden",
        "movie",
        "noext",
    ]


def test_path_is_kept_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "v/a.mp4")
    monkeypatch.chdir(tmp_path)
    assert find_sources(["./v"])[0].path == "./v/a.mp4"
    assert find_sources(["v/../v/a.mp4"])[0].path == "v/../v/a.mp4"
    assert ids(".") == ["v/a"]


def test_same_stem_in_different_folders_stays_two_clips(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.mp4", "b/x.mp4")
    assert ids(tmp_path) == ["a/x", "b/x"]
    assert ids(tmp_path / "a", tmp_path / "b") == ["a/x.mp4", "b/x.mp4"]
    assert ids(tmp_path / "a/x.mp4", tmp_path / "b/x.mp4") == ["a/x.mp4", "b/x.mp4"]


def test_same_stem_with_different_extensions_keeps_them(tmp_path: Path) -> None:
    touch(tmp_path, "x.mp4", "x.avi", "y.mp4")
    assert ids(tmp_path) == ["x.avi", "x.mp4", "y"]


def test_a_name_made_longer_does_not_collide_with_another(tmp_path: Path) -> None:
    # x.mp4 and x.avi keep their extensions; the file x.mp4.mov would be called x.mp4 as well
    touch(tmp_path, "x.mp4", "x.avi", "x.mp4.mov")
    assert ids(tmp_path) == sorted([f"{tmp_path.name}/x.mp4", "x.avi", "x.mp4.mov"])


def test_names_do_not_depend_on_the_order_of_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.mp4", "a/x.avi", "b/x.mp4", "b/c/x.mp4", "d/1/x.mp4", "e/1/x.mp4", "y.mp4")
    inputs = [tmp_path / n for n in ("a", "b", "b/c", "d/1", "e/1/x.mp4", "y.mp4", "a/x.mp4")]
    reference = find_sources(inputs)
    assert len({s.video_id for s in reference}) == len(reference) == 7
    for seed in range(20):
        random.Random(seed).shuffle(inputs)
        assert find_sources(inputs) == reference


def test_a_file_found_twice_is_one_clip_named_from_the_highest_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.mp4")
    assert ids(tmp_path / "a/x.mp4", tmp_path, tmp_path / "a", tmp_path / "a" / ".." / "a") == ["a/x"]


def test_glob_where_no_such_file_exists(tmp_path: Path) -> None:
    touch(tmp_path, "a1.mp4", "a2.mp4", "b.mp4", "a.txt", "d/e/a3.mp4", "[x].mp4")
    assert ids(str(tmp_path / "a*")) == ["a1", "a2"]
    assert ids(str(tmp_path / "**" / "a*.mp4")) == ["a1", "a2", "a3"]
    assert ids(str(tmp_path / "[x].mp4")) == ["[x]"]  # it exists by that name
    assert ids(str(tmp_path / "d*")) == ["e/a3"]


def test_numbered_images_are_one_clip_in_numeric_order(tmp_path: Path) -> None:
    touch(tmp_path, *(f"penn/{i:06d}.jpg" for i in (1, 2, 3)), *(f"f/frame_{i}.png" for i in (8, 9, 10)))
    clips = {s.video_id: s for s in find_sources([tmp_path])}
    assert set(clips) == {"f", "penn"}
    assert clips["penn"].kind == "frames"
    assert clips["penn"].files == ("000001.jpg", "000002.jpg", "000003.jpg")
    assert clips["f"].files == ("frame_8.png", "frame_9.png", "frame_10.png")
    assert ids(tmp_path / "penn") == ["penn"]


def test_every_nth_frame_and_a_missing_one_are_still_a_clip(tmp_path: Path) -> None:
    touch(tmp_path, *(f"s/{i}.jpg" for i in (0, 5, 10, 20, 25)), "s/readme.txt")
    assert find_sources([tmp_path])[0].files == ("0.jpg", "5.jpg", "10.jpg", "20.jpg", "25.jpg")


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg", "talk.mp4"],
        ["a1.jpg", "b2.jpg"],
        ["1.jpg", "2.jpg", "cover.jpg"],
        ["1.jpg", "01.jpg"],
        ["7.jpg"],
        ["000000000139.jpg", "000000000285.jpg", "000000000632.jpg"],
    ],
    ids=[
        "with a video",
        "two prefixes",
        "with another image",
        "one number twice",
        "only one",
        "a collection",
    ],
)
def test_other_images_are_clips_of_one_frame(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    sources = find_sources([tmp_path])
    assert len(sources) == len(names)
    assert {s.kind for s in sources} <= {"image", "video"}


def test_symlink_loops_end_and_links_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "top/real/x.mp4", "elsewhere/y.mp4")
    top = tmp_path / "top"
    (top / "a_loop").symlink_to(top)
    (top / "real" / "up").symlink_to("..")
    (top / "self").symlink_to("self")
    (top / "away").symlink_to(tmp_path / "elsewhere")
    (top / "a_alias").symlink_to(top / "real")
    (top / "z_alias").symlink_to(top / "real")
    (top / "link.mp4").symlink_to(tmp_path / "elsewhere" / "y.mp4")
    assert ids(top) == ["away/y", "link", "real/x"]


def test_link_to_nowhere_is_a_source_that_fails(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nothing")
    (source,) = find_sources([tmp_path])
    with pytest.raises(VideoError, match="no such file"):
        open_video(source)


def test_pipes_and_sockets_are_not_opened(tmp_path: Path) -> None:
    touch(tmp_path, "x.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.mp4"))
        assert ids(tmp_path) == ["x"]


def test_unreadable_subfolder_is_a_source_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "x.mp4", "locked/y.mp4")
    scan = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    locked, x = find_sources([tmp_path])
    assert (locked.video_id, locked.kind, x.video_id) == ("locked", "video", "x")
    with pytest.raises(VideoError):
        open_video(locked)


@pytest.mark.parametrize(
    "name", [b"two\nlines.mp4", b"tab\t.mp4", b"caf\xe9.mp4", b"back\\slash.mp4", "é.mp4".encode()]
)
def test_odd_names_are_clean_in_the_id_and_open_by_the_path(tmp_path: Path, name: bytes) -> None:
    raw = os.fsencode(tmp_path) + b"/" + name
    Path(os.fsdecode(raw)).write_bytes(b"content")
    for given in (str(tmp_path), os.fsdecode(raw)):
        (source,) = find_sources([given])
        source.video_id.encode("utf-8")
        assert source.video_id.isprintable()
        assert Path(source.path).read_bytes() == b"content"
        assert sha256(source) == hashlib.sha256(b"content").hexdigest()


def test_ids_of_odd_names_stay_different(tmp_path: Path) -> None:
    touch(tmp_path, "a\nb.mp4", "a\\nb.mp4")
    assert len(set(ids(tmp_path))) == 2


def test_text_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "d/a.mp4", "d/b c.mp4", "d/e f", "d/g.mp4", "clip/1.jpg", "clip/2.jpg")
    (tmp_path / "list.txt").write_bytes(
        "\ufeff# comment\nd/a.mp4 drink water\r\nd/b c.mp4\nd/e f\n\nd/g.mp4\tstand up\n"
        "d/missing.mp4,12\nclip 3\nno such file.mp4\nlost/clip 7\n".encode()
    )
    found = {s.video_id: s for s in find_sources([tmp_path / "list.txt"])}
    assert {k: (s.kind, s.label) for k, s in found.items()} == {
        "clip": ("frames", "3"),
        "d/a": ("video", "drink water"),
        "d/b c": ("video", None),
        "d/e f": ("video", None),
        "d/g": ("video", "stand up"),
        "d/missing": ("video", "12"),
        "lost/clip": ("video", "7"),
        "no such file": ("video", None),
    }
    assert found["d/a"].path == str(tmp_path / "d/a.mp4")
    with pytest.raises(VideoError, match="no such file"):
        open_video(found["d/missing"])


def test_csv_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "list.csv").write_text('Label,File,video_id\n"drink, water",a.mp4,first\n,b.mp4,\n')
    assert [(s.video_id, s.label) for s in find_sources([tmp_path / "list.csv"])] == [
        ("b", None),
        ("first", "drink, water"),
    ]


def test_label_survives_finding_the_clip_another_way(tmp_path: Path) -> None:
    touch(tmp_path, "v/a.mp4")
    (tmp_path / "list.csv").write_text("path,label\nv/a.mp4,wave\n")
    for inputs in ([tmp_path / "list.csv", tmp_path / "v"], [tmp_path / "v", tmp_path / "list.csv"]):
        assert [(s.video_id, s.label) for s in find_sources(inputs)] == [("v/a", "wave")]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("x.csv", "name,label\na,b\n", "column path"),
        ("x.csv", "", "an empty file"),
        ("x.csv", "path,label\n,walk\n", "a path in line 2"),
        ("x.csv", "path\n", "lists none"),
        ("x.txt", "# nothing\n\n", "lists none"),
        ("x.txt", "a\0b", "text file"),
        ("x.csv", "path,label\na.mp4,x\na.mp4,y\n", "one label per clip"),
        ("x.csv", "path,video_id\na.mp4,same\nb.mp4,same\n", "one clip of the name 'same'"),
    ],
)
def test_bad_manifests(tmp_path: Path, name: str, content: str, why: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=why):
        find_sources([tmp_path / name])


def test_inputs_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "other/readme.md")
    (tmp_path / "dangling").symlink_to("nowhere")
    for given, why in (
        ("empty", "got none"),
        ("other", "got none"),
        ("missing.mp4", "does not exist"),
        ("*.mp4", "got none; try checking the pattern"),
        ("other/*", "1 other files"),
        ("dangling", "does not exist"),
    ):
        with pytest.raises(InputError, match=why) as caught:
            find_sources([str(tmp_path / given)])
        assert caught.value.fields["path"] == str(tmp_path / given)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    touch(tmp_path, "locked/x.mp4")
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(InputError, match="permission"):
            find_sources([tmp_path / "locked"])
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_fingerprint_and_hash_notice_changes(tmp_path: Path) -> None:
    touch(tmp_path, "c/1.jpg", "c/2.jpg")
    (clip,) = find_sources([tmp_path])
    before = fingerprint(clip), sha256(clip)
    assert before[0].size == len("c/1.jpg") * 2
    (tmp_path / "c/2.jpg").write_bytes(b"other__")
    os.utime(tmp_path / "c/2.jpg", ns=(0, before[0].mtime_ns + 5))
    assert fingerprint(clip).mtime_ns == before[0].mtime_ns + 5
    assert sha256(clip) != before[1]


def test_hash_of_frames_covers_names_and_borders(tmp_path: Path) -> None:
    for folder, parts in {"a": ("xy", "z"), "b": ("x", "yz"), "c": ("xy", "z")}.items():
        for i, text in enumerate(parts):
            touch(tmp_path, f"{folder}/{i}.jpg")
            (tmp_path / folder / f"{i}.jpg").write_text(text)
    a, b, c = (sha256(s) for s in find_sources([tmp_path]))
    assert a == c != b


def test_missing_file_has_no_fingerprint(tmp_path: Path) -> None:
    source = Source(video_id="x", path=str(tmp_path / "x.mp4"), kind="video")
    for ask in (fingerprint, sha256):
        with pytest.raises(VideoError, match="no such file"):
            ask(source)
