"""Pictures: overlays of skeletons on video."""
