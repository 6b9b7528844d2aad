"""What people's disks hold, and what people type: one clear sentence each, and nothing lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from command_line import at_once, column, content, rows_of, skelkit, statuses, tree
from conftest import MakeClip
from tiny_experts import Cards

LONG = "long" * 60


@pytest.fixture
def zoo(tmp_path: Path, make_clip: MakeClip) -> Path:
    """A folder with everything."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    good = make_clip(folder / "good.mp4")
    for name in (
        "new\nline.mp4",
        os.fsdecode(b"\xff\xfe.mp4"),
        f"{LONG}.mp4",
        "[bold]x.mp4",
        "a\tb \\n.mp4",
    ):
        shutil.copy(good, folder / name)
    make_clip(folder / "dark.mp4", people=0)
    make_clip(folder / "1x1.mkv", people=0, size=(1, 1), codec="ffv1", pix_fmt="yuv444p")
    make_clip(folder / "8k.mp4", size=(7680, 4320), frames=1)
    (folder / "zero.mp4").touch()
    (folder / "text.mp4").write_text("no video")
    (folder / "noise.avi").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "cut.mp4").write_bytes(good.read_bytes()[:1500])  # its table of contents is at the end
    make_clip(folder / "whole.avi", frames=30)
    content = (folder / "whole.avi").read_bytes()
    (folder / "cut.avi").write_bytes(content[: len(content) * 3 // 4])
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    (folder / "sub").mkdir()
    (folder / "sub" / "circle").symlink_to(folder)
    (folder / "circle.mp4").symlink_to("circle.mp4")
    shutil.copy(good, folder / "sub" / "good.mp4")
    (folder / "frames").mkdir()
    for number in range(8, 12):
        cv2.imwrite(str(folder / "frames" / f"{number}.png"), np.full((48, 64, 3), 10 * number, np.uint8))
    (folder / "frames" / "10.png").write_bytes(b"broken")
    (folder / "readme.md").write_text("no video, and not named like one")
    return folder


def test_a_folder_with_everything(tmp_path: Path, zoo: Path, one_expert: list[str]) -> None:
    out = tmp_path / "out.h5"
    done = skelkit("extract", zoo, out, *one_expert, "--workers", "2", code=1)
    assert statuses(out) == {
        "good": "ok",
        "new\\nline": "ok",
        "\\xff\\xfe": "ok",
        LONG: "ok",
        "[bold]x": "ok",
        "a\\tb \\\\n": "ok",
        "dark": "no_person",
        "1x1": "no_person",
        "8k": "ok",
        "zero": "failed",
        "text": "failed",
        "noise": "failed",
        "cut.mp4": "failed",
        "cut.avi": "damaged",
        "whole": "ok",
        "gone": "failed",
        "circle": "failed",
        "sub/good": "ok",
        "frames": "damaged",
    }
    rows = rows_of(out)
    assert 0 < rows["cut.avi"]["frames"] < 30 and rows["frames"]["frames"] == 2
    for row in rows.values():
        assert (row["status"] in {"failed", "damaged"}) == bool(row["detail"])
        assert "\n" not in row["detail"]
    assert rows["8k"]["people"] == 2
    # One line for each video, one more where something is wrong, nothing else: no library speaks up.
    wrong = sum(bool(row["detail"]) for row in rows.values())
    assert len(done.err.splitlines()) == len(rows) + wrong
    assert len([line for line in done.err.splitlines() if line.startswith("    ")]) == wrong
    for name, row in rows.items():
        assert f" {name}  " in done.err
        if row["detail"]:
            assert name in done.out  # the table of what is not simply ok
    assert column(out, "clips/source")[column(out, "clips/video_id").index("\\xff\\xfe")] == str(
        zoo / os.fsdecode(b"\xff\xfe.mp4")
    )
    assert LONG in at_once("info", out, "--clips", "--json", code=0).out
    at_once("info", out, "--clips", code=0)


def test_nothing_but_failures(tmp_path: Path, one_expert: list[str]) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("no video")
    out = tmp_path / "out.h5"
    skelkit("extract", tmp_path, out, *one_expert, code=3)
    assert statuses(out) == {"a": "failed", "b": "failed"}
    assert column(out, "clips/status") == ["failed", "failed"]


def test_a_list_with_labels_and_missing_files(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    listing, out = tmp_path / "list.csv", tmp_path / os.fsdecode(b"out \xff\n.h5")
    listing.write_text(
        "path,label,video_id\nvideos/a.mp4,Jump high,one\nvideos/no.mp4,run,two\nvideos/c.mp4,,\n"
    )
    done = skelkit("extract", listing, out, *one_expert, code=1)
    assert statuses(out) == {"one": "ok", "two": "failed", "videos/c": "ok"}
    assert column(out, "clips/label") == ["Jump high", "run", ""]
    assert "there is no such file" in rows_of(out)["two"]["detail"]
    assert "-> " + str(tmp_path) in done.out and "\\xff\\n.h5" in done.out.replace("\\udcff", "\\xff")


def test_calls_that_are_wrong(tmp_path: Path, videos: Path, cards: Cards, one_expert: list[str]) -> None:
    """Exit code 2 and one sentence, before anything is written."""
    place = tmp_path / "place"
    (place / "empty").mkdir(parents=True)
    (place / "empty" / "notes.md").touch()
    (place / "circle").symlink_to("circle")
    (place / "list.txt").write_text("# nothing\n")
    (place / "bare.csv").write_text("a,b\n1,2\n")
    (place / "theirs.h5").write_text("a thesis")
    (place / "broken.toml").write_text('name = "x"\n')
    (place / "a.toml").write_text(Path(cards.grid).read_text().replace("grid.onnx", "lost.onnx"))
    with h5py.File(place / "strange.h5", "w") as file:
        file["thesis"] = 1
    before, out = tree(place), place / "out.h5"
    for inputs, output, options, named in (
        ([place / "empty"], out, [], "expected videos or images in the folder"),
        ([place / "missing.mp4"], out, [], "does not exist"),
        ([f"{place}/*.mp4"], out, [], "expected files that match"),
        ([place / "circle"], out, [], "circle"),
        ([place / "list.txt"], out, [], "lists none"),
        ([place / "bare.csv"], out, [], "expected a column path"),
        ([""], out, [], "empty"),
        (["x" * 300], out, [], "File name too long"),
        ([videos], place, [], "got the folder"),
        ([videos], place / "no" / "out.h5", [], "create it"),
        ([videos], place / "list.txt" / "out.h5", [], "create it"),
        ([videos], place / "theirs.h5", [], "not ours"),
        ([videos], place / "theirs.h5", ["--overwrite"], "not ours"),
        ([videos], place / "strange.h5", ["--overwrite"], "not ours"),
        ([videos], place / ("x" * 250), [], "File name too long"),
        ([videos / "a.mp4"], videos / "b.mp4", [], "not ours"),  # the output forgotten
        ([videos], out, ["--experts", "nobody"], "nobody"),
        ([videos], out, ["--experts", " , "], "at least one name"),
        ([videos], out, ["--experts", f"{cards.grid},{cards.grid}"], "each name once"),
        ([videos], out, ["--experts", place / "no.toml"], "no such file"),
        ([videos], out, ["--experts", place / "broken.toml"], "problem"),
        ([videos], out, ["--experts", place / "a.toml"], "lost.onnx"),
        ([videos], out, ["--weights", place / "no"], "--weights"),
        ([videos], out, ["--device", "abacus"], "abacus"),
        ([videos], out, ["--device", "cuda"], "skelkit[gpu]"),
        ([videos], out, ["--decoder", "nvdec"], "decoder"),
        ([videos], out, ["--stride", "0"], "stride"),
        ([videos], out, ["--fps", "0"], "fps"),
        ([videos], out, ["--fps", "nan"], "fps"),
        ([videos], out, ["--fps", "5", "--stride", "2"], "exclude"),
        ([videos], out, ["--start", "-1"], "start"),
        ([videos], out, ["--start", "2", "--end", "1"], "end"),
        ([videos], out, ["--end", "0"], "end"),
        ([videos], out, ["--limit", "0"], "limit"),
        ([videos], out, ["--batch-size", "0"], "batch_size"),
        ([videos], out, ["--max-people", "0"], "max_people"),
        ([videos], out, ["--detector-score", "2"], "detector_score"),
        ([videos], out, ["--shard", "8/8"], "--shard"),
    ):
        said = at_once("extract", *inputs, output, *one_expert, *options, code=2).sentence
        assert named in said, (named, said)
        assert tree(place) == before
    assert (place / "theirs.h5").read_text() == "a thesis"


def test_something_else_where_the_spool_belongs(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    (tmp_path / "out.h5.spool").write_text("a diary")
    said = at_once("extract", videos, tmp_path / "out.h5", *one_expert, code=3).sentence
    assert "out.h5.spool" in said
    assert (tmp_path / "out.h5.spool").read_text() == "a diary"


def test_a_damaged_output_is_not_replaced(tmp_path: Path, videos: Path, one_expert: list[str]) -> None:
    out = tmp_path / "out.h5"
    skelkit("extract", videos / "a.mp4", out, *one_expert)
    out.write_bytes(out.read_bytes()[:-2000])
    before = out.read_bytes()
    for more in ([], ["--overwrite"]):
        said = at_once("extract", videos, out, *one_expert, *more, code=2).sentence
        assert "choose another name or move it away" in said
    assert out.read_bytes() == before


def test_without_permission(
    tmp_path: Path, make_clip: MakeClip, cards: Cards, unprivileged: list[str]
) -> None:
    folder = tmp_path
    closed, videos = folder / "closed", folder / "videos"
    for path in (closed, videos, videos / "sub"):
        path.mkdir()
    make_clip(videos / "a.mp4")
    for path in (make_clip(videos / "b.mp4"), make_clip(videos / "sub" / "c.mp4").parent, closed):
        path.chmod(0)
    grid = ["--experts", cards.grid]
    try:
        out = folder / "out.h5"
        skelkit("extract", videos, out, *grid, code=1, prefix=unprivileged)
        assert statuses(out) == {"a": "ok", "b": "failed", "sub": "failed"}
        assert "permission" in rows_of(out)["b"]["detail"] and "permission" in rows_of(out)["sub"]["detail"]
        before = content(out)
        for inputs, output, code in (
            (videos / "b.mp4", folder / "new.h5", 2),
            (closed, folder / "new.h5", 2),
            (videos / "a.mp4", closed / "new.h5", 2),
            (videos / "a.mp4", "/proc/new.h5", 3),
        ):
            done = skelkit("extract", inputs, output, *grid, code=code, prefix=unprivileged)
            assert "ermission" in done.sentence
        out.chmod(0)
        done = skelkit("extract", videos, out, *grid, code=2, prefix=unprivileged)
        assert "not readable" in " ".join(done.err.replace("│", "").split())
        out.chmod(0o644)
        assert content(out) == before
        folder.chmod(0o555)
        done = skelkit("extract", videos / "a.mp4", folder / "new.h5", *grid, code=3, prefix=unprivileged)
        assert "no permission to write in" in done.sentence
    finally:
        for path in (folder, videos / "sub", closed):
            path.chmod(0o755)
