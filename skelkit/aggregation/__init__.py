"""Several experts' sequences of the same people -> one, and refiners of one sequence."""

from skelkit.registry import Registry

AGGREGATORS = Registry(
    "aggregators",
    {"ssta": "skelkit.aggregation.ssta:Ssta", "consensus": "skelkit.aggregation.consensus:Consensus"},
)
"""Names -> classes whose instances are `skelkit.protocols.Aggregator`."""

REFINERS = Registry(
    "refiners",
    {
        name: f"skelkit.aggregation.refiners:{name}"
        for name in ("one_euro", "savitzky_golay", "butterworth", "remove_outliers", "bridge_gaps")
    },
)
"""Names -> functions that make a `skelkit.protocols.Refiner` from settings."""
