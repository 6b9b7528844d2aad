"""Networks on skeleton sequences: keypoints (B, M, T, K, C) in, logits or features out."""

from skelkit.models.base import ModelConfig, SkeletonModel
from skelkit.models.checkpoint import ModelCard, load, read_card, save
from skelkit.models.cost import Cost, cost
from skelkit.models.importers import IMPORTERS, import_checkpoint
from skelkit.models.maps import JointMaps
from skelkit.models.registry import MODELS, build, configure

__all__ = [
    "IMPORTERS",
    "MODELS",
    "Cost",
    "JointMaps",
    "ModelCard",
    "ModelConfig",
    "SkeletonModel",
    "build",
    "configure",
    "cost",
    "import_checkpoint",
    "load",
    "read_card",
    "save",
]
