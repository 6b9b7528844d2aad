"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="Folder (or file) to look for weights in first; then SKELKIT_WEIGHTS, then the cache.",
        show_default=False,
        rich_help_panel="Experts",
    ),
]
Device = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda, cuda:N or tensorrt.", rich_help_panel="Experts"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Shard = Annotated[Path, typer.Argument(help="A skeleton shard (.h5).", show_default=False)]
Run = Annotated[Path, typer.Argument(help="Folder of a run, or of a model.", show_default=False)]
