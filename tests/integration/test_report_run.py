"""From a training run to its page and figures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from command_line import at_once
from made_actions import make_dataset

from skelkit.pipelines.report import report

RECIPE = """
[model]
name = "unik"
options = { channels = [8, 8], dilations = [1, 1] }
[data]
frames = 8
test_frames = 8
sampling = "stretch"
validation_share = 0.25
[training]
epochs = 2
batch_size = 6
log_every = 1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("made") / "ds", clips={"train": 8, "test": 2, "extra": 1})


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.toml").write_text(RECIPE)
    out = folder / "run"
    at_once("train", folder / "small.toml", "--data", data, "--out", out, "--accelerator", "cpu", code=0)
    at_once("test", out, "--data", data, "--split", "extra", "--device", "cpu", code=0)
    return out


def text_of(page: Path) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page.read_text("utf-8")))


def test_page_of_a_run_where_its_dataset_is(run: Path, tmp_path: Path) -> None:
    done = at_once("report", run, "--out", tmp_path / "page.html", code=0)
    assert "2 of 2 epochs, test top-1" in done.out
    text = text_of(tmp_path / "page.html")
    for words in ("Results on test", "Results on extra", "its mean over 3 clips of “test”", "To learn from"):
        assert words in text
    figures = {path.name for path in (tmp_path / "page-figures").iterdir()}
    assert {"loss.png", "test-confusion.png", "extra-classes.png", "joints-block-2.png"} <= figures
    assert at_once("report", run, "--out", tmp_path / "page.html", code=3).sentence.endswith("replace it")


def test_dataset_that_is_gone_or_another(run: Path, data: Path, tmp_path: Path) -> None:
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    values = json.loads((moved / "run.json").read_text())
    assert values["data"] == str(data)
    (moved / "run.json").write_text(json.dumps({**values, "data": str(tmp_path / "gone")}))
    text = text_of(report(moved).page)
    assert "no longer where it was" in text and "its mean over" not in text and "learnt:" in text
    assert "its mean over" in text_of(report(moved, data=data, overwrite=True).page)
    other = make_dataset(tmp_path / "other", labels=("bend", "nod"))
    told = at_once("report", moved, "--data", other, "--overwrite", code=2).sentence
    assert "another" in told


def test_unfinished_runs_and_models_alone(run: Path, tmp_path: Path) -> None:
    early = tmp_path / "early"
    early.mkdir()
    shutil.copy(run / "run.json", early)
    assert "No epoch has ended yet" in text_of(report(early).page)
    shutil.copy(run / "curves.csv", early)
    rows = (early / "curves.csv").read_text().splitlines()
    (early / "curves.csv").write_text("\n".join(rows[: len(rows) // 2 + 1]) + "\n")
    assert "Not finished: 1 of 2 epochs" in text_of(report(early, overwrite=True).page)
    model = tmp_path / "model"
    shutil.copytree(run / "model", model)
    assert "Nothing has been measured yet" in text_of(report(model).page)


def test_what_is_damaged_is_named(run: Path, tmp_path: Path) -> None:
    for name, content in (("run.json", "{"), ("curves.csv", "epoch\nx\n"), ("results/test-scores.npz", "")):
        broken = tmp_path / Path(name).stem
        shutil.copytree(run, broken)
        (broken / name).write_text(content)
        assert Path(name).name in at_once("report", broken, code=2).sentence
    assert "not a dataset" in at_once("report", tmp_path, code=3).sentence


@pytest.mark.parametrize("name", ["stgcn", "agcn", "msg3d"])
def test_graph_networks_show_their_graphs(name: str, tmp_path: Path) -> None:
    from skelkit.models import build, save

    small = {"channels": [12], "num_scales": 3, "windows": [3]} if name == "msg3d" else {"channels": [8, 8]}
    save(
        tmp_path / "m",
        build(name, {"skeleton": "jhmdb15", "num_classes": 3, **small}),
        classes=["a", "b", "c"],
    )
    text = text_of(report(tmp_path / "m").page)
    assert "Graph before learning" in text and "largest change of the graph 0.00" in text
