"""Peak memory of an extraction: a 300-frame video against one a hundred times as long.

Each runs as the command does, in processes of its own; the peak is that of the largest process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
from rich.console import Console
from rich.table import Table

from benchmarks._pack import find_pack

WIDTH, HEIGHT = 320, 180
_CHILD = """import resource, subprocess, sys
subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


def make_video(source: Path, target: Path, frames: int) -> None:
    """The source's frames, small, forwards and backwards again and again, without a jump."""
    with av.open(str(source)) as container:
        pictures = [
            cv2.resize(f.to_ndarray(format="rgb24"), (WIDTH, HEIGHT)) for f in container.decode(video=0)
        ]
    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(30), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in islice(cycle(pictures + pictures[-2:0:-1]), frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())


def peak(video: Path, out: Path, experts: str, weights: Path) -> tuple[float, float, dict[str, int]]:
    """MiB of the largest process, seconds, and the video's row of the report."""
    command = [sys.executable, "-c", "from skelkit.cli import main; main()", "extract", str(video), str(out)]
    command += ["--experts", experts, "--weights", str(weights), "--device", "cpu", "--overwrite"]
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *command],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - begin
    row = json.loads(out.with_name(out.name + ".report.json").read_text())["inputs"][0]
    return int(done.stdout.split()[-1]) / 1024, seconds, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs=2, default=(300, 30_000))
    parser.add_argument("--experts", default="edvard_cpm")
    args = parser.parse_args()
    pack = find_pack()
    table = Table(
        "frames", "people", "seconds", "frames/s", "peak MiB", "ratio", title=f"experts {args.experts}"
    )
    first = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for frames in args.frames:
            video = Path(folder) / f"{frames}.mp4"
            make_video(pack / "media/demo_skeleton.mp4", video, frames)
            memory, seconds, row = peak(video, video.with_suffix(".h5"), args.experts, pack / "weights")
            assert row["frames"] == frames, row
            first = first or memory
            table.add_row(
                str(frames),
                str(row["people"]),
                f"{seconds:.1f}",
                f"{frames / seconds:.1f}",
                f"{memory:.0f}",
                f"{memory / first:.3f}",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
