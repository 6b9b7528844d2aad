"""Whether OpenMMLab's packages are here and work together; what to type where they do not.

Four facts stand behind this module (all of 2026). mmpose depends on chumpy, which no longer builds and is
never imported, so it is installed without its dependencies; and so are the others, whose ``opencv-python``
would overwrite ours. The xtcocotools wheel is broken with numpy 2; pycocotools is the same thing for all we
do. mmcv's compiled operators take a quarter of an hour to build: `operators` stands in for those that
networks need, unless a compiled mmcv is installed. mmdet 3.3.0 refuses mmcv from 2.2.0 on.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from skelkit.errors import MissingExtraError

VERSIONS = {"mmengine": "0.10.7", "mmcv-lite": "2.1.0", "mmdet": "3.3.0", "mmpose": "1.3.2"}
"""What is installed, and what skelkit's tests ran with."""
INSTALL = "pip install 'skelkit[openmmlab]' && pip install --no-deps " + " ".join(
    f"{name}=={number}" for name, number in VERSIONS.items()
)
"""The whole step; ``make openmmlab`` in a checkout."""


def package_folder(package: str) -> Path:
    """Where ``mmpose`` or ``mmdet`` is installed, without importing it.

    Raises:
        MissingExtraError: it is not.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise _missing(f"{package} is not installed")
    return Path(spec.origin).parent


def require() -> None:
    """See that all packages are there, without importing one.

    Raises:
        MissingExtraError: one is not.
    """
    for package in ("mmengine", "mmcv", "mmdet", "mmpose"):
        package_folder(package)


@cache
def prepare() -> None:
    """Make OpenMMLab's packages importable together, and register what they define; takes seconds.

    Raises:
        MissingExtraError: a package is missing or of a version that does not work; what to type is said.
    """
    require()
    from skelkit.experts.openmmlab import operators  # torch: not where only names are asked for

    if "xtcocotools" not in sys.modules:
        _alias("xtcocotools", "pycocotools", ("coco", "cocoeval", "mask"))
    operators.register()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for package in ("mmdet", "mmpose"):
                importlib.import_module(f"{package}.utils").register_all_modules(init_default_scope=False)
    except (ImportError, AssertionError, AttributeError) as error:  # versions are checked by assertions
        raise _missing(f"OpenMMLab's packages do not work together: {error}") from error


def compiled_operators() -> bool:
    """Whether a compiled mmcv is installed."""
    return find_spec("mmcv") is not None and any(package_folder("mmcv").glob("_ext.*"))


def installed() -> dict[str, str | None]:
    """The version of each package that is installed, None for those that are not."""
    found: dict[str, str | None] = {}
    for name in ("mmengine", "mmcv-lite", "mmcv", "mmdet", "mmpose", "mmpretrain"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def requirements() -> list[str]:
    """What is still to be installed with ``--no-deps``; a compiled mmcv stays."""
    lite = "mmcv-lite"
    return [f"{n}=={v}" for n, v in VERSIONS.items() if n != lite or installed()["mmcv"] is None]


def _alias(name: str, package: str, parts: tuple[str, ...]) -> None:
    try:
        sys.modules[name] = importlib.import_module(package)
        for part in parts:
            sys.modules[f"{name}.{part}"] = importlib.import_module(f"{package}.{part}")
    except ImportError as error:
        raise _missing(f"{package} is not installed") from error


def _missing(why: str) -> MissingExtraError:
    return MissingExtraError(
        f"{why}; try `make openmmlab` in a checkout of skelkit, or: {INSTALL}", extra="openmmlab"
    )


if __name__ == "__main__":
    print(*requirements())
