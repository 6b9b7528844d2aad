"""Says what benchmarks there are."""

from __future__ import annotations

import ast
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
    summary = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()[0]
    print(f"python -m benchmarks.{path.stem:16} {summary}")
