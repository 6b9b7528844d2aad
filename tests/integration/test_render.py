"""From a shard and its video to pictures of both."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from skelkit.data import Clip, ShardWriter, empty_sequence
from skelkit.errors import ConfigError, InputError, OutputError, ShardError, VideoError
from skelkit.pipelines.render import RenderSummary, render
from skelkit.report import MovieWriter
from skelkit.skeletons import COCO17
from skelkit.structures import SkeletonSequence

SIZE = (180, 240)
TIMES = np.cumsum([0, 0.04, 0.1, 0.02, 0.3, 0.04, 0.04, 0.5, 0.04, 0.04])
LOOKED_AT = np.array([1, 3, 4, 7, 8])
"""The frames the experts saw: what lies between them is not drawn."""
EXPERTS = ("movenet", "tfpose")


def level(index: int) -> int:
    """Brightness of a frame, by which it is known again."""
    return 20 + 20 * index


def write_video(path: Path, size: tuple[int, int] = SIZE, frames: int = 10) -> None:
    with MovieWriter(path, fps=10.0) as movie:
        for index in range(frames):
            movie.write(np.full((*size, 3), level(index), np.uint8), TIMES[index])


def sequence_of(video_id: str, sources: tuple[str, ...], size: tuple[int, int] = SIZE) -> SkeletonSequence:
    steps = len(LOOKED_AT)
    keypoints = np.random.default_rng(0).uniform(60, 120, (2, steps, 17, 2)).astype(np.float32)
    keypoints[1] = np.nan
    keypoints[1, 2:] = 100.0
    seen = np.isfinite(keypoints).all(-1)
    return SkeletonSequence(
        skeleton=COCO17,
        keypoints=keypoints,
        scores=seen.astype(np.float32),
        confidence=np.where(seen.any(-1), 0.75, np.nan).astype(np.float32),
        track_ids=np.array([4, 9]),
        frame_indices=LOOKED_AT,
        pts_s=TIMES[LOOKED_AT],
        video_id=video_id,
        fps=10.0,
        image_size=size,
        sources=sources,
    )


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with videos and a shard of their poses."""
    write_video(tmp_path / "walk.mp4")
    folder = tmp_path / "numbered"
    folder.mkdir()
    for index in range(10):
        cv2.imwrite(str(folder / f"{index:03}.png"), np.full((*SIZE, 3), level(index), np.uint8))
    joint_sets = dict.fromkeys(EXPERTS, COCO17)
    with ShardWriter(tmp_path / "poses.h5", skeleton=COCO17, recipe={}, experts=joint_sets) as shard:
        for name, path in (("walk", "walk.mp4"), ("numbered", "numbered"), ("moved", "gone/away.mp4")):
            views = {expert: sequence_of(name, (expert,)) for expert in EXPERTS}
            source = str(tmp_path / path)
            clip = Clip.of(views["movenet"], source=source)
            shard.write(sequence_of(name, EXPERTS), clip=clip, experts=views)
        nobody = empty_sequence(COCO17, video_id="broken")
        clip = Clip.of(nobody, status="failed", detail="it is text", source=str(tmp_path / "walk.mp4"))
        shard.write(nobody, clip=clip)
    return tmp_path


def run(world: Path, clip: str = "walk", output: str = "out.mp4", **options: Any) -> RenderSummary:
    return render(world / "poses.h5", clip, world / output, **options)


def read(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(f.pts * f.time_base) for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


def corner(image: np.ndarray) -> int:
    """The frame that was drawn on, by its brightness where nobody is."""
    return round((float(image[60:150, 180:230].mean()) - 20) / 20)


@pytest.mark.parametrize("clip", ["walk", "numbered"])
def test_a_movie_shows_the_frames_looked_at_in_their_times(world: Path, clip: str) -> None:
    summary = run(world, clip)
    stamps, images = read(world / "out.mp4")
    assert [corner(image) for image in images] == LOOKED_AT.tolist()
    assert stamps == pytest.approx(TIMES[LOOKED_AT] - TIMES[LOOKED_AT[0]], abs=1e-4)
    assert (summary.frames, summary.people, summary.height, summary.width) == (5, 2, *SIZE)
    for image, index in zip(images, LOOKED_AT, strict=True):
        assert np.abs(image[60:120, 60:120].astype(int) - level(index)).max() > 60  # somebody is drawn


def test_all_experts_stand_side_by_side_with_the_result(world: Path) -> None:
    summary = run(world, experts=("all",))
    assert summary.panels == ("poses (movenet + tfpose)", *EXPERTS)
    image = read(world / "out.mp4")[1][0]
    assert image.shape[:2] == (summary.height, summary.width)
    assert summary.width >= 2 * SIZE[1]


def test_views_can_be_chosen_and_are_shown_once(world: Path) -> None:
    assert run(world, experts=("tfpose", "poses", "tfpose")).panels == ("tfpose", "poses (movenet + tfpose)")


def test_a_picture_shows_frames_in_order(world: Path) -> None:
    summary = run(world, output="out.png", experts=("tfpose",))
    whole = cv2.imread(str(world / "out.png"), cv2.IMREAD_COLOR_RGB)
    assert whole.shape[:2] == (summary.height, summary.width)
    assert summary.frames == 5
    rows, columns = summary.height // SIZE[0], summary.width // SIZE[1]
    cells = [
        whole[y * (SIZE[0] + 4) :, x * (SIZE[1] + 4) :][: SIZE[0], : SIZE[1]]
        for y in range(rows)
        for x in range(columns)
    ]
    assert [corner(cell) for cell in cells[:5]] == LOOKED_AT.tolist()


def test_the_size_can_be_limited(world: Path) -> None:
    assert run(world, max_height=90).height == 90
    with pytest.raises(ConfigError, match="larger"):
        run(world, output="other.mp4", max_height=0)


def test_progress_is_told(world: Path) -> None:
    told: list[tuple[int, int]] = []
    run(world, show=lambda done, total: told.append((done, total)))
    assert told == [(n, 5) for n in range(1, 6)]


def test_a_blank_canvas_needs_no_video(world: Path) -> None:
    run(world, "moved", blank=True)
    images = read(world / "out.mp4")[1]
    assert len(images) == 5
    assert images[0][:50, -50:].max() < 60


def test_discarded_poses_are_left_out(world: Path) -> None:
    with_all, without = (
        run(world, "moved", blank=True, gamma=gamma, overwrite=True) for gamma in (0.75, 0.76)
    )
    assert (with_all.people, without.people) == (2, 0)
    # what an expert said is not aggregated, and stays
    assert run(world, "moved", blank=True, gamma=0.76, experts=["tfpose"], overwrite=True).people == 2


def test_a_video_that_moved_is_named_with_its_remedies(world: Path) -> None:
    with pytest.raises(InputError, match=r"away\.mp4.*--video.*--blank"):
        run(world, "moved")
    assert not (world / "out.mp4").exists()
    run(world, "moved", video=world / "walk.mp4")
    assert [corner(image) for image in read(world / "out.mp4")[1]] == LOOKED_AT.tolist()


def test_another_video_is_refused(world: Path) -> None:
    write_video(world / "small.mp4", size=(90, 120))
    with pytest.raises(InputError, match=r"240x180.*120x90"):
        run(world, video=world / "small.mp4")
    write_video(world / "short.mp4", frames=5)
    with pytest.raises(InputError, match=r"not the video.*5 frames"):
        run(world, video=world / "short.mp4")
    (world / "text.mp4").write_text("not a video at all")
    with pytest.raises(VideoError):
        run(world, video=world / "text.mp4")
    assert not list(world.glob("out*")) + list(world.glob(".skelkit*"))


def test_what_is_not_there_is_named(world: Path) -> None:
    with pytest.raises(ShardError, match="did you mean walk"):
        run(world, "wlk")
    with pytest.raises(ShardError, match="movenet"):
        run(world, experts=("movnet",))
    with pytest.raises(InputError, match=r"broken.*it is text"):
        run(world, "broken")


@pytest.mark.parametrize("name", ["out.gif", "out", "out.h5"])
def test_other_kinds_of_output_are_refused(world: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.mp4.*\.png"):
        run(world, output=name)


def test_video_and_blank_exclude_each_other(world: Path) -> None:
    with pytest.raises(ConfigError, match="--blank"):
        run(world, video=world / "walk.mp4", blank=True)


def test_nothing_is_replaced_without_being_asked(world: Path) -> None:
    (world / "out.mp4").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        run(world)
    assert (world / "out.mp4").read_text() == "mine"
    run(world, overwrite=True)
    assert len(read(world / "out.mp4")[1]) == 5


def test_the_video_itself_is_never_replaced(world: Path) -> None:
    (world / "link.mp4").symlink_to(world / "walk.mp4")
    before = (world / "walk.mp4").read_bytes()
    for name in ("walk.mp4", "link.mp4"):
        with pytest.raises(OutputError, match="the video itself"):
            run(world, output=name, overwrite=True)
    assert (world / "walk.mp4").read_bytes() == before


def test_outputs_that_cannot_be_written(world: Path) -> None:
    with pytest.raises(OutputError, match=r"no .*nowhere"):
        run(world, output="nowhere/out.mp4")
    (world / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="folder"):
        run(world, output="folder.mp4", overwrite=True)


def test_damage_behind_the_last_frame_is_no_concern(pack: Path, tmp_path: Path) -> None:
    source = tmp_path / "damaged.mp4"
    shutil.copy(pack / "media" / "bad_truncated60_faststart.mp4", source)
    sequence = sequence_of("damaged", ("movenet",), size=(1080, 1920))
    with ShardWriter(tmp_path / "poses.h5", skeleton=COCO17, recipe={}) as shard:
        shard.write(sequence, clip=Clip.of(sequence, source=str(source), detail="damaged: cut short"))
    assert render(tmp_path / "poses.h5", "damaged", tmp_path / "out.png").frames == len(LOOKED_AT)
