"""What experts there are, whether their weights are here, and whether they run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from skelkit.errors import MissingExtraError, SkelkitError, WeightsError
from skelkit.experts import FAMILIES, Device, build_detector, build_expert, choose_device, describe
from skelkit.experts.cards import Card, all_cards, load_card
from skelkit.experts.openmmlab import families
from skelkit.experts.weights import ensure_weights, find_weights
from skelkit.protocols import Detector, PoseExpert
from skelkit.structures import Detections, FrameBatch

_FRAMES = 4
_OPENMMLAB = ("mmpose", "mmdet")


def list_experts(weights: str | None) -> list[dict[str, Any]]:
    """The built-in experts, every card, and torchvision's models, and where their weights are.

    Of MMPose's and MMDetection's models those whose weights are here; `list_families` tells of the rest.
    """
    from skelkit.experts import builtin

    rows = [_row(builtin.card_of(n), weights) | {"name": f"builtin:{n}"} for n in builtin.names()]
    rows += [_row(card, weights) for card in all_cards()]
    for family in ("torchvision", *(() if families.missing() else _OPENMMLAB)):
        rows += FAMILIES.load(family).catalogue(weights)
    return rows


def list_families() -> tuple[list[dict[str, Any]], str]:
    """The kinds of models in MMPose's and MMDetection's indexes, and whether they work.

    Returns:
        ``name``, ``models`` (how many), ``aliases`` and ``works`` of each; and what is missing, if anything.
    """
    if why := families.missing():
        return [], why
    try:
        return [asdict(f) for f in families.families()], ""
    except MissingExtraError as error:
        return [], error.message


def show_expert(name: str, weights: str | None) -> dict[str, Any]:
    """Everything a card says, or what is known of another family's expert.

    Raises:
        ConfigError: unknown expert.
    """
    family, _, model = name.partition(":")
    if family == "torchvision":
        from skelkit.experts import torchvision_models

        return torchvision_models.show(model, weights)
    if family == "builtin":
        from skelkit.experts import builtin

        written = builtin.show(model)
        return {**written["card"], "trained": written["trained"], "measured": written["measured"]}
    if model and not name.endswith(".toml"):
        return describe(name, weights)
    card = load_card(name)
    joints = {} if card.joints is None else {"joint_names": list(card.skeleton.joints)}
    return card.model_dump(mode="json") | joints | {"weights_path": _row(card, weights)["weights"]}


def fetch_expert(name: str, progress: Callable[[int, int | None], None] | None = None) -> dict[str, Any]:
    """Download an expert's weights into the cache, unless they are on this machine already.

    Raises:
        ConfigError: unknown expert.
        WeightsError: they are not to be had.
    """
    family, _, model = name.partition(":")
    if family in {"builtin", "torchvision", *_OPENMMLAB}:
        found = FAMILIES.load(family).fetch(model, progress)
    else:
        found = ensure_weights(load_card(name), progress=progress)
    return {"name": name, "path": str(found.path), "sha256": found.sha256, "checked": found.checked}


def check_expert(name: str, weights: str | None, device: str) -> dict[str, Any]:
    """Load an expert and run it on frames of noise.

    Returns:
        ``ok``, and ``why`` where it is not; milliseconds per frame; what the network's input is.
    """
    try:
        milliseconds = _run(name, kind_of(name, weights), weights, choose_device(device))
    except SkelkitError as error:
        return {"name": name, "ok": False, "why": error.message, "ms_per_frame": None}
    return {"name": name, "ok": True, "why": "", "ms_per_frame": round(milliseconds, 2)}


def _run(name: str, kind: str, weights: str | None, device: Device) -> float:
    """Milliseconds per frame, one person per frame for top-down experts, after a warm-up."""
    _, run = ready(name, kind, weights, device, batch_size=_FRAMES, people=1)
    run()
    begin = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - begin) / _FRAMES


def ready(
    name: str, kind: str, weights: str | None, device: Device, *, batch_size: int, people: int
) -> tuple[Detector | PoseExpert, Callable[[], object]]:
    """An expert, and a call that runs it on a batch of noise with so many people in each frame."""
    noise = np.random.default_rng(0).integers(0, 256, (batch_size, 360, 640, 3), dtype=np.uint8)
    frames = FrameBatch(images=noise, indices=np.arange(batch_size), pts_s=np.arange(batch_size) / 30)
    boxes = Detections(
        frame_indices=np.repeat(frames.indices, people),
        boxes_xyxy=np.tile(np.asarray([200, 40, 400, 340], np.float32), (batch_size * people, 1)),
        box_scores=np.ones(batch_size * people, np.float32),
    )
    if kind == "detector":
        detector = build_detector(name, device=device, weights=weights, batch_size=batch_size)
        return detector, lambda: detector.detect(frames)
    expert = build_expert(name, device=device, weights=weights, batch_size=batch_size)
    return expert, lambda: expert.predict(frames, boxes)


def kind_of(name: str, weights: str | None) -> str:
    """What an expert is.

    Raises:
        WeightsError: its weights are not here; they are not downloaded for that.
    """
    said = show_expert(name, weights)
    if not said.get("here", said.get("weights_path", True)):
        raise WeightsError(f"no weights here; fetch them with `skelkit experts fetch {name}`")
    return str(said["kind"])


def _row(card: Card, weights: str | None) -> dict[str, Any]:
    try:
        found = find_weights(card, weights)
        where = str(found.path) if found else ""
    except WeightsError as error:
        where = error.message
    return {
        "name": card.name,
        "kind": card.kind,
        "joints": card.joints or "",
        "verified": card.verified,
        "weights": where,
        "downloadable": bool(card.weights.urls),
        "summary": card.summary,
    }
