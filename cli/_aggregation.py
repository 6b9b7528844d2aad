"""Options of aggregation, shared by extract and refine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from skelkit.pipelines.aggregate import AggregationSettings

_PANEL = "Aggregation"

Method = Annotated[
    str,
    typer.Option(
        help="consensus; ssta (the thesis' rule: the proposal nearest to the last); none (the first expert).",
        rich_help_panel=_PANEL,
    ),
]
Joints = Annotated[
    str,
    typer.Option(
        help="Joint set of the result: lcr13, posetics17, posetics25, ... or all that some expert has.",
        rich_help_panel=_PANEL,
    ),
]
Gamma = Annotated[
    float,
    typer.Option(help="Confidence C below which a pose counts as discarded.", rich_help_panel=_PANEL),
]
Bridge = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", help="Fill gaps and discarded poses up to this long.", rich_help_panel=_PANEL
    ),
]
Smooth = Annotated[
    list[str] | None,
    typer.Option(
        help="Refiner afterwards, repeatable: one_euro, savitzky_golay, butterworth, remove_outliers; "
        "settings as in savitzky_golay:window_s=0.3.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]


def settings_of(
    method: str, joints: str, gamma: float, bridge: float, smooth: list[str] | None
) -> AggregationSettings:
    """The options as settings."""
    from skelkit.pipelines.aggregate import AggregationSettings

    return AggregationSettings(
        method=method, joints=joints, gamma=gamma, bridge_s=bridge, smooth=tuple(smooth or ())
    )
