"""skelkit train-student and self-train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ._aggregation import Gamma
from ._options import (
    DEFAULT_DETECTOR,
    DEFAULT_EXPERTS,
    AsJson,
    Detector,
    Device,
    Experts,
    Weights,
    names_in,
)

_LEARNING = "Learning"

Epochs = Annotated[int, typer.Option(help="Times every picture is seen.", rich_help_panel=_LEARNING)]
BatchSize = Annotated[int, typer.Option(help="Pictures per step.", rich_help_panel=_LEARNING)]
Rate = Annotated[float, typer.Option("--lr", help="Highest learning rate.", rich_help_panel=_LEARNING)]
Seed = Annotated[int, typer.Option(help="Of all chance.", rich_help_panel=_LEARNING)]
Validation = Annotated[
    float, typer.Option(help="Share of the pictures that is only measured on.", rich_help_panel=_LEARNING)
]
Degrade = Annotated[
    float,
    typer.Option(
        help="Share of the pictures reduced to 320 x 180 with people partly hidden (NTU-Pose's protocol).",
        rich_help_panel=_LEARNING,
    ),
]


def train_student(
    images: Annotated[Path, typer.Argument(help="Folder of pictures.", show_default=False)],
    labels: Annotated[
        Path, typer.Argument(help="Their people: COCO keypoints JSON or LSP npz.", show_default=False)
    ],
    output: Annotated[Path, typer.Argument(help="The student (.safetensors).", show_default=False)],
    backbone: Annotated[str, typer.Option(help="small, for CPUs, or resnet50, the paper's.")] = "small",
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained/--from-scratch",
            help="Whether the small backbone begins as that of the built-in network that finds people.",
        ),
    ] = True,
    anchors: Annotated[int, typer.Option(help="B, anchor poses.")] = 20,
    regions: Annotated[int, typer.Option(help="Of a picture, that a loss is made of.")] = 512,
    side: Annotated[int, typer.Option(help="Pixels of the longer side of what the network sees.")] = 320,
    epochs: Epochs = 12,
    batch_size: BatchSize = 4,
    lr: Rate = 1e-3,
    backbone_lr: Annotated[
        float,
        typer.Option(
            help="Learning rate of a pretrained backbone, as a share of --lr; at 0 it stays as it is, and an "
            "epoch takes less than half the time.",
            rich_help_panel=_LEARNING,
        ),
    ] = 0.1,
    validation: Validation = 0.2,
    degrade: Degrade = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train LCR-Net++ from labelled pictures; `skelkit self-train` refines it without labels."""
    from skelkit.pipelines.student import LearningSettings, StudentSettings
    from skelkit.pipelines.student import train_student as run

    settings = StudentSettings(
        backbone=backbone,
        pretrained=pretrained,
        anchors=anchors,
        regions=regions,
        side=side,
        validation=validation,
        degrade=degrade,
        learning=LearningSettings(
            epochs=epochs, batch_size=batch_size, lr=lr, backbone=backbone_lr, seed=seed
        ),
    )
    done = run(images, labels, output, settings, device=device, tell=_tell)
    if as_json:
        typer.echo(json.dumps(done))
        return
    typer.echo(f"{done['learnt']} pictures learnt from -> {output}")
    typer.echo(f"on {done['measured']} others: {_figures(done)}")


def self_train(
    inputs: Annotated[
        list[str],
        typer.Argument(help="Videos without labels: what `skelkit extract` takes.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Argument(help="Folder of the run; the same call goes on in it.", show_default=False)
    ],
    student: Annotated[
        Path,
        typer.Option(help="The network to refine; `skelkit train-student` makes one.", show_default=False),
    ],
    experts: Experts = DEFAULT_EXPERTS,
    detector: Detector = DEFAULT_DETECTOR,
    weights: Weights = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Videos the experts work on at a time.")] = 1,
    share: Annotated[float, typer.Option(help="Of each video's frames, uniformly sampled.")] = 0.1,
    method: Annotated[str, typer.Option(help="Of aggregation: ssta or consensus.")] = "ssta",
    gamma: Gamma = 0.18,
    min_experts: Annotated[int, typer.Option(min=1, help="People whom fewer experts see are in doubt.")] = 2,
    epochs: Epochs = 6,
    batch_size: BatchSize = 4,
    lr: Rate = 1e-4,
    validation: Validation = 0.2,
    degrade: Degrade = 0.0,
    regression: Annotated[
        bool,
        typer.Option(
            "--regression/--no-regression",
            help="Whether the regression learns, too: for students whose poses are worse than the experts'.",
            rich_help_panel=_LEARNING,
        ),
    ] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Refine a student by what several experts agree on in videos without labels (SSTA-PRS).

    The experts' poses are aggregated; those with a confidence of at least
    gamma become pseudo ground truth. From it the student learns where people
    are and which anchor pose they take; the regression only if asked for.
    """
    from skelkit.pipelines.aggregate import AggregationSettings
    from skelkit.pipelines.self_train import SelfTrainSettings
    from skelkit.pipelines.self_train import self_train as run
    from skelkit.pipelines.settings import ExtractSettings
    from skelkit.pipelines.student import LearningSettings

    from ._progress import Display

    learning = LearningSettings(weak=not regression, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed)
    asked = ExtractSettings(
        experts=names_in(experts),
        detector=detector,
        weights=str(weights) if weights else None,
        device=device,
        aggregation=AggregationSettings(method=method, gamma=gamma),
    )
    done = run(
        inputs,
        output,
        student,
        SelfTrainSettings(
            share=share, min_experts=min_experts, validation=validation, degrade=degrade, learning=learning
        ),
        asked,
        worker_count=workers,
        device=device,
        display=Display,
        tell=_tell,
    )
    if as_json:
        typer.echo(json.dumps(done))
        return
    typer.echo(
        f"{done['people']} people in {done['pictures']} of {done['frames']} frames, and "
        f"{done['people_in_doubt']} of whom the experts are not sure"
    )
    typer.echo(f"{done['learnt']} pictures learnt from -> {output / 'student.safetensors'}")
    typer.echo(f"on {done['measured']} others, against the pseudo ground truth:")
    typer.echo(f"  before {_figures(done['before'])}")
    typer.echo(f"  after  {_figures(done['after'])}")


def _tell(epoch: int, losses: dict[str, float]) -> None:
    shown = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
    typer.echo(f"epoch {epoch + 1}  {shown}", err=True)


def _figures(found: dict[str, Any]) -> str:
    return f"{found['recall']:.1%} of people found, PCK@0.2 {found['pck']:.3f}"
