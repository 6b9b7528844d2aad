"""Where networks are found and how they are fetched; downloads go through file:// only."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
from made_networks import make_card, write_card

from skelkit.errors import WeightsError
from skelkit.experts.cards import Card, load_card
from skelkit.experts.weights import cache_folder, ensure_weights, find_weights

CONTENT = b"a network, more or less"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no folder named."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("SKELKIT_WEIGHTS", raising=False)
    monkeypatch.delenv("SKELKIT_OFFLINE", raising=False)
    return tmp_path / "xdg" / "skelkit" / "weights"


def card(**weights: object) -> Card:
    return make_card(weights={"file": "net.onnx", **weights})


def put(folder: Path, content: bytes = CONTENT, name: str = "net.onnx") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_places_in_their_order(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = load_card(str(write_card(tmp_path, card())))
    assert find_weights(mine) is None
    order = [
        put(cache),
        put(tmp_path),
        put(tmp_path / "second"),
        put(tmp_path / "first"),
        put(tmp_path / "given"),
    ]
    named = [str(tmp_path / "first"), "", str(tmp_path / "none"), str(tmp_path / "second")]
    for wanted, explicit, environment in (
        (order[4], tmp_path / "given", named),
        (order[4], str(order[4]), named),  # the file itself
        (order[3], None, named),
        (order[3], tmp_path / "xdg", named),  # a folder without it
        (order[2], None, named[1:]),
        (order[2], None, [str(order[2])]),
        (order[1], None, []),
    ):
        monkeypatch.setenv("SKELKIT_WEIGHTS", os.pathsep.join(environment))
        found = find_weights(mine, explicit)
        assert found is not None and found.path == wanted
        assert found.sha256 == SHA256 and not found.checked
    order[1].unlink()
    found = find_weights(mine)
    assert found is not None and found.path == order[0] and cache_folder() == cache


def test_the_home_folder_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "skelkit" / "weights"


def test_a_file_of_another_name_is_not_taken_for_the_network(tmp_path: Path) -> None:
    other = put(tmp_path, name="other.onnx")
    assert find_weights(card(), other) is None


def test_a_place_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="found nothing readable there; check --weights"):
        find_weights(card(), tmp_path / "none")


def test_a_damaged_file_is_refused_where_it_lies(tmp_path: Path) -> None:
    path = put(tmp_path, CONTENT[:-1])
    with pytest.raises(WeightsError, match="damaged or another version") as caught:
        ensure_weights(card(sha256=SHA256), tmp_path)
    assert caught.value.fields["path"] == path and caught.value.fields["expected"] == SHA256
    put(tmp_path)
    assert ensure_weights(card(sha256=SHA256), tmp_path).checked


def test_a_plain_file_is_fetched_once(tmp_path: Path, cache: Path) -> None:
    source = put(tmp_path / "mirror", name="of-another-name.bin")
    mine = card(urls=[source.as_uri()], sha256=SHA256)
    seen: list[tuple[int, int | None]] = []
    fetched = ensure_weights(mine, progress=lambda done, total: seen.append((done, total)))
    assert fetched.path == cache / "net.onnx" and fetched.path.read_bytes() == CONTENT
    assert fetched.sha256 == SHA256 and fetched.checked
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    source.unlink()
    assert ensure_weights(mine) == fetched
    assert [p.name for p in cache.iterdir()] == ["net.onnx"]


def test_a_network_in_a_folder_of_a_zip(tmp_path: Path, cache: Path) -> None:
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("2023/rtm/detail.json", "{}")
        out.writestr("2023/rtm/not-end2end.onnx", b"another")
        out.writestr("2023/rtm/end2end.onnx", CONTENT)
    found = ensure_weights(card(urls=[archive.as_uri()], archive_member="end2end.onnx", sha256=SHA256))
    assert found.path == cache / "net.onnx" and found.path.read_bytes() == CONTENT
    with pytest.raises(
        WeightsError, match=r"expected other.onnx inside the archive, found \['2023/rtm/detail"
    ):
        ensure_weights(make_card(weights={"urls": [archive.as_uri()], "archive_member": "other.onnx"}))


def test_damaged_archives(tmp_path: Path, cache: Path) -> None:
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("end2end.onnx", os.urandom(5000))
    whole = archive.read_bytes()
    for damaged in (whole[:2000], b"<html>", whole[:60] + bytes(3000) + whole[3060:]):
        archive.write_bytes(damaged)
        with pytest.raises(
            WeightsError, match=r"downloading failed .*expected a zip archive, cannot unpack it"
        ):
            ensure_weights(card(urls=[archive.as_uri()], archive_member="end2end.onnx"))
    assert list(cache.iterdir()) == []


def test_the_next_mirror_is_tried(tmp_path: Path, cache: Path) -> None:
    wrong, right = put(tmp_path / "a", b"something else"), put(tmp_path / "b")
    missing = (tmp_path / "none").as_uri()
    found = ensure_weights(card(urls=[missing, wrong.as_uri(), right.as_uri()], sha256=SHA256))
    assert found.path.read_bytes() == CONTENT
    assert [p.name for p in cache.iterdir()] == ["net.onnx"]


def test_wrong_content_is_refused_and_nothing_stays(tmp_path: Path, cache: Path) -> None:
    wrong = put(tmp_path / "a", b"something else")
    urls = [(tmp_path / "none").as_uri(), wrong.as_uri()]
    with pytest.raises(WeightsError) as caught:
        ensure_weights(card(urls=urls, sha256=SHA256))
    message = caught.value.message
    assert "net.onnx" in message and str(cache) in message and "downloading failed" in message
    assert all(u in message for u in urls) and SHA256[:12] in message
    assert len(caught.value.fields["tried"]) == 2
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "xdg").write_text("a file where the folder should be")
    source = put(tmp_path / "mirror")
    with pytest.raises(WeightsError, match="downloading failed"):
        ensure_weights(card(urls=[source.as_uri()]))


def test_offline_nothing_is_fetched(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELKIT_OFFLINE", "1")
    source = put(tmp_path / "mirror")
    with pytest.raises(
        WeightsError, match="not downloaded, since SKELKIT_OFFLINE is set; try to fetch file://"
    ):
        ensure_weights(card(urls=[source.as_uri()]))
    assert not cache.exists()
    found = ensure_weights(card(urls=[source.as_uri()]), tmp_path / "mirror")
    assert found.path == source


def test_a_network_without_address_says_where_it_comes_from() -> None:
    with pytest.raises(WeightsError, match=r"no public address of its own .*the tests.*name its folder"):
        ensure_weights(card())
