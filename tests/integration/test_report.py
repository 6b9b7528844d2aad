"""From a dataset to its page and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import at_once

from skelkit.data import Clip, empty_sequence
from skelkit.data.building import DatasetWriter
from skelkit.errors import ConfigError, OutputError, ShardError
from skelkit.pipelines.report import report
from skelkit.skeletons import COCO17
from skelkit.structures import SkeletonSequence

FIGURES = {
    "class-sizes.png",
    "classes.png",
    "filters.png",
    "length.png",
    "people.png",
    "presence.png",
    "confidence.png",
    "poses.png",
    "score.png",
    "visibility.png",
}


def clip_of(video_id: str, rng: np.random.Generator) -> SkeletonSequence:
    points = rng.uniform(50, 200, (2, 8, 17, 2)).astype(np.float32)
    points[1, :4] = np.nan
    seen = np.isfinite(points).all(-1)
    return SkeletonSequence(
        skeleton=COCO17,
        keypoints=points,
        scores=seen.astype(np.float32),
        confidence=np.where(seen.any(-1), 0.6, np.nan).astype(np.float32),
        track_ids=np.array([4, 9]),
        frame_indices=np.arange(8),
        pts_s=np.arange(8) / 10,
        video_id=video_id,
        fps=10.0,
        image_size=(240, 320),
        sources=("movenet", "lcr"),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("made") / "dataset"
    rules = [{"rule": "presence", "limit": 0.5, "clips_in": 11, "clips_dropped": 4}]
    with DatasetWriter(folder, name="made", skeleton=COCO17, recipe={"job": "test"}, filters=rules) as writer:
        for i in range(6):
            clip = clip_of(f"clip{i}", rng)
            label, split = ("walk", "sit")[i % 2], ("train", "val")[i // 4]
            writer.write(clip, Clip.of(clip, label=label, split=split))
        nobody = empty_sequence(COCO17, video_id="nobody", image_size=(240, 320))
        writer.write(nobody, Clip.of(nobody, label="sit", split="train"))
    return folder


def test_page_and_figures_by_default_in_the_dataset_once(dataset: Path) -> None:
    done = at_once("report", dataset, code=0)
    page, figures = dataset / "report.html", dataset / "report-figures"
    assert "7 clips, 2 classes" in done.out and str(page) in done.out
    assert {path.name for path in figures.iterdir()} == FIGURES
    text = page.read_text("utf-8")
    assert "movenet" in text and "11 clips came in, 7 were left" in text
    assert "Without a person: 1 clip." in text
    before = page.read_bytes()
    assert "--overwrite" in at_once("report", dataset, code=3).sentence
    at_once("report", dataset, "--overwrite", code=0)
    assert page.read_bytes() == before


def test_page_and_figures_wherever_wanted(dataset: Path, tmp_path: Path) -> None:
    done = report(dataset, out=tmp_path / "page.html", figures=tmp_path / "pictures", gamma=0.7)
    assert (
        {path.name for path in done.figures} == FIGURES == {p.name for p in (tmp_path / "pictures").iterdir()}
    )
    assert done.contents == "7 clips, 2 classes"
    assert done.size_bytes == done.page.stat().st_size
    assert "Of a mean confidence below gamma = 0.7: 6 clips." in done.page.read_text("utf-8")


def test_what_cannot_work_is_refused_before_anything_is_written(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="gamma"):
        report(dataset, out=tmp_path / "a.html", gamma=1.0)
    with pytest.raises(ShardError, match="not a dataset"):
        report(tmp_path, out=tmp_path / "a.html")
    for out, figures in (
        (tmp_path, None),
        (tmp_path / "file", None),
        (tmp_path / "absent" / "a.html", None),
        (tmp_path / "a.html", tmp_path / "file"),
        (tmp_path / "a.html", tmp_path / "absent" / "pictures"),
    ):
        with pytest.raises(OutputError):
            report(dataset, out=out, figures=figures)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
