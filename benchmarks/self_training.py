"""Self-training measured on photographs with ground truth (data pack: lspet), as the thesis did on NTU-Pose.

A student learns from labelled pictures (numbers not ending in 7), beginning with the trunk of the built-in
network that finds people. Its new domain are other pictures, degraded as NTU-Pose was: at most 320 x 180
pixels, people partly hidden; first those ending in 7, then others, which that trunk has seen with labels.
Nobody labels them: experts look at them, SST-A aggregates, and what it is sure of refines the student.
Measured on degraded pictures that nothing learnt from (the last of those ending in 7): PCK@0.2 of the torso
over LCR-13, and the share of people found; the student before and after, each expert, and SST-A of them.
Another seed is another student, another chance in refining, and other degradations.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._pack import find_pack
from skelkit.data.truth import open_truth
from skelkit.experts.lcrnet.files import load_network, save_network
from skelkit.experts.lcrnet.learning import LearningSettings
from skelkit.experts.lcrnet.pictures import degraded
from skelkit.experts.picture_files import read_picture
from skelkit.pipelines.aggregate import AggregationSettings
from skelkit.pipelines.evaluate import evaluate_poses
from skelkit.pipelines.extract import extract, plan
from skelkit.pipelines.self_train import STUDENT, SelfTrainSettings, self_train
from skelkit.pipelines.settings import ExtractSettings
from skelkit.pipelines.student import StudentSettings, labelled_pictures, measure, teach, train_student
from skelkit.skeletons import LCR13

EXPERTS = ("movenet", "edvard_cpm", "tfpose")
BATCH = 16
HELD_OUT = 7
"""Last digit of the numbers of the pictures that no network here has seen with labels."""


def make_part(pack: Path, folder: Path, part: str, counts: dict[str, int], seed: int) -> Path:
    """Pictures of a part, degraded but for the source, and their labels beside them; returns the labels.

    The target may be larger than what is held out: then it goes on with pictures that the student learns
    nothing from, though the built-in network it begins with has.
    """
    labels = folder / f"{part}.npz"
    if labels.exists():
        return labels
    with np.load(pack / "lspet" / "joints.npz") as all_of_them:
        known = dict(all_of_them)
    held_out = known["ids"] % 10 == HELD_OUT
    ours, others = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    chosen = {
        "source": ours[: counts["source"]],
        "test": others[-counts["test"] :],
        "target": np.concatenate([others[: -counts["test"]], ours[counts["source"] :]])[: counts["target"]],
    }[part]
    joints = known["joints"][chosen].copy()
    (folder / part).mkdir(parents=True, exist_ok=True)
    for row, (name, marked) in enumerate(zip(known["names"][chosen].tolist(), joints, strict=True)):
        picture = read_picture(pack / "lspet" / "images" / name)
        if part != "source":
            rng = np.random.default_rng((seed, int(known["ids"][chosen[row]])))
            points = np.where(marked[:, 2:] > 0, marked[:, :2], np.nan)[None].astype(np.float32)
            picture, points = degraded(picture, points, rng)
            joints[row, :, :2] = np.nan_to_num(points[0])
        cv2.imwrite(str((folder / part / name).with_suffix(".png")), picture[..., ::-1])
    np.savez(labels, joints=joints, names=known["names"][chosen], joint_order=known["joint_order"])
    return labels


def one_by_one(folder: Path) -> str:
    """Every picture a clip of its own; the folder would be one clip."""
    return str(folder / "*.png")


def figures(folder: Path, student: Path) -> dict[str, float]:
    """Of a student on the test pictures."""
    network, _, known = load_network(student)
    pictures = labelled_pictures(folder / "test", open_truth(folder / "test.npz"))
    return measure(network, LCR13, pictures, known["side"])


def experts_figures(folder: Path, weights: Path) -> dict[str, dict[str, float]]:
    """Of each expert and of SST-A on the same pictures."""
    shard = folder / "test.h5"
    settings = ExtractSettings(
        experts=EXPERTS, weights=str(weights), device="cpu", aggregation=AggregationSettings(method="ssta")
    )
    if not shard.exists():
        extract(plan([one_by_one(folder / "test")], shard, settings), settings)
    views: dict[str, Any] = evaluate_poses([shard], folder / "test.npz", min_iou=0.3)["views"]
    return {
        "SST-A" if name == "poses" else name: {
            "pck": view["pck@0.2"]["overall"],
            "recall": view["people_found"],
        }
        for name, view in views.items()
    }


def run(pack: Path, out: Path, seed: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    folder = out / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"source": args.source, "target": args.target, "test": args.test}
    labels = {part: make_part(pack, folder, part, counts, seed) for part in counts}
    student = folder / "student.safetensors"
    if not student.exists():
        make_student(folder / "source", labels["source"], student, seed, args)
    refined = folder / ("weak" if args.weak else "refined")
    if not (refined / STUDENT).exists():
        self_train(
            [one_by_one(folder / "target")],
            refined,
            student,
            SelfTrainSettings(
                share=1.0,
                learning=LearningSettings(
                    weak=args.weak,
                    epochs=args.refine_epochs,
                    batch_size=BATCH,
                    lr=args.lr,
                    backbone=args.refine_backbone_lr,
                    seed=seed,
                ),
            ),
            ExtractSettings(
                experts=EXPERTS,
                weights=str(pack / "weights"),
                device="cpu",
                aggregation=AggregationSettings(method="ssta", gamma=args.gamma),
            ),
            tell=tell,
        )
    found = {"student before": figures(folder, student), "student after": figures(folder, refined / STUDENT)}
    return found | experts_figures(folder, pack / "weights")


def make_student(images: Path, labels: Path, student: Path, seed: int, args: argparse.Namespace) -> None:
    first, *more = (
        StudentSettings(
            side=args.side,
            regions=args.regions,
            validation=0.0,
            learning=LearningSettings(epochs=epochs, batch_size=BATCH, backbone=args.backbone_lr, seed=seed),
        )
        for epochs in args.epochs
    )
    unfinished = student.with_stem("unfinished")
    train_student(images, labels, unfinished, first, tell=tell)
    network, skeleton, facts = load_network(unfinished)
    learnt = labelled_pictures(images, open_truth(labels))
    for settings in more:
        teach(network, skeleton, learnt, settings, tell=tell)
    save_network(student, network, skeleton, facts)
    unfinished.unlink()


def tell(epoch: int, losses: dict[str, float]) -> None:
    print(f"epoch {epoch + 1}", *(f"{name} {value:.3f}" for name, value in losses.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="where everything is kept; runs go on there")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--source", type=int, default=1500, help="pictures with labels")
    parser.add_argument("--target", type=int, default=4100, help="degraded pictures without labels")
    parser.add_argument("--test", type=int, default=400)
    parser.add_argument("--regions", type=int, default=32, help="of a picture, that a loss is made of")
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument(
        "--epochs",
        type=int,
        nargs="+",
        default=[12],
        metavar="N",
        help="of the student's supervised training; `12 22` is 22 more, the rate high once again: as many "
        "steps as 12 of refining",
    )
    parser.add_argument("--backbone-lr", type=float, default=1.0, help="as a share of that of the rest")
    parser.add_argument("--refine-backbone-lr", type=float, default=1.0, help="as --backbone-lr, in refining")
    parser.add_argument("--refine-epochs", type=int, default=12)
    parser.add_argument("--lr", type=float, default=1e-3, help="of refining")
    parser.add_argument("--weak", action="store_true", help="refining leaves the regression as it is")
    parser.add_argument("--gamma", type=float, default=0.18)
    args = parser.parse_args()
    results = [run(find_pack(), args.out, seed, args) for seed in range(args.seeds)]
    table = Table("on degraded pictures", "PCK@0.2", "of each seed", "people found")
    for name in results[0]:
        values = [result[name] for result in results]
        scores = [value["pck"] for value in values]
        recall = [value["recall"] for value in values]
        table.add_row(
            name,
            f"{statistics.mean(scores):.3f}",
            ", ".join(f"{score:.3f}" for score in scores),
            f"{statistics.mean(recall):.1%}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
