"""The rules of the house, read from the files: who imports whom, which packages ship."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOUNDATIONS = {"errors", "structures", "geometry", "protocols", "skeletons", "registry", "_version"}
ROOMS = {p.parent.name for p in (ROOT / "skelkit").glob("*/__init__.py")}
HEAVY = {
    "torch",
    "torchvision",
    "cv2",
    "onnxruntime",
    "av",
    "h5py",
    "mmpose",
    "mmdet",
    "lightning",
    "pandas",
    "scipy",
    "matplotlib",
    "numba",
}


def sources() -> list[Path]:
    return sorted(p for top in ("skelkit", "pipelines", "cli") for p in (ROOT / top).rglob("*.py"))


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts if parts[0] == "skelkit" else ("skelkit", *parts)


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[tuple[str, ...]]:
    """Absolute module names a file imports, relative imports resolved."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    module = module_of(path)
    package = module[:-1]  # for pkg/__init__.py this is the package itself
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (tuple(a.name.split(".")) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = (*base, *(node.module.split(".") if node.module else ()))
            if stem in {("skelkit",), ("skelkit", "pipelines"), ("skelkit", "cli")}:
                yield from ((*stem, a.name) for a in node.names)
            else:
                yield stem


def layer(module: tuple[str, ...]) -> str:
    """Which floor of the house a skelkit module is on."""
    if module == ("skelkit",) or module[:2] == ("skelkit", "__init__"):
        return "root"
    name = module[1]
    if name in FOUNDATIONS or name.startswith("__"):
        return "foundation"
    return name if name in ROOMS | {"pipelines", "cli"} else "root"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_import_rule(path: Path) -> None:
    me = layer(module_of(path))
    for target in imports(path):
        if target[0] != "skelkit":
            continue
        other = layer(target)
        allowed = {
            "foundation": {"foundation"},
            "root": {"foundation"},
            "pipelines": {"foundation", "root", "pipelines"} | ROOMS,
            "cli": {"foundation", "root", "pipelines", "cli"},
        }.get(me, {"foundation", "root", me})
        assert other in allowed, f"{path.relative_to(ROOT)} ({me}) imports {'.'.join(target)} ({other})"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_cli_never_imports_click_and_the_door_imports_nothing_heavy(path: Path) -> None:
    assert not any(t[0] == "click" for t in imports(path))
    if layer(module_of(path)) in {"foundation", "root", "cli", "pipelines"}:
        heavy = {t[0] for t in imports(path, top_level_only=True)} & HEAVY
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy} at the top"


def test_packages_listed_are_the_packages_there() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {".".join(module_of(p)[:-1]) for p in sources() if p.name == "__init__.py"}
    assert listed == there


def test_cli_and_pipelines_are_flat() -> None:
    assert not [p for top in ("cli", "pipelines") for p in (ROOT / top).glob("*/*.py")]


def test_importing_skelkit_loads_nothing_heavy() -> None:
    code = f"import sys, skelkit, skelkit.cli; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
