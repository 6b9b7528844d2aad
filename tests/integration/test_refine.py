"""Aggregation over stored experts: windows, people one by one, shards and SST-A files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skelkit.aggregation.refiners import savitzky_golay
from skelkit.aggregation.ssta import Ssta
from skelkit.cli import app
from skelkit.data import Clip, ShardReader, ShardWriter, empty_sequence
from skelkit.data.ssta_npz import read_ssta_npz, write_ssta_npz
from skelkit.errors import ConfigError, ShardError
from skelkit.pipelines import aggregate as room
from skelkit.pipelines.aggregate import AggregationSettings, aggregate, learn_reliability, refine_people
from skelkit.pipelines.refine import refine
from skelkit.skeletons import COCO17, EDVARD14, OPENPOSE18, Skeleton
from skelkit.structures import SkeletonSequence, Tracks

EXPERTS = {"a": COCO17, "b": EDVARD14, "c": OPENPOSE18}


def view(name: str, skeleton: Skeleton, frames: int = 60, people: int = 2) -> SkeletonSequence:
    """People walking; each expert with its own noise and misses. A joint is where its name puts it."""
    rng = np.random.default_rng(ord(name[0]))
    place = {j: np.asarray([hash_of(j) % 97, hash_of(j) % 89], float) for j in skeleton.joints}
    body = np.stack([place[j] for j in skeleton.joints])
    t = np.arange(frames)
    walk = np.stack([100 + 2 * t, 200 + 10 * np.sin(t / 5)], axis=-1)
    points = walk[None, :, None] + 300 * np.arange(people)[:, None, None, None] + body
    points = points + rng.normal(0, 1, points.shape)
    points[rng.random(points.shape[:3]) < 0.1] = np.nan
    points[0, 20:25] = np.nan
    seen = np.isfinite(points).all(axis=-1)
    return SkeletonSequence(
        skeleton=skeleton,
        keypoints=points.astype(np.float32),
        scores=np.where(seen, 0.8, 0).astype(np.float32),
        confidence=np.where(seen.any(axis=-1), 0.9, np.nan).astype(np.float32),
        track_ids=np.arange(people),
        frame_indices=t,
        pts_s=t / 25,
        video_id="walk",
        fps=25.0,
        image_size=(720, 1280),
        sources=(name,),
    )


def hash_of(joint: str) -> int:
    return sum(ord(c) * (i + 1) for i, c in enumerate(joint))


@pytest.fixture
def views() -> list[SkeletonSequence]:
    return [view(name, skeleton) for name, skeleton in EXPERTS.items()]


@pytest.fixture
def shard(tmp_path: Path, views: list[SkeletonSequence]) -> Path:
    path = tmp_path / "in.h5"
    recipe = {"job": "extract", "primary": "b"}
    with ShardWriter(path, skeleton=EDVARD14, recipe=recipe, experts=EXPERTS) as writer:
        writer.write(views[1], experts=dict(zip(EXPERTS, views, strict=True)))
        nothing = {n: empty_sequence(s, video_id="broken", sources=(n,)) for n, s in EXPERTS.items()}
        clip = Clip.of(nothing["b"], status="failed", detail="no picture in it")
        writer.write(nothing["b"], clip=clip, experts=nothing)
    return path


def test_windows_make_no_difference(views: list[SkeletonSequence], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Ssta().aggregate(views)
    monkeypatch.setattr(room, "WINDOW", 7)
    result = aggregate([Tracks.of(v) for v in views], AggregationSettings(method="ssta")).to_sequence()
    np.testing.assert_array_equal(result.keypoints, whole.keypoints)
    np.testing.assert_allclose(result.confidence, np.where(whole.present(), whole.confidence, np.nan))
    assert result.sources == ("a", "b", "c")


def test_people_are_refined_alone_as_they_are_together(views: list[SkeletonSequence]) -> None:
    smooth = savitzky_golay(window_s=0.3)
    together = smooth(views[0])
    alone = refine_people(Tracks.of(views[0]), smooth).to_sequence()
    np.testing.assert_allclose(alone.keypoints, together.keypoints, atol=1e-4)


@pytest.mark.parametrize("method", ["ssta", "consensus"])
def test_aggregate_misses_less_than_any_expert(views: list[SkeletonSequence], method: str) -> None:
    result = aggregate([Tracks.of(v) for v in views], AggregationSettings(method=method)).to_sequence()
    missing = [float(np.isnan(v.keypoints[:, :, :, 0]).mean()) for v in views]
    assert np.isnan(result.keypoints[..., 0]).mean() < min(missing) / 2
    assert np.nanmin(result.confidence) > 0.5


def test_bridging_fills_what_nobody_saw(views: list[SkeletonSequence]) -> None:
    tracks = [Tracks.of(v) for v in views]
    plain = aggregate(tracks, AggregationSettings(method="ssta")).to_sequence()
    bridged = aggregate(tracks, AggregationSettings(method="ssta", bridge_s=0.5)).to_sequence()
    assert not plain.present()[0, 20:25].any()
    assert bridged.present()[0, 20:25].all()


def test_refine_shard(shard: Path, tmp_path: Path) -> None:
    done = refine([shard], tmp_path / "out.h5", AggregationSettings(method="ssta", joints="posetics17"))
    assert (done.clips, done.frames) == (2, 60)
    with ShardReader(shard) as before, ShardReader(tmp_path / "out.h5") as after:
        assert after.skeleton.name == "posetics17"
        assert after.recipe["from"] == before.recipe
        assert after.recipe["aggregation"]["method"] == "ssta"
        assert after.clip(1).status == "failed"
        assert len(after[0].track_ids) == 2
        for name in EXPERTS:  # what the experts said is kept as it was
            np.testing.assert_array_equal(after.expert(name, 0).keypoints, before.expert(name, 0).keypoints)
        assert done.poses == int(after[0].present().sum())


def test_consensus_learns_from_all_clips_of_a_shard(tmp_path: Path) -> None:
    settings = AggregationSettings()
    with ShardWriter(tmp_path / "in.h5", skeleton=COCO17, recipe={}, experts=EXPERTS) as writer:
        for number in range(3):
            views = [replace(view(n, s, frames=20), video_id=f"clip{number}") for n, s in EXPERTS.items()]
            writer.write(views[0], experts=dict(zip(EXPERTS, views, strict=True)))
    refine([tmp_path / "in.h5"], tmp_path / "out.h5", settings)
    with ShardReader(tmp_path / "in.h5") as before, ShardReader(tmp_path / "out.h5") as after:
        clips = [[Tracks.of(before.expert(n, i)) for n in EXPERTS] for i in range(3)]
        known = learn_reliability(clips, settings)
        together = aggregate(clips[0], settings, known).to_sequence()
        alone = aggregate(clips[0], settings).to_sequence()
        np.testing.assert_allclose(after[0].scores, together.scores, atol=1 / 256)
        assert np.abs(together.scores - alone.scores).max() > 1 / 64


def test_an_expert_that_misses_a_person_keeps_the_others(tmp_path: Path) -> None:
    views = [view(name, skeleton, people=3) for name, skeleton in EXPERTS.items()]
    views[0].keypoints[1] = np.nan
    views[2].keypoints[2] = np.nan
    with ShardWriter(tmp_path / "in.h5", skeleton=COCO17, recipe={}, experts=EXPERTS) as writer:
        writer.write(views[0], experts=dict(zip(EXPERTS, views, strict=True)))
    refine([tmp_path / "in.h5"], tmp_path / "out.h5", AggregationSettings())
    with ShardReader(tmp_path / "out.h5") as after:
        assert after[0].track_ids.tolist() == [0, 1, 2]
        hips = after[0].keypoints[:, 30, after.skeleton.index("left_hip")]
        assert np.abs(np.diff(hips[:, 0]) - 300).max() < 10  # each where they were put


def test_refine_without_aggregation_gives_the_primary_expert(shard: Path, tmp_path: Path) -> None:
    refine([shard], tmp_path / "out.h5", AggregationSettings(method="none"))
    with ShardReader(tmp_path / "out.h5") as after:
        np.testing.assert_array_equal(after[0].keypoints, after.expert("b", 0).keypoints)


def test_refine_files(tmp_path: Path, views: list[SkeletonSequence]) -> None:
    poses = [view(name, COCO17, people=1).keypoints[0] for name in EXPERTS]
    files = [tmp_path / f"{name}.npz" for name in EXPERTS]
    for file, pose in zip(files, poses, strict=True):
        write_ssta_npz(file, pose)
    done = refine(files, tmp_path / "out.npz", AggregationSettings(method="ssta"))
    result = read_ssta_npz(tmp_path / "out.npz")
    assert done.frames == 60
    limbs = result[:, 5:]
    proposals = np.stack([p[:, 5:] for p in poses])
    same = (proposals == limbs).all(axis=-1).any(axis=0)
    assert (same | np.isnan(limbs[..., 0])).all()


def test_refusals(shard: Path, tmp_path: Path, views: list[SkeletonSequence]) -> None:
    with pytest.raises(ConfigError, match="exists"):
        refine([shard], shard, AggregationSettings())
    with pytest.raises(ConfigError, match="both"):
        refine([shard], tmp_path / "out.npz", AggregationSettings())
    with pytest.raises(ConfigError, match="one shard"):
        refine([shard, shard], tmp_path / "out.h5", AggregationSettings())
    for wrong in ({"method": "median"}, {"joints": "coco18"}, {"gamma": 1.0}, {"smooth": ("one_eura",)}):
        with pytest.raises(ConfigError):
            AggregationSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="window_s"):
        AggregationSettings(smooth=("savitzky_golay:window_s=wide",))
    alone = tmp_path / "alone.h5"
    with ShardWriter(alone, skeleton=COCO17, recipe={}) as writer:
        writer.write(replace(views[0]))
    with pytest.raises(ShardError, match="holds none"):
        refine([alone], tmp_path / "out.h5", AggregationSettings())


def test_command(shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.h5"
    app(["refine", str(shard), str(out), "--smooth", "one_euro", "--bridge", "0.3"], standalone_mode=False)
    assert f"-> {out}" in capsys.readouterr().out
    with ShardReader(out) as after:
        assert after.recipe["aggregation"]["smooth"] == ["one_euro"]
