from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from skelkit import models
from skelkit.errors import CheckpointError, ConfigError, OutputError

SETTINGS = {
    "unik": {"channels": (8, 16), "dilations": (1, 1), "num_heads": 2},
    "stgcn": {"channels": (8, 16), "center": "chest"},
    "agcn": {"channels": (8, 16), "similarity": "gated tanh"},
    "msg3d": {"channels": (12,), "num_scales": 2, "num_g3d_scales": 2, "windows": (3,)},
}


def trained(name: str) -> models.SkeletonModel:
    torch.manual_seed(0)
    model = models.build(name, {"skeleton": "posetics17", "num_classes": 3, **SETTINGS[name]})
    model(torch.randn(2, 2, 16, 17, 2))  # moves the running statistics
    return model.eval()


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_round_trip(name: str, tmp_path: Path) -> None:
    model = trained(name)
    models.save(
        tmp_path / "new" / "m", model, classes=("a", "b", "ç"), recipe={"epochs": 3}, metrics={"top1": 0.5}
    )
    again = models.load(tmp_path / "new" / "m")
    assert type(again) is type(model)
    assert again.config == model.config
    assert not again.training
    x = torch.randn(2, 2, 16, 17, 2)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    card = models.read_card(tmp_path / "new" / "m")
    assert card.classes == ("a", "b", "ç")
    assert card.recipe == {"epochs": 3}
    assert card.metrics == {"top1": 0.5}
    assert sorted(p.name for p in (tmp_path / "new" / "m").iterdir()) == ["model.json", "model.safetensors"]


def test_saving_again_replaces(tmp_path: Path) -> None:
    models.save(tmp_path, trained("unik"))
    models.save(tmp_path, trained("stgcn"))
    assert models.read_card(tmp_path).architecture == "stgcn"
    models.load(tmp_path)


def test_class_names_have_to_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected 3 class names"):
        models.save(tmp_path, trained("unik"), classes=("a",))


def test_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        models.save(tmp_path / "file", trained("unik"))


def edit(path: Path, **changes: object) -> None:
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, **changes}))


def test_damaged_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.json"):
        models.load(tmp_path / "nowhere")
    folder = models.save(tmp_path / "m", trained("unik"))
    card = folder / "model.json"
    good = card.read_text()
    for text in ("", "[1]", "{", '{"format": "other"}', "\x00"):
        card.write_text(text)
        with pytest.raises(CheckpointError):
            models.load(folder)
    for key, value in (
        ("version", 2),
        ("config", {"skeleton": "posetics17"}),
        ("config", 3),
        ("classes", 4),
        ("architecture", "nobody"),
    ):
        card.write_text(good)
        edit(card, **{key: value})
        with pytest.raises(CheckpointError):
            models.load(folder)
    card.write_text(good)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for data in (b"", whole[: len(whole) // 2], b"\xff" * 100):
        weights.write_bytes(data)
        with pytest.raises(CheckpointError):
            models.load(folder)
    weights.unlink()
    with pytest.raises(CheckpointError):
        models.load(folder)


def test_weights_of_another_network_are_told(tmp_path: Path) -> None:
    folder = models.save(tmp_path / "m", trained("unik"))
    other = models.save(tmp_path / "o", trained("stgcn"))
    (other / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="not those of this unik"):
        models.load(folder)
