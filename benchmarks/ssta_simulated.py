"""SST-A against ground truth with simulated experts (data pack: jhmdb, test split 1).

Real motion, 176 clips of 14 actions at 25 frames per second. Three experts fail the way real ones do; one
torso is the median distance shoulder to hip (0.33 in the data's unit), and noise level 1 means:

- top-down: sees everything; jitter of 0.05 torsos; left and right exchanged in runs of about 0.3 s, whole
  body or legs (5 % of frames); single joints off by about a torso for a frame or two (4 % of joints)
- bottom-up: exact (0.03 torsos) where it sees; loses joints in runs of about 0.4 s (20 % of joints, most at
  wrists and ankles) and the whole person (5 % of frames); 3 % outliers
- lagging: three frames late, otherwise smooth (0.03 torsos), 2 % outliers

The level multiplies jitter and the shares of failures. Scores know something of whether a joint is right
(Beta(5, 2) against Beta(2, 3)); --no-scores makes them all 1, as in SST-A npz files.

Error: mean distance to the truth in torsos over the joints seen. PCK: share of all joints within 0.2
torsos, a missing joint being wrong. Jitter: mean absolute acceleration in torsos per frame squared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._pack import find_pack
from skelkit.aggregation import refiners
from skelkit.aggregation.consensus import Consensus
from skelkit.aggregation.reliability import learn
from skelkit.aggregation.ssta import Ssta
from skelkit.protocols import Aggregator, Refiner
from skelkit.skeletons import JHMDB15, LCR13, remap
from skelkit.structures import Bool, Float32, SkeletonSequence

FPS = 25.0
PIXELS = 300.0  # of the data's unit: a torso of about 100 pixels
TORSO = 0.33 * PIXELS
FAR = np.asarray([2.0 if j.endswith(("wrist", "ankle")) else 0.7 for j in LCR13.joints])
FLIP = np.asarray(
    [
        LCR13.index(dict([*LCR13.flip_pairs, *(p[::-1] for p in LCR13.flip_pairs)]).get(j, j))
        for j in LCR13.joints
    ]
)
LEGS = np.asarray([j.endswith(("hip", "knee", "ankle")) for j in LCR13.joints])


def clips() -> Iterator[tuple[str, Float32]]:
    """Name and true keypoints (T, 13, 2) in pixels."""
    data = np.load(find_pack() / "jhmdb" / "gt_test_1.npz")
    poses, _ = remap(data["poses"], np.ones(data["poses"].shape[:2], np.float32), JHMDB15, LCR13)
    for uid, start, stop in zip(data["clip_uid"], data["offsets"], data["offsets"][1:], strict=False):
        yield str(uid), poses[start:stop] * np.float32(PIXELS)


def runs(rng: np.random.Generator, shape: tuple[int, ...], share: np.ndarray | float, length: float) -> Bool:
    """True in runs of a mean length along the first axis, in this share of all places."""
    share = np.clip(np.broadcast_to(share, shape[1:]), 0, 0.9)
    begin = share / (length * (1 - share))
    on = np.zeros(shape, bool)
    now = rng.random(shape[1:]) < share
    for t in range(shape[0]):
        on[t] = now
        now = np.where(now, rng.random(shape[1:]) >= 1 / length, rng.random(shape[1:]) < begin)
    return on


def jitter(rng: np.random.Generator, truth: Float32, level: float, torsos: float) -> Float32:
    return truth + rng.normal(0, torsos * level * TORSO, truth.shape).astype(np.float32)


def outliers(rng: np.random.Generator, pose: Float32, share: float) -> Float32:
    off = runs(rng, pose.shape[:2], share, 1.5)
    return pose + off[..., None] * rng.normal(0, TORSO, pose.shape).astype(np.float32)


def top_down(rng: np.random.Generator, truth: Float32, level: float) -> Float32:
    pose = jitter(rng, truth, level, 0.05)
    for joints, share in ((np.ones(13, bool), 0.02), (LEGS, 0.03)):
        swapped = runs(rng, (len(pose), 1), share * level, 0.3 * FPS) & joints
        pose = np.where(swapped[..., None], pose[:, FLIP], pose)
    return outliers(rng, pose, 0.04 * level)


def bottom_up(rng: np.random.Generator, truth: Float32, level: float) -> Float32:
    pose = outliers(rng, jitter(rng, truth, level, 0.03), 0.03 * level)
    missed = runs(rng, pose.shape[:2], 0.2 * level * FAR / FAR.mean(), 0.4 * FPS)
    missed |= runs(rng, (len(pose), 1), 0.05 * level, 0.4 * FPS)
    return np.where(missed[..., None], np.nan, pose).astype(np.float32)


def lagging(rng: np.random.Generator, truth: Float32, level: float) -> Float32:
    late = truth[np.maximum(np.arange(len(truth)) - 3, 0)]
    return outliers(rng, jitter(rng, late, level, 0.03), 0.02 * level)


EXPERTS: dict[str, Callable[[np.random.Generator, Float32, float], Float32]] = {
    "top-down": top_down,
    "bottom-up": bottom_up,
    "lagging": lagging,
}


def views_of(name: str, truth: Float32, level: float, scored: bool) -> list[SkeletonSequence]:
    views = []
    for number, (expert, fail) in enumerate(EXPERTS.items()):
        rng = np.random.default_rng([int(name), number, int(100 * level)])
        pose = fail(rng, truth, level)
        right = np.linalg.norm(pose - truth, axis=-1) < 0.2 * TORSO
        scores = np.where(right, rng.beta(5, 2, right.shape), rng.beta(2, 3, right.shape))
        seen = np.isfinite(pose[..., 0])
        frames = len(pose)
        views.append(
            SkeletonSequence(
                skeleton=LCR13,
                keypoints=pose[None],
                scores=np.where(seen, scores if scored else 1, 0).astype(np.float32)[None],
                confidence=np.where(seen.any(axis=1), 1, np.nan).astype(np.float32)[None],
                track_ids=np.zeros(1, np.int64),
                frame_indices=np.arange(frames),
                pts_s=np.arange(frames) / FPS,
                video_id=name,
                fps=FPS,
                image_size=(240, 320),
                sources=(expert,),
            )
        )
    return views


SMOOTHING: dict[str, Refiner] = {
    "": lambda sequence: sequence,
    " + Savitzky-Golay 0.3 s": refiners.savitzky_golay(0.3),
    " + bridge 0.5 s, Savitzky-Golay": refiners.chain(
        refiners.remove_outliers(), refiners.bridge_gaps(0.5), refiners.savitzky_golay(0.3)
    ),
    " + Butterworth 6 Hz": refiners.butterworth(6.0),
    " + One-Euro": refiners.one_euro(),
}


def measure(pairs: Sequence[tuple[SkeletonSequence, Float32]]) -> dict[str, float]:
    error, within, jerk = [], [], []
    for sequence, truth in pairs:
        off = np.linalg.norm(sequence.keypoints[0] - truth, axis=-1) / TORSO
        error.append(off[np.isfinite(off)])
        within.append((off < 0.2).ravel())
        bend = np.abs(np.diff(sequence.keypoints[0], 2, axis=0)).ravel() / TORSO
        jerk.append(bend[np.isfinite(bend)])
    return {
        "error": float(np.concatenate(error).mean()),
        "pck": float(np.concatenate(within).mean()),
        "jitter": float(np.concatenate(jerk).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--levels", type=float, nargs="+", default=[0.5, 1.0, 2.0, 3.0])
    parser.add_argument("--no-scores", action="store_true")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    truths = dict(clips())
    figures: dict[str, dict[float, dict[str, float]]] = {}
    for level in args.levels:
        views = {n: views_of(n, t, level, not args.no_scores) for n, t in truths.items()}
        known = learn(views.values())
        methods: dict[str, Aggregator] = {
            "ssta, swaps left": Ssta(fix_swaps=False),
            "ssta": Ssta(),
            "consensus, each clip alone": Consensus(),
            "consensus": Consensus(reliability=known),
            "consensus, swaps undone": Consensus(reliability=known, fix_swaps=True),
        }
        results = {e: {n: v[i] for n, v in views.items()} for i, e in enumerate(EXPERTS)}
        results |= {name: {n: m.aggregate(v) for n, v in views.items()} for name, m in methods.items()}
        for name, sequences in results.items():
            smoothed = SMOOTHING if name in {*EXPERTS, "ssta", "consensus"} else {"": SMOOTHING[""]}
            for after, refine in smoothed.items():
                pairs = [(refine(s), truths[n]) for n, s in sequences.items()]
                figures.setdefault(name + after, {})[level] = measure(pairs)
    if args.json:
        print(json.dumps(figures, indent=2))
        return
    table = Table("error / PCK@0.2 / jitter", *(f"level {level:g}" for level in args.levels))
    for name, row in figures.items():
        table.add_row(name, *(f"{f['error']:.3f} / {f['pck']:.3f} / {f['jitter']:.3f}" for f in row.values()))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
