"""Speed of MMPose's networks in skelkit, beside MMPoseInferencer and beside the bare networks.

inferencer  MMPoseInferencer on the video, as its documentation shows it: no drawing, nothing stored.
skelkit     the whole extraction: decode, detect, crop, poses, decode, track, unify, written to a file.
bare        the same networks, forward alone, on every input of skelkit's run, in its batches.

All three run the same configs and weights, the first two on the same frames. Weights are random ones from a
fixed seed (what a network costs does not depend on them); the detector's are such that it always reports
--people persons. Flip test is off for both. Contenders take turns; each figure is the best of the rounds.
On a machine that does other work look at the processor seconds.

    python -m benchmarks.openmmlab_speed                                    # CPU
    python -m benchmarks.openmmlab_speed --device cuda --batch-size 64 --poses rtmpose-m td-hm_hrnet-w48
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks._pack import find_pack
from benchmarks.extract_speed import whole
from skelkit.experts import build_detector, build_expert, choose_device
from skelkit.experts.openmmlab import environment, index
from skelkit.pipelines.clip import Extractor
from skelkit.pipelines.settings import ExtractSettings
from skelkit.video import find_sources


def made(folder: Path, package: str, name: str, people: int, device: str) -> tuple[Path, Path]:
    """A model of the index as a config without flip test and a checkpoint with random weights."""
    from mmengine import Config

    entry = index.resolve(package, name)
    config = Config.fromfile(entry.config)
    build = build_detector if package == "mmdet" else build_expert
    model: Any = build(f"{package}:{entry.name}@random=0", device=choose_device(device)).model  # type: ignore[attr-defined]
    state = {k: v.cpu() for k, v in model.state_dict().items()}
    if package == "mmdet":
        config.model.test_cfg.update(
            max_per_img=people, score_thr=0.0, nms={"type": "nms", "iou_threshold": 0.99}
        )
        for key, value in state.items():
            if "rtm_cls" in key and key.endswith("bias"):
                value.add_(torch.where(torch.arange(len(value)) == 0, 8.0, -8.0))
            if "rtm_reg" in key:
                value.mul_(0.3)  # boxes of a person's size, not of the picture's
    elif "test_cfg" in config.model:
        config.model.test_cfg["flip_test"] = False
    config.dump(folder / f"{entry.name}.py")
    torch.save({"state_dict": state, "meta": {}}, folder / f"{entry.name}.pth")
    return folder / f"{entry.name}.py", folder / f"{entry.name}.pth"


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


def recorded(extractor: Extractor, run: Callable[[], Any]) -> list[tuple[Any, torch.Tensor]]:
    """Every input of a network in a run, with its network."""
    inputs: list[tuple[Any, torch.Tensor]] = []
    models = [
        m for e in (*extractor.experts.values(), extractor.detector) if (m := getattr(e, "model", None))
    ]
    for model in models:
        original = model.extract_feat

        def extract(x: torch.Tensor, model: Any = model, original: Any = original) -> Any:
            inputs.append((model, x.clone()))
            return original(x)

        model.extract_feat = extract
    run()
    for model in models:
        del model.extract_feat
    return inputs


@torch.inference_mode()
def bare(inputs: list[tuple[Any, torch.Tensor]]) -> None:
    """The networks alone."""
    for model, x in inputs:
        head = model.head if hasattr(model, "head") else model.bbox_head
        head.forward(model.extract_feat(x))
    if inputs and inputs[0][1].is_cuda:
        torch.cuda.synchronize()


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
    import cv2

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
    parser.add_argument("--people", type=int, default=3)
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
        network = made(folder, "mmpose", pose, options.people, options.device)
        found = made(folder, "mmdet", options.detector, options.people, options.device)
        settings = ExtractSettings(
            experts=(f"mmpose:{network[0]}@{network[1]}",),
            detector=f"mmdet:{found[0]}@{found[1]}",
            detector_score=0.0,
            device=options.device,
            batch_size=options.batch_size,
        )
        extractor = Extractor(settings)
        source = find_sources([clip])[0]
        theirs = inferencer(network, found if extractor.detector else None, options.device, str(clip))
        frames = theirs()
        inputs = recorded(extractor, lambda: whole(extractor, source))
        seconds = best(
            options.rounds,
            {"inferencer": theirs, "skelkit": lambda: whole(extractor, source), "bare": lambda: bare(inputs)},
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
