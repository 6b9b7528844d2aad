"""The lessons of both networks: what a batch is made of, and what is lost on it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from skelkit.experts.builtin.networks import PeopleNet, PoseNet
from skelkit.experts.builtin.training.fit import Fit, Told, fit
from skelkit.experts.builtin.training.mosaics import mosaic
from skelkit.experts.builtin.training.people_loss import Targets, people_loss, targets
from skelkit.experts.builtin.training.pose_loss import pose_loss
from skelkit.experts.builtin.training.scenes import JOINTS, Scene, Scenes
from skelkit.experts.builtin.training.views import coloured, covered, cut, random_view
from skelkit.structures import UInt8

Net = Literal["pose", "people"]

BATCH = {"pose": 32, "people": 12}
"""Pictures per step."""
SIDES = {"pose": (96, 128), "people": (256, 320)}
"""Pixels a side in the first part of a training, which is the cheaper one, and in the rest."""
_FIRST_PART = 0.6
_SIGMA = {96: 1.3, 128: 1.6}
"""Cells, of a joint's Gaussian in crops of so many pixels."""
_GUESTS = 3
"""People of each batch of crops that nobody marked."""


def teach(
    net: Net,
    marked: Scenes,
    more: Scenes,
    plan: Fit,
    *,
    seed: int,
    trunk: Path | None,
    place: torch.device,
    told: Told,
) -> tuple[nn.Module, int]:
    """Train one of the networks, or go on.

    Args:
        net: Which.
        marked: Scenes whose first person is marked.
        more: Scenes that teachers labelled.
        plan: How long.
        seed: Of the weights and the batches.
        trunk: State of a training of the pose network, with whose trunk the people network begins where
            that exists: it has the same blocks and more.
        place: Where it is trained.
        told: Hears how it goes.

    Returns:
        The network, and the steps it has had.
    """
    torch.manual_seed(seed)
    if net == "pose":
        return fit(PoseNet(JOINTS.num_joints).to(place), PoseLessons(marked, more, seed), plan, told)
    network = PeopleNet(JOINTS.num_joints)
    if trunk is not None and trunk.exists():
        state = torch.load(trunk, map_location="cpu", weights_only=True)["average"]
        own = {n.removeprefix("trunk."): v for n, v in state.items() if n.startswith("trunk.")}
        network.trunk.load_state_dict({name: own[name] for name in network.trunk.state_dict()})
    return fit(network.to(place), PeopleLessons(marked, more, seed), plan, told)


def write_weights(path: Path, network: nn.Module) -> None:
    """Save a network in half precision."""
    state = network.cpu().state_dict().items()
    half = {n: (v.half() if v.is_floating_point() else v).contiguous() for n, v in state}
    path.write_bytes(save(half))  # save_file lets only the owner read it


class PoseLessons:
    """Batches of crops, and the loss on them."""

    def __init__(self, marked: Scenes, more: Scenes, seed: int) -> None:
        self.marked, self.more, self.seed = marked, more, seed
        sides = more.boxes[:, 2:4] - more.boxes[:, :2]
        guests = np.flatnonzero(
            (more.taught[..., 2] > 0).any(axis=1) & (sides.max(axis=1) > SIDES["pose"][0] / 2)
        )
        self.guests = [(int(np.searchsorted(more.first, p, side="right")) - 1, int(p)) for p in guests]

    def __call__(self, network: nn.Module, step: int, done: float) -> dict[str, Tensor]:
        """The loss of a network on a batch; the same batch for the same step."""
        rng = np.random.default_rng([self.seed, step])
        size, place = _side("pose", done), _place(network)
        people: list[tuple[Scene, int]] = []
        guests = _GUESTS if len(self.guests) >= _GUESTS else 0
        for index in rng.integers(0, len(self.marked), BATCH["pose"] - guests):
            people.append((self.marked[int(index)], 0))
        for index in rng.integers(0, max(len(self.guests), 1), guests):
            scene, person = self.guests[int(index)]
            people.append((self.more[scene], person - int(self.more.first[scene])))
        cuts = [cut(scene, who, random_view(scene, who, rng), size) for scene, who in people]
        crops, joints, taught = (np.stack(part) for part in zip(*cuts, strict=True))
        pictures = covered(coloured(_tensor(crops, place), rng), rng)
        with torch.autocast(place.type, torch.bfloat16):
            logits = network(pictures.contiguous(memory_format=torch.channels_last))
        marked, found = (torch.from_numpy(values).to(place) for values in (joints, taught))
        return {"loss": pose_loss(logits, marked, found, _SIGMA[size])}


class PeopleLessons:
    """Batches of mosaics, and the losses on them."""

    def __init__(self, marked: Scenes, more: Scenes, seed: int) -> None:
        self.marked, self.more, self.seed = marked, more, seed

    def __call__(self, network: nn.Module, step: int, done: float) -> dict[str, Tensor]:
        """The parts of the loss of a network on a batch; the same batch for the same step."""
        rng = np.random.default_rng([self.seed, step])
        size, place = _side("people", done), _place(network)
        drawn = [mosaic(self.marked, self.more, size, rng) for _ in range(BATCH["people"])]
        wanted = Targets.stack([targets(boxes, joints, size) for _, boxes, joints in drawn]).to(place)
        pictures = coloured(_tensor(np.stack([canvas for canvas, _, _ in drawn]), place), rng)
        with torch.autocast(place.type, torch.bfloat16):
            outputs = network(pictures.contiguous(memory_format=torch.channels_last))
        return people_loss(outputs, wanted)


def _side(net: Net, done: float) -> int:
    return SIDES[net][done >= _FIRST_PART]


def _place(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _tensor(pictures: UInt8, place: torch.device) -> Tensor:
    return torch.from_numpy(pictures).to(place).permute(0, 3, 1, 2).float()
