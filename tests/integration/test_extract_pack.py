"""The pack's media, good and bad, with real experts: every file ends with the status it deserves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import rows_of, skelkit, statuses

from skelkit.data import ShardReader

FRAMES = {  # as ffprobe -count_frames counts, where it can
    "S001C001P001R001A001_rgb": 103,
    "bad_corrupt_middle": 70,
    "bad_truncated60_faststart": 40,
    "demo_armwrestling": 280,
    "demo_skeleton": 72,
    "mmpose_demo": 5,
    "no_person": 36,
    "ntu_sample": 72,
    "odd_321x241_h264_444": 72,
    "odd_321x241_mpeg4": 72,
    "one_frame": 1,
    "openpose_video": 205,
    "posetrack18_000001_mpiinew_test": 5,
    "rotated90_tag": 72,
    "test_makeup": 164,
    "test_pool": 300,
    "vfr": 99,
}
FAILED = {"audio_only", "bad_text", "bad_truncated60", "bad_zero_byte"}
DAMAGED = {"bad_corrupt_middle", "bad_truncated60_faststart"}


@pytest.mark.slow
def test_every_file_of_the_pack(pack: Path, tmp_path: Path) -> None:
    """Every 12th frame, to be quick."""
    out = tmp_path / "out.h5"
    options = ["--experts", "movenet,edvard_cpm,tfpose", "--weights", pack / "weights", "--stride", "12"]
    skelkit("extract", pack / "media", out, *options, code=1)
    rows, status = rows_of(out), statuses(out)
    assert rows.keys() == FRAMES.keys() | FAILED
    assert {n for n, s in status.items() if s == "failed"} == FAILED
    assert {n for n, s in status.items() if s == "damaged"} == DAMAGED
    assert status["no_person"] == "no_person"
    assert {n: r["frames_decoded"] for n, r in rows.items() if n not in FAILED} == FRAMES
    for name, frames in FRAMES.items():
        assert rows[name]["frames"] == -(-frames // 12)
    with ShardReader(out) as reader:
        clip = reader.clip(reader.find("rotated90_tag"))
        assert (clip.width, clip.height) == (640, 360)
        people = reader[reader.find("rotated90_tag")]
        assert people.num_people == 2
        joints = people.skeleton.joints
        hips = [joints.index(f"{side}_hip") for side in ("left", "right")]
        shoulders = [joints.index(f"{side}_shoulder") for side in ("left", "right")]
        height = people.keypoints[..., 1]
        above = np.nanmean(height[..., hips], axis=(1, 2)) - np.nanmean(height[..., shoulders], axis=(1, 2))
        assert (above > 20).all()  # upright: shoulders above hips
