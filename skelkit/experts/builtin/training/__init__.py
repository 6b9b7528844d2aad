"""How the built-in experts are trained: labelled scenes, augmentation, targets and losses, the loop.

Joints are those of `JOINTS`; a joint is x, y and how sure its label is: 1 for one marked by people, less for
one that another expert found, 0 for none.
"""

from skelkit.experts.builtin.training.scenes import JOINTS, Scene, Scenes, write_scenes

__all__ = ["JOINTS", "Scene", "Scenes", "write_scenes"]
