"""Names of OpenMMLab models, the installed index, and what is said where packages are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from skelkit.errors import ConfigError, MissingExtraError
from skelkit.experts import FAMILIES
from skelkit.experts.openmmlab import environment, families, index
from skelkit.experts.openmmlab.naming import parse

NAMES = {
    "td-hm_hrnet-w48_8xb32-210e_coco-256x192": [],
    "td-hm_hrnet-w48_8xb32-210e_coco-384x288": [],
    "td-hm_hrnet-w48_8xb64-210e_mpii-256x256": [],
    "td-hm_hrnet-w48_dark-8xb32-210e_coco-256x192": [],
    "rtmo-l_16xb16-600e_body7-640x640": ["rtmo"],
    "rtmo-l_16xb16-600e_coco-640x640": [],
    "rtmo-s_8xb32-600e_body7-640x640": [],
    "rtmpose-m_8xb256-420e_body8-256x192": ["human", "body"],
    "td-reg_res50_8xb64-210e_mpii-256x256": [],
}


@pytest.fixture
def made_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with an index of its own."""
    folder = tmp_path / "mmpose" / ".mim"
    (folder / "configs").mkdir(parents=True)
    (folder / "model-index.yml").write_text("Import:\n- configs/all.yml\n- configs/list.yml\n")
    lines = ["Models:"]
    for name, aliases in NAMES.items():
        (folder / "configs" / f"{name}.py").write_text("model = dict()")
        lines += [f"- Name: {name}", f"  Config: configs/{name}.py"]
        lines += [f"  Weights: (https://example.org/{name}-0123abcd_20220101.pth"]
        lines += [f"  Alias: {aliases[0] if len(aliases) == 1 else aliases}"] if aliases else []
    (folder / "configs" / "all.yml").write_text("\n".join(lines))
    (folder / "configs" / "list.yml").write_text("- Name: gone\n  Config: configs/gone.py\n")
    index.entries.cache_clear()
    monkeypatch.setattr(index, "package_folder", lambda package: tmp_path / package)
    yield folder
    index.entries.cache_clear()


@pytest.mark.usefixtures("made_index")
@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("rtmo-l_16xb16-600e_coco-640x640", "rtmo-l_16xb16-600e_coco-640x640"),
        ("RTMO", "rtmo-l_16xb16-600e_body7-640x640"),  # an alias, in any case
        ("body", "rtmpose-m_8xb256-420e_body8-256x192"),
        ("td-hm_hrnet-w48", "td-hm_hrnet-w48_8xb32-210e_coco-256x192"),  # COCO, the smaller size
        ("td_hm_hrnet_w48", "td-hm_hrnet-w48_8xb32-210e_coco-256x192"),
        ("rtmo-l", "rtmo-l_16xb16-600e_body7-640x640"),  # body7 before COCO
        ("td-reg_res50", "td-reg_res50_8xb64-210e_mpii-256x256"),  # the only one
        ("td-hm_hrnet-w48_8xb64", "td-hm_hrnet-w48_8xb64-210e_mpii-256x256"),  # a beginning only one has
    ],
)
def test_names(name: str, means: str) -> None:
    assert index.resolve("mmpose", name).name == means


@pytest.mark.usefixtures("made_index")
def test_ambiguous_and_unknown_names() -> None:
    with pytest.raises(
        ConfigError, match=r"name of one model, 3 begin like this: rtmo-l_.*rtmo-s_"
    ) as caught:
        index.resolve("mmpose", "rtmo-")
    assert len(caught.value.fields["candidates"]) == 3
    with pytest.raises(ConfigError, match="unknown mmpose model: 'hrnet-w48'; did you mean td-hm_hrnet-w48_"):
        index.resolve("mmpose", "hrnet-w48")
    with pytest.raises(ConfigError, match="see the model zoo"):
        index.resolve("mmpose", "zzz")


@pytest.mark.usefixtures("made_index")
def test_addresses_are_read_from_what_stands_there() -> None:
    urls = [e.url for e in index.entries("mmpose")]
    assert all(url and url.startswith("https://example.org/") and url.endswith(".pth") for url in urls)


def test_an_index_that_is_not_there(made_index: Path) -> None:
    (made_index / "model-index.yml").unlink()
    with pytest.raises(MissingExtraError, match="name the path of a config instead"):
        index.entries("mmpose")


def test_options() -> None:
    asked = parse("rtmo-l@flip@autocast=bfloat16@random=7")
    assert (asked.model, asked.flip, asked.autocast, asked.random) == ("rtmo-l", True, "bfloat16", 7)
    assert asked.label("rtmo-l_x") == "rtmo-l_x.random7.flip.bfloat16"
    assert parse("a@random").random == 0
    own = parse("dir/my.py@work/best.pth@trust-pickle")
    assert own.is_path and own.checkpoint == Path("work/best.pth") and own.trust_pickle
    assert own.label("my") == "my.best" and parse("my.py@my.pth").label("my") == "my"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rtmo-l@flop", "got @flop"),
        ("rtmo-l@autocast=int8", "got @autocast=int8"),
        ("rtmo-l@random=x", "got @random=x"),
        ("@flip", "expected the name of a model"),
        ("a@random@b.pth", "exclude each other"),
    ],
)
def test_wrong_options(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse(text)


def test_without_the_packages_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    environment.prepare.cache_clear()
    index.entries.cache_clear()
    for family in ("mmpose", "mmdet"):
        with pytest.raises(
            MissingExtraError, match=f"{family} is not installed; try `make openmmlab`"
        ) as caught:
            FAMILIES.load(family).describe("rtmo-l", None)
        assert "--no-deps mmengine==0.10.7 mmcv-lite==2.1.0 mmdet==3.3.0 mmpose==1.3.2" in str(caught.value)
    index.entries.cache_clear()


def test_a_compiled_mmcv_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "installed", lambda: {"mmcv": None})
    assert [r.partition("==")[0] for r in environment.requirements()] == list(environment.VERSIONS)
    monkeypatch.setattr(environment, "installed", lambda: {"mmcv": "2.1.0"})
    assert not any(r.startswith("mmcv") for r in environment.requirements())


def test_kinds_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, list[index.Entry]] = {"mmpose": [], "mmdet": []}
    for package, folder, name in (
        ("mmpose", "body_2d_keypoint/rtmo/body7", "rtmo-x"),
        ("mmpose", "face_2d_keypoint/rtmo", "rtmo-y"),
        ("mmpose", "body_2d_keypoint/edpose/coco", "edpose_x"),
        ("mmdet", "yolox", "yolox_x"),
    ):
        config = tmp_path / "configs" / folder / f"{name}.py"
        config.parent.mkdir(parents=True)
        config.write_text("custom_imports = dict(imports=['mmpretrain.models'])" * (name == "rtmo-y"))
        entry = index.Entry(name=name, aliases=(f"my-{name}",), config=config, url=None)
        known[package].append(entry)
    monkeypatch.setattr(families, "find_spec", lambda name: None)
    monkeypatch.setattr(families, "require", lambda: None)
    monkeypatch.setattr(families, "entries", known.__getitem__)
    told = {f.name: (f.models, f.aliases, f.works) for f in families.families()}
    assert told["mmpose: rtmo"] == (2, ("my-rtmo-x", "my-rtmo-y"), "yes; 1 need mmpretrain, such as ViTPose")
    assert told["mmpose: edpose"][2].startswith("no: fails in MMPose itself")
    assert told["mmdet"][0] == 1
    assert "skelkit experts check" in told["mmdet"][2]


def test_kinds_of_models_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    assert "make openmmlab" in families.missing()
    with pytest.raises(MissingExtraError):
        families.families()
