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
Experts = Annotated[
    str,
    typer.Option(
        help="Pose experts, the primary one first; `skelkit experts list` shows them.",
        rich_help_panel="Experts",
    ),
]
Detector = Annotated[
    str, typer.Option(help="Person detector of the top-down experts.", rich_help_panel="Experts")
]
Stride = Annotated[int, typer.Option(help="Take every n-th frame.", rich_help_panel="Which frames")]
Fps = Annotated[
    float | None,
    typer.Option(help="Take about this many frames per second instead.", rich_help_panel="Which frames"),
]
Device = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda, cuda:N or tensorrt.", rich_help_panel="Experts"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Shard = Annotated[Path, typer.Argument(help="A skeleton shard (.h5).", show_default=False)]
DEFAULT_EXPERTS = "builtin:pose,builtin:people"
DEFAULT_DETECTOR = "builtin:people"
Run = Annotated[Path, typer.Argument(help="Folder of a run, or of a model.", show_default=False)]


def names_in(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
