"""FrameBatch -> Poses: detectors and pose experts."""
