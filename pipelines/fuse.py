"""Several runs' scores -> their fusion, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skelkit.errors import ConfigError
from skelkit.pipelines.results import Result, fuse_scores, read_scores, write_result


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseSummary:
    """Figures of each run alone, and of all together."""

    runs: tuple[Path, ...]
    alone: tuple[Result, ...]
    fused: Result


def fuse(
    runs: Sequence[Path],
    *,
    split: str = "test",
    weights: Sequence[float] = (),
    output: Path | None = None,
) -> FuseSummary:
    """Average the softmax scores that runs have for the same clips, for example joint and bone stream.

    Args:
        runs: Folders of runs that have been tested.
        split: Of what.
        weights: One for each run; none = equal ones.
        output: Folder for the results of the fusion; None = nothing is written.

    Raises:
        ConfigError: fewer than two runs, or they do not fit together.
        InputError: a run without scores of this split.
    """
    if len(runs) < 2:
        raise ConfigError(f"expected at least two runs to fuse, got {len(runs)}")
    parts = [read_scores(run, split) for run in runs]
    fused = fuse_scores(parts, weights or [1.0] * len(parts))
    result = Result.of(fused)
    if output is not None:
        write_result(output, split, fused, result)
    return FuseSummary(runs=tuple(runs), alone=tuple(Result.of(part) for part in parts), fused=result)
