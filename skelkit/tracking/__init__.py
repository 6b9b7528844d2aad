"""Poses over time -> people with identities, the same across experts."""

from skelkit.tracking.association import TrackerSettings
from skelkit.tracking.identity import unify_identities
from skelkit.tracking.tracker import PoseTracker

__all__ = ["PoseTracker", "TrackerSettings", "unify_identities"]
