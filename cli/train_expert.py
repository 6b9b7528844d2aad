"""skelkit train-expert."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from ._options import AsJson, Device, Weights


def train_expert(
    net: Annotated[
        Literal["pose", "people"],
        typer.Argument(help="pose: top-down. people: whole frames, also the detector; train pose first."),
    ],
    work: Annotated[
        Path, typer.Argument(help="Folder for labels and states; goes on where it was.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the weights and the card.", show_default=False)],
    lspet: Annotated[
        Path, typer.Option(help="Leeds Sports Pose Extended: joints.npz and images.", show_default=False)
    ],
    more: Annotated[
        list[Path] | None,
        typer.Option(help="Further pictures or videos, labelled by the teachers.", show_default=False),
    ] = None,
    detector: Annotated[str, typer.Option(help="Its boxes are labels.")] = "yolox_nano",
    teacher: Annotated[str, typer.Option(help="Its joints are labels.")] = "movenet",
    weights: Weights = None,
    epochs: Annotated[float, typer.Option(help="Times every labelled person is seen.")] = 40,
    minutes: Annotated[
        float, typer.Option(help="Train no longer, and run through the schedule faster.")
    ] = math.inf,
    device: Device = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of a CPU. Default: all.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train one of the built-in experts on photographs of people.

    Pictures of LSP-extended whose number ends in 7 are held out, and what is
    printed at the end is measured on them.
    """
    from skelkit.pipelines.train_builtin import Schooling, train_builtin

    settings = Schooling(
        work=work,
        output=out,
        lspet=lspet,
        more=tuple(more or ()),
        detector=detector,
        teacher=teacher,
        weights=weights,
        epochs=epochs,
        minutes=minutes,
        device=device,
        threads=threads,
        seed=seed,
    )

    def told(step: int, figures: dict[str, float]) -> None:
        said = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        typer.echo(f"step {step}: {said}", err=True)

    measured = train_builtin(net, settings, told)
    if as_json:
        typer.echo(json.dumps(measured))
        return
    for name, value in measured.items():
        typer.echo(f"{name}: {value}")
