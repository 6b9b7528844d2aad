from made_sequences import experts

from skelkit.aggregation import AGGREGATORS, REFINERS
from skelkit.aggregation.joints import to_skeleton
from skelkit.skeletons import POSETICS25


def test_everything_registered_works_with_its_defaults() -> None:
    views = experts(2, 20, 3, 0)
    for name in AGGREGATORS.names():
        sequence = AGGREGATORS.load(name)().aggregate(views)
        for refiner in REFINERS.names():
            sequence = REFINERS.load(refiner)()(sequence)
        assert to_skeleton(sequence, POSETICS25).keypoints.shape == (2, 20, 25, 2)
