"""Video files and pictures -> FrameBatch."""
