"""Every network of the registry with its cost and its speed."""

from __future__ import annotations

import torch
from command_line import at_once

from skelkit.models import MODELS

SMALL = ("models", "list", "--frames", 4, "--people", 1, "--classes", 3, "--device", "cpu")


def test_speed_is_measured_where_it_is_asked_for_and_fits_a_terminal() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        out = at_once(*SMALL, "--speed", code=0).out
    finally:
        torch.set_num_threads(threads)
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "A clip: 4 frames of 1 people with the joints posetics17; 3 classes." in lines
    assert "Speed: inference in batches of 8 on the processor with 1 thread." in lines
    cells = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    speeds = {row[0].strip(): float(row[3]) for row in cells}
    assert set(speeds) == set(MODELS.names())
    assert all(speed > 0 for speed in speeds.values())
    for row in at_once(*SMALL, "--json", code=0).json:
        assert row["clips_per_second"] is None and row["measured_on"] == ""
