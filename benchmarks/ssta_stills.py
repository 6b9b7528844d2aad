"""SST-A and the consensus against single experts on still pictures (data pack: lspet, images/coco).

The t = 0 rule only: every picture stands for itself. PCK@0.2 of the torso's diagonal over the 12 limb joints
(`benchmarks.accuracy`); a person or joint that nobody found is wrong. The same person is found across
experts by the overlap with the true box, so what is measured is aggregation, not identity.

Pictures of lspet: none that `calibrate` or `accuracy` use. ``choose``: numbers from 4,000 that end in 2 or
3, the first 1,000, for choosing constants. ``report``: numbers from 4,000 that end in 8 or 9, the first
1,000, for the figures. The networks run once; what they said is kept in the file named by --cache.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks._pack import find_pack
from benchmarks.accuracy import EXPERTS, LIMBS, Picture, coco, limbs, lspet, predict
from skelkit.aggregation.consensus import Consensus
from skelkit.aggregation.ssta import Ssta
from skelkit.experts import build_detector, build_expert, choose_device
from skelkit.metrics import match_to_truth, pck, take_matched, torso_scale
from skelkit.skeletons import get_skeleton
from skelkit.structures import Bool, Float32, SkeletonSequence

SETS = (
    ("movenet", "edvard_cpm", "tfpose"),
    ("movenet", "edvard_cpm", "edvard_hourglass", "tfpose"),
    ("edvard_cpm", "edvard_hourglass", "tfpose"),
    ("movenet", "edvard_cpm", "edvard_hourglass"),
    ("movenet", "edvard_hourglass", "tfpose"),
    ("movenet", "edvard_cpm"),
    ("movenet", "edvard_hourglass"),
    ("movenet", "tfpose"),
    ("edvard_cpm", "edvard_hourglass"),
    ("edvard_cpm", "tfpose"),
    ("edvard_hourglass", "tfpose"),
)
PICTURES: dict[str, Callable[[Path, int], Iterator[Picture]]] = {
    "choose": lambda pack, count: lspet(pack, count, lambda n: n >= 4000 and n % 10 in (2, 3)),
    "report": lambda pack, count: lspet(pack, count, lambda n: n >= 4000 and n % 10 in (8, 9)),
    "coco": lambda pack, count: coco(pack),
}
BOXES = ("true", "detector")


@dataclass(frozen=True, kw_only=True)
class Views:
    """What all experts said of the people of a collection of pictures."""

    truth: Float32  # (P, 12, 2)
    visible: Bool  # (P, 12)
    sequences: dict[tuple[str, str], SkeletonSequence]  # by boxes and expert; P people, one frame


def ask(pack: Path, collection: str, count: int) -> dict[str, Any]:
    """Run every expert on every picture: arrays for the cache."""
    device = choose_device("cpu")
    detector = build_detector("yolox_nano", device=device, weights=pack / "weights")
    experts = {name: build_expert(name, device=device, weights=pack / "weights") for name in EXPERTS}
    found: dict[str, list[Any]] = {}
    for picture in track(list(PICTURES[collection](pack, count)), description=collection):
        found.setdefault("truth", []).append(picture.truth)
        found.setdefault("visible", []).append(picture.visible)
        for name, expert in experts.items():
            top_down = expert.kind == "top-down"
            for boxes in BOXES if top_down else BOXES[:1]:
                poses = predict(expert, picture, detector if boxes == "detector" else None)
                match = match_to_truth(poses.boxes_xyxy, picture.boxes, min_iou=0.3 if top_down else 0.1)
                for part in ("keypoints", "scores"):
                    key = f"{boxes} {name} {part}"
                    found.setdefault(key, []).append(take_matched(getattr(poses, part), match))
    return {"skeletons": json.dumps({n: e.skeleton.name for n, e in experts.items()})} | {
        key: np.concatenate(parts) for key, parts in found.items()
    }


def load(cache: Path) -> Views:
    with np.load(cache, allow_pickle=False) as data:
        skeletons = json.loads(str(data["skeletons"]))
        sequences = {}
        for boxes in BOXES:
            for name, skeleton in skeletons.items():
                # A bottom-up expert needs no boxes: it said the same both times.
                source = boxes if f"{boxes} {name} keypoints" in data else "true"
                keypoints, scores = (data[f"{source} {name} {part}"] for part in ("keypoints", "scores"))
                sequences[boxes, name] = stills(name, skeleton, keypoints, np.nan_to_num(scores))
        return Views(truth=data["truth"], visible=data["visible"], sequences=sequences)


def stills(name: str, skeleton: str, keypoints: Float32, scores: Float32) -> SkeletonSequence:
    """Poses (P, K, 2) of unrelated pictures as P people in one frame."""
    seen = np.isfinite(keypoints).all(axis=-1).any(axis=-1)
    return SkeletonSequence(
        skeleton=get_skeleton(skeleton),
        keypoints=keypoints[:, None],
        scores=scores[:, None],
        confidence=np.where(seen, 1, np.nan).astype(np.float32)[:, None],
        track_ids=np.arange(len(keypoints)),
        frame_indices=np.zeros(1, np.int64),
        pts_s=np.zeros(1),
        video_id="stills",
        fps=0.0,
        image_size=(1, 1),
        sources=(name,),
    )


def accuracy(views: Views, sequence: SkeletonSequence) -> float:
    """PCK@0.2 of one frame's people."""
    scale = torso_scale(np.where(views.visible[..., None], views.truth, np.nan), LIMBS)
    found = limbs(sequence.keypoints[:, 0], sequence.skeleton)
    return pck(found, views.truth, scale=scale, visible=views.visible, threshold=0.2).overall


def consensus_alone(views: Sequence[SkeletonSequence]) -> SkeletonSequence:
    """Every person learnt from and aggregated alone, as `skelkit extract` does with pictures."""
    people = [Consensus().aggregate([one_person(v, m) for v in views]) for m in range(views[0].num_people)]
    along = {name: np.concatenate([getattr(p, name) for p in people]) for name in PER_PERSON}
    return replace(people[0], **along)


def one_person(sequence: SkeletonSequence, number: int) -> SkeletonSequence:
    return replace(sequence, **{n: getattr(sequence, n)[number : number + 1] for n in PER_PERSON})


PER_PERSON = ("keypoints", "scores", "confidence", "track_ids")
METHODS: dict[str, Callable[[Sequence[SkeletonSequence]], SkeletonSequence]] = {
    "ssta": Ssta().aggregate,
    "consensus": Consensus().aggregate,
    "consensus, each alone": consensus_alone,
}


def figures(views: Views, boxes: str, experts: Sequence[str]) -> dict[str, Any]:
    """The best of the experts, and every method on all of them."""
    own = {name: accuracy(views, views.sequences[boxes, name]) for name in experts}
    best = max(own, key=lambda name: own[name])
    row: dict[str, Any] = {"experts": list(experts), "best": best, "best_pck": own[best]}
    sequences = [views.sequences[boxes, e] for e in experts]
    for name, aggregate in METHODS.items():
        row[name] = accuracy(views, aggregate(sequences))
    return row


def show(title: str, views: Views, boxes: str, sets: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    table = Table("experts", "best expert", *METHODS, title=f"PCK@0.2, {title}, {boxes} boxes")
    rows = [figures(views, boxes, experts) for experts in sets]
    for row in rows:
        gains = (f"{row[a]:.3f} ({100 * (row[a] - row['best_pck']):+.1f})" for a in METHODS)
        table.add_row(" + ".join(row["experts"]), f"{row['best_pck']:.3f} {row['best']}", *gains)
    Console(width=140).print(table)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=1000, help="pictures of lspet")
    parser.add_argument("--collections", nargs="+", choices=PICTURES, default=["report", "coco"])
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "skelkit-stills")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    pack = find_pack()
    args.cache.mkdir(parents=True, exist_ok=True)
    result = {}
    for collection in args.collections:
        cache = args.cache / f"{collection}-{args.pictures}.npz"
        if not cache.exists():
            np.savez(cache, **ask(pack, collection, args.pictures))
        views = load(cache)
        title = f"{collection} ({len(views.truth)} people)"
        for boxes in BOXES:
            print(*(f"{n} {accuracy(views, views.sequences[boxes, n]):.3f}" for n in EXPERTS), sep=", ")
            result[f"{collection} {boxes}"] = show(title, views, boxes, SETS)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2), "utf-8")


if __name__ == "__main__":
    main()
