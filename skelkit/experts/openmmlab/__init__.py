"""MMPose's and MMDetection's networks as experts and detectors, batched.

``mmpose:NAME`` and ``mmdet:NAME`` name a model of the installed packages' index, by the shortest beginning
that only one has, or a config file (``mmpose:my.py@my.pth``); see `naming`. A network is built from its
config by OpenMMLab's own code and carries its own weights; pictures go in and poses come out in batches.
"""
