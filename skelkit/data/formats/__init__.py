"""What the rest of the field reads and writes, one module per format."""

from skelkit.registry import Registry

FORMATS = Registry(
    "formats",
    {
        "coco": "skelkit.data.formats.coco:FORMAT",
        "jhmdb": "skelkit.data.formats.jhmdb:FORMAT",
        "kinetics-skeleton": "skelkit.data.formats.kinetics_skeleton:FORMAT",
        "ntu": "skelkit.data.formats.ntu:FORMAT",
        "openpose": "skelkit.data.formats.openpose:FORMAT",
        "posetics-json": "skelkit.data.formats.posetics_json:FORMAT",
        "pyskl": "skelkit.data.formats.pyskl:FORMAT",
        "ssta-npz": "skelkit.data.formats.ssta:FORMAT",
        "unik": "skelkit.data.formats.unik:FORMAT",
    },
)
"""`skelkit.data.formats.base.Format` by name; third parties add theirs in ``skelkit.formats``."""

__all__ = ["FORMATS"]
