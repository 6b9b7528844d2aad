"""torchvision's Keypoint R-CNN through skelkit, against a loop frame by frame with the library itself.

loop      cv2.VideoCapture, one frame to a tensor, the library's model, its own decoding of heatmaps.
skelkit   the same network as `skelkit extract` runs it: decoding ahead, preprocessing as tensors, the joints
          of all people read off their heatmaps at once.

Random weights, the same in both; how many people they find is printed. The figures say what the way of
running costs, not how fast the network is on real people. Best of the rounds, the two taking turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import cv2
import torch
from rich.console import Console
from rich.table import Table
from torchvision.models import get_model

from benchmarks._pack import find_pack
from skelkit.experts import choose_device, torchvision_models
from skelkit.experts.device_frames import torch_device
from skelkit.experts.torchvision_models import TorchvisionPoses
from skelkit.video import find_sources, open_video, prefetch

MODEL = "keypointrcnn_resnet50_fpn"


def loop(model: torch.nn.Module, video: Path, frames: int, device: torch.device) -> int:
    capture, people = cv2.VideoCapture(str(video)), 0
    with torch.inference_mode():
        for _ in range(frames):
            read, image = capture.read()
            if not read:
                break
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            (found,) = model([torch.from_numpy(rgb).permute(2, 0, 1).to(device).float() / 255])
            sure = found["scores"] >= 0.3
            people += len(found["keypoints"][sure].cpu().numpy())
    return people


def ours(expert: TorchvisionPoses, video: Path, frames: int, batch_size: int) -> int:
    (source,) = find_sources([video])
    with open_video(source) as reader, closing(prefetch(reader.batches(batch_size), 1)) as batches:
        return sum(len(expert.predict(b)) for b in islice(batches, frames // batch_size))


def seconds(run: Callable[[], int]) -> tuple[float, int]:
    begin = time.perf_counter()
    people = run()
    return time.perf_counter() - begin, people


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, default=None)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1, help="frames at a time, for skelkit")
    parser.add_argument("--side", type=int, default=800, help="shorter side of the network's input")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    video = options.video or find_pack() / "media" / "mmpose_demo.mp4"
    device = torch_device(choose_device(options.device))
    size = {"min_size": options.side, "max_size": options.side * 1333 // 800}
    network = torchvision_models.load(torchvision_models.parse(f"{MODEL}@random=0"), **size).to(device)
    theirs = get_model(MODEL, weights=None, weights_backbone=None, **size).eval().to(device)
    theirs.load_state_dict(network.state_dict())
    expert = TorchvisionPoses(MODEL, network, device=device, batch_size=options.batch)
    runs = {
        "loop": lambda: loop(theirs, video, options.frames, device),
        "skelkit": lambda: ours(expert, video, options.frames, options.batch),
    }
    best = dict.fromkeys(runs, float("inf"))
    people = {}
    for _ in range(options.rounds):
        for name, run in runs.items():
            took, people[name] = seconds(run)
            best[name] = min(best[name], took)
    table = Table(
        "run", "frames/s", "people", "ratio", title=f"{MODEL}, side {options.side}, {options.device}"
    )
    for name, took in best.items():
        table.add_row(name, f"{options.frames / took:.2f}", str(people[name]), f"{best['loop'] / took:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
