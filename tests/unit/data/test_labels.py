"""Tables that merge labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from skelkit.data.labels import label_tables, load_label_table
from skelkit.errors import ConfigError


def table(folder: Path, *lines: str) -> str:
    path = folder / "table.csv"
    path.write_text("\n".join(("# ours", "source,target,reason", *lines)) + "\n")
    return str(path)


def test_labels_are_merged_and_targets_numbered_by_name(tmp_path: Path) -> None:
    merged = load_label_table(
        table(tmp_path, "making sushi,making food,object", '"waving, twice",waving,', "clapping,clapping,")
    )
    assert merged.names == ("clapping", "making food", "waving")
    assert merged.merge(["clapping", "making sushi", "", "waving, twice"]) == [
        "clapping",
        "making food",
        "",
        "waving",
    ]


def test_a_label_that_the_table_lacks_is_told_with_the_nearest(tmp_path: Path) -> None:
    merged = load_label_table(table(tmp_path, "clapping,clapping,", "making sushi,making food,"))
    with pytest.raises(ConfigError, match=r"'claping'; did you mean clapping.*'zzz'"):
        merged.merge(["zzz", "clapping", "claping"])


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("a,b,", "b,a,"), "a cycle"),
        (("one,two,", "two,three,", "three,three,"), "'one' becomes 'two', which becomes 'three'"),
        (("a,x,", "a,y,"), "line 4: 'a' is there twice"),
        (("a,,",), "line 3: empty target"),
        ((",a,",), "line 3: empty source"),
        (("making a cake,making food,", "making sushi,Making foods,"), "spelled nearly alike"),
        (("a,playing drums,", "b,playing druns,"), "a typo"),
        ((), "no line"),
    ],
)
def test_a_table_with_problems_is_refused(tmp_path: Path, lines: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_label_table(table(tmp_path, *lines))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_label_table(table(tmp_path, "a,x,", "a,x,", "c,,", "d,e,", "e,f,"))
    for text in ("'a' is there twice", "empty target", "which becomes 'f'"):
        assert text in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "source,reason\na,b\n", "source,target,reason\na,b\n", 'source,target\n"a\nb",c\n']
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigError, match="expected"):
        load_label_table(str(tmp_path / "t.csv"))


def test_unknown_tables_and_missing_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean kinetics400-posetics320"):
        load_label_table("kinetics400-posetics")
    with pytest.raises(ConfigError, match="cannot read"):
        load_label_table(str(tmp_path / "none.csv"))


def test_our_kinetics_table_passes_its_own_checks() -> None:
    assert "kinetics400-posetics320" in label_tables()
    merged = load_label_table("kinetics400-posetics320")
    assert (len(merged.targets), len(merged.names)) == (400, 320)
