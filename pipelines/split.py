"""A dataset -> the same clips in other splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skelkit.data.dataset import DatasetInfo
from skelkit.data.filters import FilterSettings
from skelkit.pipelines.build_posetics import BuildReport, Step, build
from skelkit.pipelines.build_settings import SAME_JOINTS, BuildSettings

NO_FILTERS = FilterSettings(presence=0, failed=False)


def split(
    dataset: Path,
    output: Path,
    how: str,
    *,
    group: str = "",
    seed: int = 0,
    target_mb: float = 64.0,
    worker_count: int = 1,
    overwrite: bool = False,
    show: Callable[[Step], None] = lambda step: None,
) -> BuildReport:
    """Split a dataset anew, into another folder.

    Args:
        dataset: Where the clips are.
        output: The dataset to make.
        how: See `skelkit.data.splits.assign`.
        group: See there.
        seed: See there.
        target_mb: Size of a shard in units of 10^6 bytes.
        worker_count: Number of processes.
        overwrite: Replace the output.
        show: Called with every piece of news.

    Raises:
        SkelkitError: see `build`.
    """
    settings = BuildSettings(
        name=DatasetInfo.read(dataset).name,
        joints=SAME_JOINTS,
        filters=NO_FILTERS,
        split=how,
        group=group,
        seed=seed,
        target_mb=target_mb,
    )
    return build(
        [dataset], output, settings, job="split", worker_count=worker_count, overwrite=overwrite, show=show
    )
