"""Mixup: clips that show by themselves what was mixed into them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from skelkit.structures import ClipBatch
from skelkit.training import ActionClassifier, read_recipe

CLIPS = 6


class Remembering(nn.Module):
    """Logits are the clip itself."""

    def forward(self, keypoints: Tensor) -> Tensor:
        self.seen = keypoints.flatten(1)
        return 3 * self.seen


def step(seed: int, **augment: float) -> tuple[Tensor, Tensor]:
    """What the network saw of clips that are 1 at a place of their own, and the loss."""
    recipe, problems = read_recipe({"augment": augment, "optimizer": {"label_smoothing": 0.1}})
    assert not problems
    network = Remembering()
    learner = ActionClassifier(network, recipe, head=network, steps_per_epoch=1)
    clips = torch.eye(CLIPS).view(CLIPS, 1, 1, CLIPS, 1)
    batch = ClipBatch(keypoints=clips, visible=clips[..., 0] > 0, labels=torch.arange(CLIPS))
    torch.manual_seed(seed)
    loss = learner.training_step(batch, 0)
    return network.seen, loss


@pytest.mark.parametrize("seed", range(5))
def test_clips_and_labels_are_mixed_by_the_same_share(seed: int) -> None:
    seen, loss = step(seed, mixup=0.4)
    torch.testing.assert_close(seen.sum(dim=1), torch.ones(CLIPS))
    assert ((seen > 0).sum(dim=1) <= 2).all()
    shares = seen.diagonal()
    mixed = shares < 1
    assert mixed.any()
    assert (shares >= 0.5).all()
    torch.testing.assert_close(shares[mixed], shares[mixed][:1].expand(int(mixed.sum())))
    wanted = functional.cross_entropy(3 * seen, seen, label_smoothing=0.1)  # what was seen is the soft label
    torch.testing.assert_close(loss, wanted)


def test_shares_and_pairs_are_drawn_anew() -> None:
    shares = {round(step(seed, mixup=0.4)[0].max(dim=1).values.min().item(), 4) for seed in range(6)}
    assert len(shares) > 3


def test_without_it_clips_stay_as_they_are() -> None:
    seen, loss = step(0)
    assert torch.equal(seen, torch.eye(CLIPS))
    wanted = functional.cross_entropy(3 * seen, torch.arange(CLIPS), label_smoothing=0.1)
    torch.testing.assert_close(loss, wanted)
