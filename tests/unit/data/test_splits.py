"""Which clips go where."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from skelkit.data.splits import assign, by_ratio, leaks, parse_ratios
from skelkit.errors import ConfigError

RATIOS = {"train": 0.8, "val": 0.1, "test": 0.1}


def columns(names: list[str], **others: list[str]) -> dict[str, np.ndarray]:
    found = {name: np.full(len(names), "", object) for name in ("label", "split", "source", "sha256")}
    return (
        found
        | {"video_id": np.asarray(names, object)}
        | {k: np.asarray(v, object) for k, v in others.items()}
    )


def test_every_label_is_split_by_the_ratios() -> None:
    labels = ["a"] * 100 + ["b"] * 50 + ["c"] * 10
    splits = by_ratio(RATIOS, labels, [f"clip{i}" for i in range(160)])
    counts = Counter(zip(labels, splits, strict=True))
    assert [counts["a", s] for s in RATIOS] == [80, 10, 10]
    assert [counts["b", s] for s in RATIOS] == [40, 5, 5]
    assert [counts["c", s] for s in RATIOS] == [8, 1, 1]


def test_a_split_depends_on_names_and_seed_not_on_the_order_of_clips() -> None:
    names = [f"clip{i}" for i in range(200)]
    labels = ["ab"[i % 2] for i in range(200)]
    here = dict(zip(names, by_ratio(RATIOS, labels, names, seed=3), strict=True))
    back = dict(zip(names[::-1], by_ratio(RATIOS, labels[::-1], names[::-1], seed=3), strict=True))
    assert here == back
    assert here != dict(zip(names, by_ratio(RATIOS, labels, names, seed=4), strict=True))


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=120), st.integers(0, 5))
def test_no_group_is_in_two_splits(clips: list[tuple[int, int]], seed: int) -> None:
    groups = [f"g{g}" for g, _ in clips]
    splits = by_ratio(RATIOS, [f"l{k}" for _, k in clips], groups, seed=seed)
    assert not leaks(splits, groups)
    assert set(splits) <= set(RATIOS)


def test_groups_come_near_the_ratios() -> None:
    groups = [f"subject{i // 10}" for i in range(1000)]
    counts = Counter(by_ratio(RATIOS, ["ab"[i % 2] for i in range(1000)], groups))
    assert [counts[s] for s in RATIOS] == [800, 100, 100]


def test_leaks_are_groups_in_two_splits() -> None:
    assert leaks(["train", "val", "train"], ["a", "a", "b"]) == {"a": Counter(train=1, val=1)}
    assert leaks(["train", "val"], ["", ""]) == {}


@pytest.mark.parametrize(
    "text", ["train=0.5", "train=0.5,val=0.6", "train=x", "=1", "a b=1", "train=1.5,val=-0.5", "a=0.5,a=0.5"]
)
def test_ratios_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_ratios(text)


def test_groups_by_pattern_column_and_file(tmp_path: Path) -> None:
    names = [f"p{i % 7:02d}_clip{i}" for i in range(70)]
    (tmp_path / "who.csv").write_text("video_id,who\n" + "".join(f"{n},w{n[:3]}\n" for n in names))
    how = "train=0.7,test=0.3"
    by_pattern = assign(how, columns(names), group=r"^(p\d+)_")
    assert not leaks(by_pattern, [n[:3] for n in names]) and len(set(by_pattern)) == 2
    assert not leaks(assign(how, columns(names), group=f"{tmp_path}/who.csv:who"), [n[:3] for n in names])
    sources = [n[:3] for n in names]
    assert not leaks(assign(how, columns(names, source=sources), group="source"), sources)


def test_clips_without_a_group_are_told() -> None:
    with pytest.raises(ConfigError, match=r"none for 2: x; y"):
        assign("train=0.5,test=0.5", columns(["p1", "x", "y"]), group=r"p(\d)")
    with pytest.raises(ConfigError, match="regular expression"):
        assign("train=0.5,test=0.5", columns(["p1"]), group=r"p(\d")
    with pytest.raises(ConfigError, match="groups need ratios"):
        assign("ntu60-cs", columns(["p1"]), group="source")


@pytest.mark.parametrize(
    ("protocol", "name", "split"),
    [
        ("smarthome-cs", "Cook.Cleandishes_p03_r00_v02_c03", "train"),
        ("smarthome-cs", "Cook.Cleandishes_p02_r00_v02_c03", "test"),
        ("smarthome-cs", "sub/Walk_p25_r01_v02_c03_pose3d", "train"),
        ("smarthome-cv1", "Walk_p03_r00_v02_c01", "train"),
        ("smarthome-cv1", "Walk_p03_r00_v02_c02", "test"),
        ("smarthome-cv1", "Walk_p03_r00_v02_c05", "val"),
        ("smarthome-cv1", "Walk_p03_r00_v02_c03", ""),
        ("smarthome-cv2", "Walk_p03_r00_v02_c03", "train"),
        ("smarthome-cv2", "Walk_p03_r00_v02_c05", "val"),
        ("smarthome-cv2", "Walk_p03_r00_v02_c02", "test"),
        ("ntu60-cs", "S001C002P038R002A013", "train"),
        ("ntu60-cs", "S001C002P003R002A013", "test"),
        ("ntu60-cs", "S001C002P003R002A061", ""),
        ("ntu60-cv", "S001C001P003R002A013", "test"),
        ("ntu60-cv", "S001C003P003R002A013_rgb", "train"),
        ("ntu120-cs", "S001C003P103R002A113", "train"),
        ("ntu120-cs", "S001C003P106R002A113", "test"),
        ("ntu120-cset", "nturgb/S018C003P103R002A113", "train"),
        ("ntu120-cset", "S017C003P103R002A113", "test"),
    ],
)
def test_protocols_follow_from_names(protocol: str, name: str, split: str) -> None:
    assert assign(protocol, columns([name])) == [split]


def test_protocols_have_as_many_subjects_as_published() -> None:
    def train(protocol: str, names: list[str]) -> int:
        return assign(protocol, columns(names)).count("train")

    ntu = [f"S001C001P{p:03d}R001A001" for p in range(1, 107)]
    assert train("ntu60-cs", ntu[:40]) == 20
    assert train("ntu120-cs", ntu) == 53
    assert train("ntu120-cset", [f"S{s:03d}C001P001R001A001" for s in range(1, 33)]) == 16
    assert train("smarthome-cs", [f"Walk_p{p:02d}_r00_v00_c01" for p in range(1, 26)]) == 11


def test_names_that_do_not_fit_a_protocol_are_all_told() -> None:
    with pytest.raises(ConfigError, match=r"got 2 others: one; S1C2P3R4A5"):
        assign("ntu60-cs", columns(["one", "S001C001P001R001A001", "S1C2P3R4A5"]))


@pytest.mark.parametrize(
    ("lines", "clip", "found"),
    [
        (("waving/one.mp4,a",), "waving/one", "a"),
        (("waving/one.mp4,a",), "train/waving/one", "a"),
        (("waving/one.mp4,a",), "one", "a"),
        (("waving/one.mp4,a", "x/one.avi,b"), "one", ""),
        (("waving/one.mp4,a", "x/one.avi,a"), "one", "a"),
        (("waving/one.mp4,a",), "x/one", ""),
        (("one,a", "x/one,b"), "x/one", "b"),
        (("v1.2_x,a",), "v1", ""),
        (("one.mp4,a",), "one.mp4", "a"),
    ],
)
def test_a_file_may_name_clips_with_folders_and_extensions(
    tmp_path: Path, lines: tuple[str, ...], clip: str, found: str
) -> None:
    (tmp_path / "s.csv").write_text("\n".join(("video_id,split", "other,z", *lines)))
    assert assign(str(tmp_path / "s.csv"), columns([clip, "other"])) == [found, "z"]


def test_splits_from_a_file_find_clips_by_name_and_stem(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("# mine\npath,split\na/one.mp4,train\ntwo,val\nv1.2_x,test\n")
    assert assign(str(path), columns(["one", "b/two", "three", "v1.2_x"])) == ["train", "val", "", "test"]
    with pytest.raises(ConfigError, match="none of their names"):
        assign(str(path), columns(["four"]))


def test_kinetics_files_name_clips_by_their_times(tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    path.write_text("label,youtube_id,time_start,time_end,split\nx,-0abcdefghi,3,13,train\n")
    assert assign(str(path), columns(["-0abcdefghi_000003_000013"])) == ["train"]


def test_two_splits_for_one_clip_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("video_id,split\na,train\na,val\nb,val\nb,val\n")
    with pytest.raises(ConfigError, match=r"a \(line 3: val, before: train\)"):
        assign(str(tmp_path / "s.csv"), columns(["a"]))


def test_penn_action_is_split_by_its_own_labels(tmp_path: Path) -> None:
    for name, train in (("0001", 1), ("0002", -1)):
        savemat(tmp_path / f"{name}.mat", {"train": train, "action": "bowl"})
    assert assign(f"penn:{tmp_path}", columns(["frames/0001", "0002"])) == ["train", "test"]
    with pytest.raises(ConfigError, match="none for 1: 0003"):
        assign(f"penn:{tmp_path}", columns(["0001", "0003"]))
    (tmp_path / "0003.mat").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="expected a label"):
        assign(f"penn:{tmp_path}", columns(["0003"]))


def test_an_unknown_split_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        assign("ntu60cs", columns(["a"]))
