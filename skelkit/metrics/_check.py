"""Shapes checked once, with a sentence that says which array is wrong."""

from __future__ import annotations

import numpy as np

from skelkit.errors import ConfigError
from skelkit.geometry import Floats
from skelkit.structures import Bool


def check_poses(predicted: Floats, truth: Floats, visible: Bool) -> Bool:
    """Raise ConfigError unless the arrays fit; return (P, K) the joints that the truth has.

    A joint marked visible whose truth is NaN is no truth, so it is left out too.
    """
    if predicted.ndim != 3 or predicted.shape != truth.shape:
        raise ConfigError(
            "expected predicted and true poses of one shape (P, K, C), "
            f"got {predicted.shape} and {truth.shape}"
        )
    if visible.shape != truth.shape[:2]:
        raise ConfigError(f"expected visible of shape {truth.shape[:2]}, got {visible.shape}")
    return visible.astype(bool) & np.isfinite(truth).all(axis=-1)


def check_per_person(name: str, values: Floats, people: int) -> None:
    """Raise ConfigError unless ``values`` has one number per person."""
    if values.shape != (people,):
        raise ConfigError(f"expected {name} of shape ({people},), one per person, got {values.shape}")
