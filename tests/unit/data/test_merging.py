"""Merging shards equals writing them in one go."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_samples import random_sequence

from skelkit.data import (
    Clip,
    ShardReader,
    ShardWriter,
    describe,
    empty_sequence,
    merge_shards,
    write_clip_file,
)
from skelkit.data.merging import first_difference
from skelkit.data.rows import PIECE
from skelkit.errors import ShardError
from skelkit.skeletons import COCO17, LCR13
from skelkit.structures import Skeleton, SkeletonSequence

EXPERTS = {"lcr": LCR13, "movenet": COCO17}
RECIPE = {"stride": 1, "experts": {"lcr": {"sha256": "aa"}, "movenet": {"sha256": "bb"}}}


def clip_of(seed: int) -> tuple[SkeletonSequence, Clip, dict[str, SkeletonSequence]]:
    """Clips of all kinds: with people, without, failed, long."""
    if seed % 5 == 3:
        gone = empty_sequence(COCO17, video_id=f"clip{seed}")
        empty = {name: empty_sequence(s, video_id=f"clip{seed}") for name, s in EXPERTS.items()}
        return gone, Clip.of(gone, status="failed", detail="no stream"), empty
    frames = 700 if seed % 5 == 4 else seed * 3 % 17
    sequence = random_sequence(seed, people=seed % 4, frames=frames)
    views = {
        name: random_sequence(seed + 1, people=2, frames=frames, skeleton=s) for name, s in EXPERTS.items()
    }
    clip = Clip.of(sequence, source=f"/videos/{seed}.mp4", label_index=seed % 3, split="train")
    return sequence, clip, views


def write(path: Path, seeds: list[int], recipe: dict[str, object] = RECIPE) -> Path:
    with ShardWriter(path, skeleton=COCO17, recipe=recipe, experts=EXPERTS) as writer:
        for seed in seeds:
            sequence, clip, views = clip_of(seed)
            writer.write(sequence, clip=clip, experts=views)
    return path


@settings(deadline=None, max_examples=8)
@given(st.data())
def test_a_merge_is_byte_for_byte_the_direct_write(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    seeds = data.draw(st.permutations(range(8)))
    cuts = sorted(data.draw(st.sets(st.integers(0, 8), max_size=4)))
    groups = [list(seeds[a:b]) for a, b in zip([0, *cuts], [*cuts, 8], strict=True)]
    parts = [write(folder / f"part{i}.h5", group) for i, group in enumerate(groups)]
    direct = write(folder / "direct.h5", list(seeds)).read_bytes()
    summary = merge_shards(folder / "merged.h5", parts)
    assert (folder / "merged.h5").read_bytes() == direct
    assert (summary.num_parts, summary.num_clips) == (len(parts), 8)

    order = data.draw(st.permutations(range(8)))
    merge_shards(folder / "ordered.h5", parts, order=[f"clip{seed}" for seed in order])
    assert (folder / "ordered.h5").read_bytes() == write(folder / "direct.h5", list(order)).read_bytes()


def test_a_clip_of_many_pieces_merges_to_the_direct_write(tmp_path: Path) -> None:
    long = random_sequence(0, people=3, frames=2 * PIECE // 3)
    assert long.present().sum() > PIECE
    short = random_sequence(1)
    named = {name: replace(s, video_id=name) for name, s in zip("abc", (short, long, short), strict=True)}
    for file, sequences in {"direct": [*named.values()], **{n: [s] for n, s in named.items()}}.items():
        with ShardWriter(tmp_path / f"{file}.h5", skeleton=COCO17, recipe={}) as writer:
            for sequence in sequences:
                writer.write(sequence)
    merge_shards(tmp_path / "merged.h5", [tmp_path / f"{name}.h5" for name in "abc"])
    assert (tmp_path / "merged.h5").read_bytes() == (tmp_path / "direct.h5").read_bytes()


def test_spooled_clips_merge_to_the_direct_write_more_of_them_than_stay_open(tmp_path: Path) -> None:
    seeds = list(range(40))
    parts = []
    for seed in reversed(seeds):
        sequence, clip, views = clip_of(seed)
        parts.append(tmp_path / f"{seed}.h5")
        write_clip_file(
            parts[-1], sequence=sequence, clip=clip, experts=views, skeleton=COCO17, recipe=RECIPE
        )
    out = tmp_path / "out.h5"
    merge_shards(out, parts, order=[f"clip{seed}" for seed in seeds])
    assert out.read_bytes() == write(tmp_path / "direct.h5", seeds).read_bytes()
    with ShardReader(out) as reader:
        assert reader.video_ids == [f"clip{seed}" for seed in seeds]


def test_the_result_may_replace_a_part(tmp_path: Path) -> None:
    parts = [write(tmp_path / "a.h5", [0, 1]), write(tmp_path / "b.h5", [2])]
    direct = write(tmp_path / "direct.h5", [0, 1, 2]).read_bytes()
    merge_shards(parts[0], parts)
    assert parts[0].read_bytes() == direct


def test_what_cannot_be_merged_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.h5", [0, 1]), write(tmp_path / "b.h5", [2])
    twin = write(tmp_path / "twin.h5", [5, 1])
    other = write(
        tmp_path / "other.h5", [7], {**RECIPE, "experts": {**RECIPE["experts"], "lcr": {"sha256": "ac"}}}
    )  # type: ignore[dict-item]
    hurt = tmp_path / "hurt.h5"
    hurt.write_bytes(b.read_bytes()[:-100])
    rotten = tmp_path / "rotten.h5"
    data = bytearray(write(rotten, [4]).read_bytes())
    data[len(data) // 2] ^= 255  # in the poses: found when they are copied
    rotten.write_bytes(data)
    out = tmp_path / "out.h5"
    for parts, order, words in (
        ([], None, "at least one"),
        ([a, twin], None, r"clip 'clip1' is in .*a\.h5 and in .*twin\.h5"),
        ([a, other], None, r"recipe\.experts\.lcr\.sha256 is aa in .*a\.h5, but ac in .*other\.h5"),
        ([a, hurt], None, r"hurt\.h5 is cut short or damaged"),
        ([a, rotten], None, r"rotten\.h5 is cut short or damaged"),
        ([a, tmp_path / "none.h5"], None, "no shard"),
        ([a, b], ["clip0", "clip1"], "left out: .*clip2"),
        ([a], ["clip0", "clip9"], "unknown: .*clip9"),
        ([a], ["clip0", "clip0", "clip1"], "once"),
    ):
        with pytest.raises(ShardError, match=words):
            merge_shards(out, parts, order=order)
        assert not out.exists()
        assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize(
    ("skeleton", "experts", "words"),
    [
        (LCR13, EXPERTS, r"skeleton\.\w+ is"),
        (COCO17, {"lcr": LCR13}, r"experts\.movenet is .{1,90} in .*a\.h5, but absent in"),
        (COCO17, {"lcr": COCO17, "movenet": COCO17}, r"experts\.lcr\.edges"),
    ],
)
def test_other_joint_sets_and_experts_are_named(
    tmp_path: Path, skeleton: Skeleton, experts: dict[str, Skeleton], words: str
) -> None:
    a = write(tmp_path / "a.h5", [0])
    with ShardWriter(tmp_path / "b.h5", skeleton=skeleton, recipe=RECIPE, experts=experts):
        pass
    with pytest.raises(ShardError, match=words):
        merge_shards(tmp_path / "out.h5", [a, tmp_path / "b.h5"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(json_values)
def test_equal_values_have_no_difference(value: object) -> None:
    assert first_difference(value, value) is None


def test_the_first_difference_is_named() -> None:
    assert first_difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == ("a[1].b", 2, 3)
    assert first_difference({"a": 1}, {"a": 1, "b": 2}) == ("b", "absent", 2)
    assert first_difference({"a": [1]}, {"a": [1, 2]}) == ("a", [1], [1, 2])
    assert first_difference({"a": True}, {"a": 1}) == ("a", True, 1)


def test_describe_counts_what_is_there(tmp_path: Path) -> None:
    seeds = list(range(10))
    path = write(tmp_path / "a.h5", seeds)
    got = describe(path)
    clips = [clip_of(seed) for seed in seeds]
    assert got.num_clips == 10
    assert got.status["failed"] == 2
    assert sum(got.status.values()) == 10
    assert got.num_frames == sum(s.num_frames for s, _, _ in clips)
    assert got.hours == pytest.approx(sum(s.num_frames for s, _, _ in clips) / 12.5 / 3600)
    assert got.poses.num_rows == sum(s.present().sum() for s, _, _ in clips)
    assert got.poses.num_people == sum(s.present().any(axis=1).sum() for s, _, _ in clips)
    assert got.size_bytes == path.stat().st_size
    rows = got.poses.num_rows + sum(e.num_rows for e in got.experts.values())
    assert got.bytes_per_pose == pytest.approx(got.size_bytes / rows)
    assert got.image_sizes == {(640, 480): 8, (0, 0): 2}
    assert got.num_labels == 1
    assert got.recipe == RECIPE
    scores = np.concatenate([v["lcr"].scores[v["lcr"].scores > 0] for _, _, v in clips])
    assert got.experts["lcr"].mean_score == pytest.approx(scores.mean(), abs=1 / 512)
    found = sum(int(np.isfinite(v["lcr"].keypoints[..., 0]).sum()) for _, _, v in clips)
    assert got.experts["lcr"].joints_found == found
    assert got.experts["lcr"].skeleton == LCR13


def test_describe_an_empty_shard(tmp_path: Path) -> None:
    got = describe(write(tmp_path / "a.h5", []))
    assert (got.num_clips, got.poses.num_rows, got.hours) == (0, 0, 0)
    assert math.isnan(got.bytes_per_pose)
    assert math.isnan(got.poses.mean_score)
