"""skelkit extract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ._aggregation import Bridge, Gamma, Joints, Method, Smooth, settings_of
from ._cluster import LOCAL, Scheduler, Where, chosen
from ._errors import INTERRUPTED, one_line
from ._options import (
    DEFAULT_DETECTOR,
    DEFAULT_EXPERTS,
    AsJson,
    Detector,
    Device,
    Experts,
    Fps,
    Stride,
    Weights,
    names_in,
)
from ._progress import Display, print_plan, print_report

_SAMPLING = "Which frames"
_EXPERTS = "Experts"
_RUN = "The run"


def extract(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Videos, folders, globs, folders of numbered images, images, lists (.txt, .csv).",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Argument(help="The shard to make (.h5).", show_default=False)],
    experts: Experts = DEFAULT_EXPERTS,
    detector: Detector = DEFAULT_DETECTOR,
    detector_score: Annotated[
        float, typer.Option(help="Leave out person boxes less sure than this.", rich_help_panel=_EXPERTS)
    ] = 0.3,
    weights: Weights = None,
    device: Device = "auto",
    decoder: Annotated[
        str,
        typer.Option(
            help="What decodes videos: pyav, on the CPU, or torchcodec, on the device (NVDEC on a GPU).",
            rich_help_panel=_RUN,
        ),
    ] = "pyav",
    batch_size: Annotated[
        int, typer.Option(help="Frames worked on at a time.", rich_help_panel=_EXPERTS)
    ] = 16,
    stride: Stride = 1,
    fps: Fps = None,
    start: Annotated[
        float | None, typer.Option(help="Seconds to start at.", rich_help_panel=_SAMPLING)
    ] = None,
    end: Annotated[float | None, typer.Option(help="Seconds to stop at.", rich_help_panel=_SAMPLING)] = None,
    max_people: Annotated[
        int,
        typer.Option(
            help="People kept per clip: those seen longest, largest and moving most.",
            rich_help_panel=_SAMPLING,
        ),
    ] = 32,
    method: Method = "consensus",
    joints: Joints = "lcr13",
    gamma: Gamma = 0.18,
    bridge: Bridge = 0.0,
    smooth: Smooth = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Videos worked on at the same time.", rich_help_panel=_RUN)
    ] = 1,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="0,1,...",
            help="Several devices of this machine, with a process on each; longest videos first. If one is "
            "lost, the others do its part.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Take share I of N (from 0), balanced by duration; `auto` reads a Slurm job array. "
            "Writes OUT-0000I-of-0000N.h5; join them with `skelkit merge`.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Only the first so many inputs.", rich_help_panel=_RUN)
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--overwrite",
            help="Go on where an earlier run stopped, or start afresh and replace the output.",
            rich_help_panel=_RUN,
        ),
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and stop.", rich_help_panel=_RUN)
    ] = False,
    cluster: Where = LOCAL,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Extract the skeletons of people from videos into one shard.

    Every video is on disk as soon as it is done: run the same command again after an interruption and it
    goes on where it stopped. Exit code: 0 all done, 1 some inputs failed or are damaged (the rest is
    complete), 2 the call is wrong, 3 nothing could be done, 130 interrupted.
    """
    try:
        from skelkit.pipelines.devices import parse
        from skelkit.pipelines.extract import extract as run
        from skelkit.pipelines.extract import plan
        from skelkit.pipelines.settings import ExtractSettings, Share

        settings = ExtractSettings(
            experts=names_in(experts),
            detector=detector,
            detector_score=detector_score,
            weights=str(weights) if weights else None,
            device=device,
            decoder=decoder,
            batch_size=batch_size,
            stride=stride,
            target_fps=fps,
            start_s=start,
            end_s=end,
            max_people=max_people,
            aggregation=settings_of(method, joints, gamma, bridge, smooth),
        )
        task = plan(inputs, output, settings, share=Share.parse(shard) if shard else None, limit=limit)
        if dry_run:
            print_plan(task, as_json=as_json)
            return
        with Display(len(task.sources)) as display:
            report = run(
                task,
                settings,
                worker_count=workers,
                device_names=() if devices is None else parse(devices),
                cluster=chosen(cluster, scheduler, display.say),
                overwrite=not resume,
                show=display.show,
                say=lambda text: display.say(escape(one_line(text))),
            )
    except KeyboardInterrupt:
        same = "the same command" if resume else "the same command without --overwrite"
        typer.echo(f"skelkit: interrupted; finished videos are kept, {same} goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(report.to_json(), ensure_ascii=True))
    else:
        print_report(report)
    raise typer.Exit(report.exit_code)
