"""The learning rate as a function of the step, and nothing else: a resumed run needs no memory of it."""

from __future__ import annotations

import math

from skelkit.training.recipe import OptimizerPart


def rate(settings: OptimizerPart, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of a step, as a multiple of `OptimizerPart.lr`.

    The warm-up rises linearly and reaches 1 with its last step; a cosine begins after it and ends at 0.

    Args:
        settings: The recipe's part.
        step: Number of the optimizer's step, from 0.
        steps_per_epoch: Steps in an epoch.
        epochs: In all.
    """
    warmup = settings.warmup_epochs * steps_per_epoch
    if step + 1 < warmup:
        return (step + 1) / warmup
    if settings.schedule == "cosine":
        done = (step - warmup) / max(epochs * steps_per_epoch - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
    epoch = step // steps_per_epoch
    return settings.decay ** sum(epoch >= milestone for milestone in settings.milestones)
