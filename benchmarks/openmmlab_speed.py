"""Speed of MMPose's networks in skelkit, beside MMPoseInferencer and beside the bare networks.

inferencer  MMPoseInferencer on the video, as its documentation shows it: no drawing, nothing stored.
skelkit     the whole extraction: decode, detect, crop, poses, decode, track, unify, written to a file.
bare        the same networks, forward alone, on every input of skelkit's run, in its batches.

All three run the same configs and weights, the first two on the same frames. Weights are random ones from a
fixed seed (what a network costs does not depend on them); the detector's are such that it finds about a
hundred candidates in a frame and reports three people. Flip test is off for both. Contenders take turns; each
figure is the best of the rounds. On a machine that does other work look at the processor seconds.

    python -m benchmarks.openmmlab_speed                                    # CPU
    python -m benchmarks.openmmlab_speed --device cuda --batch-size 64 --poses rtmpose-m td-hm_hrnet-w48
"""

from __future__ import annotations

import argparse
import gc
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch
from rich.console import Console
from rich.table import Table

from benchmarks._pack import find_pack
from benchmarks.extract_speed import whole
from skelkit.experts import build_detector, build_expert, choose_device
from skelkit.experts.bare import bare
from skelkit.experts.openmmlab import environment, index
from skelkit.pipelines.clip import Extractor
from skelkit.pipelines.settings import ExtractSettings
from skelkit.structures import FrameBatch
from skelkit.video import find_sources, open_video

PEOPLE, CANDIDATES, SURE = 3, 100, 0.05
"""What a detector finds in a frame: people, boxes before suppression, and the least score of these."""
FRAMES = 4
"""Of the video, on which the random networks are settled."""


def made(folder: Path, package: str, name: str, device: str, frames: FrameBatch) -> tuple[Path, Path]:
    """A model of the index as a config without flip test and a checkpoint with random weights."""
    from mmengine import Config

    entry = index.resolve(package, name)
    config = Config.fromfile(entry.config)
    build = build_detector if package == "mmdet" else build_expert
    network: Any = build(f"{package}:{entry.name}@random=0", device=choose_device(device))
    if package == "mmdet":
        config.model.test_cfg.update(
            max_per_img=PEOPLE, score_thr=SURE, nms={"type": "nms", "iou_threshold": 0.99}
        )
        head = network.model.bbox_head
        choose(head.rtm_cls, CANDIDATES, lambda: network.detect(frames), head)
        for layer in head.rtm_reg:  # boxes of a person's size: three cells to every side
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.constant_(layer.bias, math.log(3) if head.exp_on_reg else 3)
    elif "test_cfg" in config.model:
        config.model.test_cfg["flip_test"] = False
        if hasattr(network.model.head, "head_module"):  # RTMO
            config.model.test_cfg["score_thr"] = SURE
            module = network.model.head.head_module
            choose(module.out_cls, 4 * PEOPLE, lambda: network.predict(frames), module)
    config.dump(folder / f"{entry.name}.py")
    state = {k: v.cpu() for k, v in network.model.state_dict().items()}
    torch.save({"state_dict": state, "meta": {}}, folder / f"{entry.name}.pth")
    return folder / f"{entry.name}.py", folder / f"{entry.name}.pth"


@torch.no_grad()
def choose(layers: Any, count: int, run: Callable[[], Any], head: torch.nn.Module) -> None:
    """Let a random network find as many candidates in a frame as a trained one, all of them people.

    Args:
        layers: That give the logits of the classes, one for each level.
        count: Candidates surer than `SURE`, in each of `FRAMES` frames.
        run: Lets the network see the frames.
        head: Has these logits as the first of what it gives.
    """
    seen: list[torch.Tensor] = []
    hook = head.register_forward_hook(lambda _, given, found: seen.extend(found[0]))
    run()
    hook.remove()
    logits = torch.cat([level[:, 0].flatten() for level in seen]).double()
    spread, least = logits.std(), logits.topk(count * FRAMES).values[-1]
    for layer in {id(conv): conv for conv in layers}.values():  # some share one over all levels
        layer.weight[0] /= spread
        layer.bias[0] = (layer.bias[0] - least) / spread + math.log(SURE / (1 - SURE))
        layer.weight[1:], layer.bias[1:] = 0, -20


def inferencer(
    pose: tuple[Path, Path], detector: tuple[Path, Path] | None, device: str, video: str
) -> Callable[[], int]:
    """MMPoseInferencer, ready; gives the number of frames."""
    from mmpose.apis import MMPoseInferencer

    options: dict[str, Any] = {"bbox_thr": 0.0, "nms_thr": 1.0} if detector else {}
    if detector:
        named = {"det_model": str(detector[0]), "det_weights": str(detector[1]), "det_cat_ids": [0]}
    else:
        named = {}
    model = MMPoseInferencer(str(pose[0]), str(pose[1]), device=device, **named)
    model.show_progress = model.inferencer.show_progress = False
    if detector:
        model.inferencer.detector.show_progress = False
    return lambda: sum(1 for _ in model(video, **options))


def best(rounds: int, contenders: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    """Seconds on the clock and of the processor, for each the best of the rounds."""
    found = dict.fromkeys(contenders, (float("inf"), float("inf")))
    for _ in range(rounds):
        for name, run in contenders.items():
            clock, processor = time.perf_counter(), time.process_time()
            run()
            spent = time.perf_counter() - clock, time.process_time() - processor
            found[name] = (min(found[name][0], spent[0]), min(found[name][1], spent[1]))
            gc.collect()
    return found


def shortened(video: Path, frames: int, folder: Path) -> Path:
    """The first frames of a video, as a video."""
    capture = cv2.VideoCapture(str(video))
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    path = folder / f"{video.stem}.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, size)  # type: ignore[attr-defined]
    for _ in range(frames):
        ok, image = capture.read()
        if not ok:
            break
        writer.write(image)
    writer.release()
    return path


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--poses", nargs="+", default=["rtmpose-m", "rtmo-s"], help="models of mmpose's index"
    )
    parser.add_argument("--detector", default="rtmdet-m", help="an RTMDet of mmdet's index")
    parser.add_argument("--videos", nargs="+", default=["demo_skeleton.mp4"], help="of the pack's media")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    environment.prepare()
    columns = (
        "network",
        "video",
        "contender",
        "frames/s",
        "ms/frame",
        "processor ms/frame",
        "inferencer takes",
    )
    for pose in options.poses:
        for video in options.videos:
            table = Table(*columns)
            measure(pose, find_pack() / "media" / video, options, table)
            Console(width=140).print(table)


def measure(pose: str, video: Path, options: argparse.Namespace, table: Table) -> None:
    """Rows of the table for one network on one video."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = shortened(video, options.frames, folder)
        source = find_sources([clip])[0]
        with open_video(source) as reader:
            first = next(iter(reader.batches(FRAMES)))
        network = made(folder, "mmpose", pose, options.device, first)
        found = made(folder, "mmdet", options.detector, options.device, first)
        settings = ExtractSettings(
            experts=(f"mmpose:{network[0]}@{network[1]}",),
            detector=f"mmdet:{found[0]}@{found[1]}",
            detector_score=0.0,
            device=options.device,
            batch_size=options.batch_size,
        )
        extractor = Extractor(settings)
        theirs = inferencer(network, found if extractor.detector else None, options.device, str(clip))
        frames = theirs()
        networks = [
            bare(network, lambda: whole(extractor, source))
            for network in (extractor.detector, *extractor.experts.values())
            if network is not None
        ]
        seconds = best(
            options.rounds,
            {
                "inferencer": theirs,
                "skelkit": lambda: whole(extractor, source),
                "bare": lambda: [run() for run in networks],
            },
        )
    for contender, (clock, processor) in seconds.items():
        ratio = seconds["inferencer"][0] / clock, seconds["inferencer"][1] / processor
        table.add_row(
            pose,
            video.stem,
            contender,
            f"{frames / clock:.1f}",
            f"{1000 * clock / frames:.1f}",
            f"{1000 * processor / frames:.1f}",
            f"{ratio[0]:.2f} x (processor {ratio[1]:.2f} x)",
        )


if __name__ == "__main__":
    main()
