"""Recipes, and what carries them out: Lightning modules, data, checkpoints."""

from skelkit.training.curves import CURVES_FILE, read_curves
from skelkit.training.fit import ONE_DEVICE, ClipData, Clips, Hardware, fit
from skelkit.training.module import ActionClassifier
from skelkit.training.recipe import (
    DataFacts,
    Recipe,
    apply_settings,
    complain,
    data_problems,
    read_recipe,
)
from skelkit.training.scoring import choose_device, probabilities
from skelkit.training.snapshots import CHECKPOINT_FILE
from skelkit.training.subsets import stratified

__all__ = [
    "CHECKPOINT_FILE",
    "CURVES_FILE",
    "ONE_DEVICE",
    "ActionClassifier",
    "ClipData",
    "Clips",
    "DataFacts",
    "Hardware",
    "Recipe",
    "apply_settings",
    "choose_device",
    "complain",
    "data_problems",
    "fit",
    "probabilities",
    "read_curves",
    "read_recipe",
    "stratified",
]
