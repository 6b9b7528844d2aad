"""What is told of the kinds of models in the installed indexes is true."""

from __future__ import annotations

import io
from dataclasses import asdict
from importlib.util import find_spec

import pytest
from rich.console import Console

from skelkit.cli.experts import families_table
from skelkit.errors import ConfigError
from skelkit.experts.openmmlab import families, index, poses

if find_spec("mmpose") is None:
    pytest.skip("OpenMMLab's packages are not installed: make openmmlab", allow_module_level=True)
pytestmark = pytest.mark.openmmlab

KINDS = {f.name.removeprefix("mmpose: "): f for f in families.families()}


def test_all_that_the_documentation_names_is_there() -> None:
    methods = {"topdown_heatmap", "simcc", "topdown_regression", "rtmpose", "rtmo", "yoloxpose"}
    assert methods | {"associative_embedding", "cid", "dekr", "mmdet"} <= {
        name for name, kind in KINDS.items() if not kind.works.startswith("no")
    }
    assert "rtmo" in KINDS["rtmo"].aliases
    assert KINDS["mmdet"].models > 100


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"mmdet"}))
def test_kinds_work_as_told(kind: str) -> None:
    names = [e.name for e in index.entries("mmpose") if families.folder(e) == kind]
    name = min(names, key=len)
    if KINDS[kind].works.startswith("yes"):
        found = poses.describe(f"{name}@random", None)
        assert found["kind"] in {"top-down", "bottom-up", "one-stage"}
    else:
        with pytest.raises(ConfigError, match="is no expert of skelkit"):
            poses.describe(f"{name}@random", None)


def test_the_table_of_kinds_fits_80_columns() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(families_table([asdict(kind) for kind in KINDS.values()]))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "…" not in out.getvalue()
