from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_networks import CPU, Graph, make_card, write_card

from skelkit.errors import ConfigError
from skelkit.experts import build_expert, describe
from skelkit.experts.cards import all_cards, load_card

NAMED_BY_THE_DESIGN = {
    *("yolox_nano", "movenet", "edvard_cpm", "edvard_hourglass", "tfpose"),
    *("rtmpose_t", "rtmpose_s", "rtmpose_m", "rtmpose_l"),
    *("rtmo_t", "rtmo_s", "rtmo_m", "rtmo_l"),
    *("rtmdet_nano_person", "rtmdet_m_person"),
    *("yolox_tiny_person", "yolox_m_person", "yolox_x_person"),
}
GOOD = """
name = "mine"
kind = "top-down"
summary = "s"
licence = "MIT"
source = "me"
verified = false
joints = "coco17"
[weights]
file = "mine.onnx"
[input]
width = 192
height = 256
layout = "NCHW"
channels = "RGB"
fit = "crop"
[decoder]
type = "heatmap"
layout = "NCHW"
"""
PAF = """
[decoder]
type = "paf"
layout = "NHWC"
limbs = [{ joints = ["nose", "left_eye"], channels = [18, 19] }]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "card.toml"
    path.write_text(text)
    return str(path)


def changed(**lines: str) -> str:
    """GOOD with lines replaced (``key = ...``) or, given as "", left out."""
    text = GOOD
    for key, line in lines.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", line, text)
        assert count, key
    return text


def test_every_built_in_card_loads() -> None:
    cards = all_cards()
    assert {c.name for c in cards} == NAMED_BY_THE_DESIGN
    kinds = [c.kind == "detector" for c in cards]
    assert kinds == sorted(kinds, reverse=True)  # detectors first
    for card in cards:
        assert load_card(card.name) == card
        assert card.folder is None
        if card.joints:
            assert card.skeleton.name == card.joints
        else:
            with pytest.raises(ConfigError, match="has no joints"):
                _ = card.skeleton
        # what nobody could run here is marked, and what was run is pinned
        assert card.verified == (card.weights.sha256 is not None)
        assert card.verified or card.weights.urls


def test_a_user_s_card_is_loaded_by_path(tmp_path: Path) -> None:
    card = load_card(write(tmp_path, GOOD))
    assert card.name == "mine" and card.folder == tmp_path
    assert card.calibration.raw == (0, 1)


def test_the_card_writer_of_these_tests_writes_what_it_reads(tmp_path: Path) -> None:
    for card in (*all_cards(), make_card()):
        again = load_card(str(write_card(tmp_path, card)))
        assert again.model_dump() == card.model_dump()


def test_unknown_names_and_files_that_are_no_cards(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown expert: 'rtmpos_m'; did you mean rtmpose_m"):
        load_card("rtmpos_m")
    with pytest.raises(ConfigError, match="found no such file"):
        load_card(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="cannot read it"):
        load_card(write(tmp_path, "name = "))
    (tmp_path / "latin.toml").write_bytes('summary = "é"'.encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot read it"):
        load_card(str(tmp_path / "latin.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot read it"):
        load_card(str(tmp_path / "folder.toml"))


BAD: dict[str, tuple[str, list[str]]] = {
    "unknown key": (GOOD + "sigma = 2\n", ["decoder.heatmap.sigma: Extra inputs are not permitted"]),
    "missing key": (changed(width=""), ["input.width: Field required"]),
    "unknown decoder": (changed(type='type = "argmax"'), ["decoder: ", "'argmax'", "'simcc'"]),
    "decoder of another kind": (
        changed(kind='kind = "one-stage"', fit='fit = "letterbox"'),
        ["kind 'one-stage' needs a decoder among ['one-stage'], got 'heatmap'"],
    ),
    "fit of another kind": (
        changed(fit='fit = "letterbox"'),
        ["input.fit = 'crop' belongs to kind 'top-down'"],
    ),
    "unknown joint set": (
        changed(joints='joints = "coco18"'),
        ["unknown joint set 'coco18'; known are", "coco17"],
    ),
    "no joint set": (changed(joints=""), ["every pose expert names its `joints`"]),
    "scores that fall": (
        GOOD + "[calibration]\nraw = [0, 0.5, 1]\nscore = [0, 0.6, 0.5]\n",
        ["calibration: expected score knots that never fall"],
    ),
    "raw knots that repeat": (
        GOOD + "[calibration]\nraw = [0, 0.5, 0.5]\nscore = [0, 0.6, 0.7]\n",
        ["calibration: expected strictly rising raw knots"],
    ),
    "raw knots that are no numbers": (
        GOOD + "[calibration]\nraw = [0, nan]\nscore = [0, 1]\n",
        ["calibration.raw.1: Input should be a finite number"],
    ),
    "knots of two lengths": (
        GOOD + "[calibration]\nraw = [0, 0.5, 1]\nscore = [0, 1]\n",
        ["calibration: expected as many raw as score knots, got 3 and 2"],
    ),
    "scores beyond 1": (
        GOOD + "[calibration]\nraw = [0, 1]\nscore = [0, 1.5]\n",
        ["calibration: expected score knots in [0, 1]"],
    ),
    "http": (
        GOOD.replace("[input]", 'urls = ["https://a.b/c", "http://a.b/c"]\n[input]'),
        ["weights.urls: expected https:// addresses, got ['http://a.b/c']"],
    ),
    "sha256": (
        GOOD.replace("[input]", 'sha256 = "695E"\n[input]'),
        ["weights.sha256: String should match pattern"],
    ),
    "file with a folder": (changed(file='file = "../x.onnx"'), ["weights.file: expected a plain file name"]),
    "file that is a folder": (changed(file='file = ".."'), ["weights.file: expected a plain file name"]),
    "no file": (changed(file='file = ""'), ["weights.file: expected a plain file name"]),
    "bytes with a mean": (
        GOOD.replace("[decoder]", 'dtype = "uint8"\nmean = [1, 2, 3]\n[decoder]'),
        ["input: a uint8 input cannot be normalised"],
    ),
    "division by zero": (
        GOOD.replace("[decoder]", "std = [1, 0, 1]\n[decoder]"),
        ["input.std.1: Input should be greater than 0"],
    ),
    "limb of unknown joint": (
        changed(kind='kind = "bottom-up"', fit='fit = "height"').split("[decoder]")[0]
        + PAF.replace("left_eye", "left_toe"),
        ["skeleton 'coco17' has no joint 'left_toe'"],
    ),
    "limb of negative channel": (
        changed(kind='kind = "bottom-up"', fit='fit = "height"').split("[decoder]")[0]
        + PAF.replace("18", "-18"),
        ["decoder.paf.limbs.0.channels.0: Input should be greater than or equal to 0"],
    ),
    "grids of an input of any size": (
        changed(kind='kind = "detector"', fit='fit = "height"', joints="").split("[decoder]")[0]
        + '[decoder]\ntype = "yolo"\nstrides = [8]\n',
        ["decoder.strides needs an input of fixed size"],
    ),
    "stride of zero": (
        changed(kind='kind = "detector"', fit='fit = "letterbox"', joints="").split("[decoder]")[0]
        + '[decoder]\ntype = "yolo"\nstrides = [8, 0]\n',
        ["decoder.yolo.strides.1: Input should be greater than 0"],
    ),
    "all at once": (
        changed(width="width = -3", layout='layout = "HWC"', name='name = "a/b"'),
        ["has 4 problem(s)", "name: ", "input.width: ", "input.layout: ", "decoder.heatmap.layout: "],
    ),
    "all at once, between the parts": (
        changed(kind='kind = "bottom-up"', joints='joints = "cocoa"', fit='fit = "crop"'),
        ["kind 'bottom-up' needs a decoder", "input.fit = 'crop' belongs", "unknown joint set 'cocoa'"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_card_is_refused_with_every_problem_named(tmp_path: Path, name: str) -> None:
    text, sentences = BAD[name]
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_card(path)
    for sentence in (*sentences, path):
        assert sentence in caught.value.message
    assert caught.value.fields["path"] == path


def test_built_in_cards_state_nothing_twice_by_default() -> None:
    """A card's name is its file's, so that what `list` shows is what loads."""
    for card in all_cards():
        folder = Path(load_card.__code__.co_filename).parent / "cards"
        data: dict[str, Any] = tomllib.loads((folder / f"{card.name}.toml").read_text("utf-8"))
        assert data["name"] == card.name


def test_a_path_may_hold_a_colon_and_the_network_may_lie_beside_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SKELKIT_WEIGHTS", raising=False)
    folder = tmp_path / "run 12:30"
    folder.mkdir()
    card = make_card(decoder={"type": "coordinates"})
    path = write_card(folder, card)
    graph = Graph(["batch", 3, 64, 48])
    pooled = graph.op("ReduceMean", "picture", axes=[1, 2, 3], keepdims=1)
    network = graph.save(folder / "made.onnx", graph.op("Mul", pooled, np.zeros((1, 1, 17, 3), np.float32)))
    for name in (str(path), f"onnx:{path}"):
        assert build_expert(name, device=CPU).name == "made"
    before = describe(str(path))
    assert before["name"] == "made" and before["kind"] == "top-down"
    # what decides resuming: the card's content and the network's, not where they lie
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert describe(str(moved / path.name)) == before
    (moved / network.name).write_bytes((moved / network.name).read_bytes() + b"\0")
    assert describe(str(moved / path.name))["weights_sha256"] != before["weights_sha256"]
    (moved / path.name).write_text(path_text := (moved / path.name).read_text().replace("48", "56"))
    assert path_text and describe(str(moved / path.name))["card_sha256"] != before["card_sha256"]
