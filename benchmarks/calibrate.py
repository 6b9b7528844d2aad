"""Fit the calibration curves of the cards: raw joint score -> share of joints within 0.2 torso lengths.

Isotonic regression over the limb joints of lspet pictures that `accuracy` does not use, on detector boxes;
prints the `[calibration]` knots to put into each card, and how well they hold on other pictures.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.optimize import isotonic_regression

from benchmarks._pack import find_pack
from benchmarks.accuracy import EXPERTS, LIMBS, Picture, limbs, lspet, predict
from skelkit.experts import build_detector, choose_device
from skelkit.experts.cards import Calibration
from skelkit.experts.onnx import TopDownExpert, WholeFrameExpert, build
from skelkit.metrics import match_to_truth, take_matched, torso_scale
from skelkit.protocols import Detector
from skelkit.skeletons import remap
from skelkit.structures import Float32

KNOTS = 8


def joints(
    expert: TopDownExpert | WholeFrameExpert, pictures: list[Picture], detector: Detector
) -> tuple[Float32, Float32]:
    """Raw score and 1 = right, 0 = wrong, of every labelled limb joint of every person found."""
    raw, right = [], []
    for picture in pictures:
        poses = predict(expert, picture, detector)
        match = match_to_truth(poses.boxes_xyxy, picture.boxes, min_iou=0.3)
        found = take_matched(limbs(poses.keypoints, expert.skeleton), match)
        scores = remap(poses.keypoints, poses.scores, expert.skeleton, LIMBS)[1]
        torso = torso_scale(np.where(picture.visible[..., None], picture.truth, np.nan), LIMBS)
        error = np.linalg.norm(found - picture.truth, axis=-1) / torso[:, None]
        use = picture.visible & np.isfinite(error)
        raw.append(take_matched(scores[..., None], match)[..., 0][use])
        right.append((error < 0.2)[use])
    return np.concatenate(raw), np.concatenate(right).astype(np.float32)


def fit(raw: Float32, right: Float32) -> Calibration:
    """Monotone curve through the means of equally filled bins."""
    order = np.argsort(raw)
    bins = [b for b in np.array_split(order, KNOTS) if len(b)]
    means = isotonic_regression([right[b].mean() for b in bins], weights=[len(b) for b in bins]).x
    x = np.unique(np.round([raw[b].mean() for b in bins], 3))
    y = np.round(np.interp(x, [raw[b].mean() for b in bins], means), 2)
    return Calibration(raw=(0.0, *x.tolist(), 1.0), score=(0.0, *y.tolist(), float(max(y[-1], 0.99))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", type=int, default=600, help="pictures to fit on")
    parser.add_argument("--check", type=int, default=200, help="pictures to check on")
    parser.add_argument("--experts", default=",".join(EXPERTS))
    args = parser.parse_args()
    pack = find_pack()
    device = choose_device("cpu")
    detector = build_detector("yolox_nano", device=device, weights=pack / "weights")
    fitted = list(lspet(pack, args.fit, lambda n: n % 10 in (2, 3, 4, 8)))
    others = list(lspet(pack, args.check, lambda n: n % 10 == 9))
    for name in args.experts.split(","):
        expert = build(name, pack / "weights", device, 16)
        assert isinstance(expert, TopDownExpert | WholeFrameExpert)
        expert.card = expert.card.model_copy(update={"calibration": Calibration()})
        curve = fit(*joints(expert, fitted, detector))
        raw, right = joints(expert, others, detector)
        scores = np.interp(raw, curve.raw, curve.score)
        groups = np.array_split(np.argsort(scores), 5)
        error = np.mean([abs(scores[g].mean() - right[g].mean()) for g in groups])
        print(f"\n# {name}: {len(raw)} joints checked, mean |score - share right| {error:.3f}")
        print("# raw quantiles 1, 5, 25 %:", np.quantile(raw, [0.01, 0.05, 0.25]).round(3))
        print(f"[calibration]\nraw = {list(curve.raw)}\nscore = {list(curve.score)}")


if __name__ == "__main__":
    main()
