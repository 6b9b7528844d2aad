"""Speed of an extraction: against its own networks alone, and against loops people write today.

bare      the same networks on the same inputs and nothing else: every input tensor of a real run, recorded
          and run again. `1 session` is one ONNX Runtime session with all cores, input after input;
          `as run` is skelkit's way (single-threaded sessions side by side) without preparing and decoding.
skelkit   the whole work on the video: decode, detect, crop, poses, decode, track, unify, serialise.
loop      frame by frame: cv2.VideoCapture, letterbox, detector, NMS, warp each person, network, argmax, with
          ONNX Runtime as it comes (all cores). No tracking, nothing stored.
rtmlib    rtmlib's YOLOX class on the same detector file, frame by frame, detection alone; compared with
          skelkit's detection alone. Needs `pip install --no-deps rtmlib`.

Every figure is the best of the rounds, the competitors taking turns within each round.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from benchmarks._pack import find_pack
from skelkit.data import write_clip_file
from skelkit.experts.engine import Engine
from skelkit.pipelines.clip import Extractor
from skelkit.pipelines.settings import ExtractSettings
from skelkit.video import Source, find_sources, open_video, prefetch

SCORE, IOU = 0.3, 0.45
Recorded = list[tuple[Engine, np.ndarray]]


def whole(extractor: Extractor, source: Source) -> int:
    """All of skelkit's work on one video."""
    result = extractor.extract(source)
    with tempfile.TemporaryDirectory() as folder:
        write_clip_file(
            Path(folder) / "clip.h5",
            sequence=result.tracks,
            clip=result.clip,
            experts=result.experts,
            skeleton=result.tracks.skeleton,
            recipe={},
        )
    return result.clip.num_frames


def record(extractor: Extractor, source: Source) -> Recorded:
    """Every tensor that goes into a network while the video is extracted."""
    inputs: Recorded = []
    original = Engine.run

    def run(self: Engine, batch: np.ndarray) -> Any:
        inputs.append((self, batch))
        return original(self, batch)

    Engine.run = run  # type: ignore[method-assign]
    try:
        extractor.extract(source)
    finally:
        Engine.run = original  # type: ignore[method-assign]
    return inputs


def bare_one_session(inputs: Recorded) -> Callable[[], None]:
    """One session per network with all cores, one input after the other."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    sessions = {
        e: ort.InferenceSession(str(e.path), options, providers=["CPUExecutionProvider"])
        for e in dict.fromkeys(e for e, _ in inputs)
    }

    def run() -> None:
        for engine, batch in inputs:
            sessions[engine].run(None, {engine.input_name: batch})

    return run


def bare_as_run(inputs: Recorded) -> Callable[[], None]:
    """The engines themselves, fed with ready tensors."""
    by_engine: dict[Engine, list[np.ndarray]] = {}
    for engine, batch in inputs:
        by_engine.setdefault(engine, []).append(batch)

    def run() -> None:
        for engine, batches in by_engine.items():
            list(engine._pool.map(engine.run, batches))

    return run


class Loop:
    """What one writes in an afternoon: OpenCV and ONNX Runtime, frame by frame."""

    def __init__(self, weights: Path, expert: str) -> None:
        self.detector = ort.InferenceSession(
            str(weights / "yolox_nano.onnx"), providers=["CPUExecutionProvider"]
        )
        file = "movenet_singlepose_lightning" if expert == "movenet" else expert
        self.pose = ort.InferenceSession(str(weights / f"{file}.onnx"), providers=["CPUExecutionProvider"])
        self.movenet = expert == "movenet"
        cells, steps = [], []
        for stride in (8, 16, 32):
            y, x = np.mgrid[: 416 // stride, : 416 // stride]
            cells.append(np.stack([x.ravel(), y.ravel()], 1))
            steps.append(np.full((x.size, 1), stride))
        self.cell, self.step = np.concatenate(cells), np.concatenate(steps)

    def __call__(self, path: str) -> int:
        capture = cv2.VideoCapture(path)
        frames = 0
        while True:
            ok, image = capture.read()
            if not ok:
                return frames
            frames += 1
            for box in self.boxes(image):
                self.joints(image, box)

    def boxes(self, image: np.ndarray) -> np.ndarray:
        scale = min(416 / image.shape[0], 416 / image.shape[1])
        small = cv2.resize(image, (int(image.shape[1] * scale), int(image.shape[0] * scale)))
        padded = np.full((416, 416, 3), 114, np.uint8)
        padded[: small.shape[0], : small.shape[1]] = small
        rows = self.detector.run(None, {"images": padded.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
        score = rows[:, 4] * rows[:, 5]
        centre = (rows[:, :2] + self.cell) * self.step
        size = np.exp(rows[:, 2:4]) * self.step
        corner = np.concatenate([centre - size / 2, size], 1) / scale
        kept = np.asarray(cv2.dnn.NMSBoxes(corner.tolist(), score.tolist(), SCORE, IOU), int).ravel()
        return corner[kept]

    def joints(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        x, y, w, h = box
        side = (1.25 if self.movenet else 1.6) * max(w, h)
        step = side / 192
        matrix = np.array([[step, 0, x + w / 2 - side / 2], [0, step, y + h / 2 - side / 2]])
        crop = cv2.warpAffine(image, matrix, (192, 192), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        if self.movenet:
            points = self.pose.run(None, {"input": crop[None, :, :, ::-1]})[0][0, 0]
            return points[:, 1::-1] * 192 * step + matrix[:, 2]
        maps = self.pose.run(None, {"image": crop[None].astype(np.float32)})[0][0]
        peak = maps.reshape(-1, 14).argmax(0)
        return np.stack([peak % maps.shape[1], peak // maps.shape[1]], 1) * 2 * step + matrix[:, 2]


def detect_only(extractor: Extractor, source: Source) -> None:
    """skelkit's decoding and detection alone."""
    with open_video(source) as reader, closing(prefetch(reader.batches(10), 1)) as batches:
        for batch in batches:
            extractor.detector.detect(batch)  # type: ignore[union-attr]


def rtmlib_detector(weights: Path) -> Callable[[str], None] | None:
    try:
        from rtmlib import YOLOX
    except ImportError:
        return None
    model = YOLOX(
        str(weights / "yolox_nano.onnx"),
        model_input_size=(416, 416),
        score_thr=SCORE,
        nms_thr=IOU,
        device="cpu",
    )

    def run(path: str) -> None:
        capture = cv2.VideoCapture(path)
        while True:
            ok, image = capture.read()
            if not ok:
                return
            model(image)

    return run


def best(rounds: int, contenders: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Seconds of each, the best of the rounds."""
    seconds = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            begin = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - begin)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", nargs="+", default=["demo_skeleton.mp4", "openpose_video.avi"])
    parser.add_argument("--experts", default="edvard_cpm,movenet")
    args = parser.parse_args()
    pack = find_pack()
    weights = pack / "weights"
    rtmlib = rtmlib_detector(weights)
    table = Table(title=f"seconds, best of {args.rounds}; {os.cpu_count()} cores")
    for column in (
        "video",
        "expert",
        "frames",
        "crops",
        "bare 1 session",
        "bare as run",
        "skelkit",
        "frames/s",
        "bare 1 session / skelkit",
        "bare as run / skelkit",
        "loop",
        "loop / skelkit",
    ):
        table.add_column(column)
    detection = Table(title="detection alone, seconds")
    for column in ("video", "skelkit", "rtmlib", "rtmlib / skelkit"):
        detection.add_column(column)
    for name in args.videos:
        [source] = find_sources([pack / "media" / name])
        for expert in args.experts.split(","):
            settings = ExtractSettings(
                experts=(expert,), weights=str(weights), device="cpu", detector_score=SCORE
            )
            extractor, loop = Extractor(settings), Loop(weights, expert)
            inputs = record(extractor, source)
            crops = sum(len(batch) for engine, batch in inputs if engine.path.name != "yolox_nano.onnx")
            frames = whole(extractor, source)
            s = best(
                args.rounds,
                {
                    "one": bare_one_session(inputs),
                    "run": bare_as_run(inputs),
                    "skelkit": lambda x=extractor, v=source: whole(x, v),
                    "loop": lambda run=loop, v=source: run(v.path),
                },
            )
            table.add_row(
                name,
                expert,
                str(frames),
                str(crops),
                f"{s['one']:.2f}",
                f"{s['run']:.2f}",
                f"{s['skelkit']:.2f}",
                f"{frames / s['skelkit']:.1f}",
                f"{s['one'] / s['skelkit']:.2f}",
                f"{s['run'] / s['skelkit']:.2f}",
                f"{s['loop']:.2f}",
                f"{s['loop'] / s['skelkit']:.2f}",
            )
        if rtmlib:
            s = best(
                args.rounds,
                {
                    "skelkit": lambda x=extractor, v=source: detect_only(x, v),
                    "rtmlib": lambda v=source: rtmlib(v.path),
                },
            )
            detection.add_row(
                name, f"{s['skelkit']:.2f}", f"{s['rtmlib']:.2f}", f"{s['rtmlib'] / s['skelkit']:.2f}"
            )
    console = Console(width=160)
    console.print(table)
    console.print(detection if rtmlib else "rtmlib is not installed (pip install --no-deps rtmlib)")


if __name__ == "__main__":
    main()
