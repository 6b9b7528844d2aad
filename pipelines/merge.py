"""Shards of one recipe -> one shard; shards and datasets of any recipe -> one dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from skelkit.data import MergeSummary, merge_shards
from skelkit.errors import ConfigError
from skelkit.pipelines.build_inputs import find_shards
from skelkit.pipelines.build_posetics import BuildReport, Step, build
from skelkit.pipelines.build_settings import SAME_JOINTS, BuildSettings
from skelkit.pipelines.split import NO_FILTERS
from skelkit.pipelines.spool import open_ours


def merge(output: Path, parts: Sequence[Path], *, overwrite: bool = False) -> MergeSummary:
    """Join shards, clip after clip.

    Args:
        output: The shard to make.
        parts: Shards, folders of shards or datasets, with the same joint sets, experts and recipe.
        overwrite: Replace an existing shard.

    Raises:
        ConfigError: the output exists, and may not be replaced or is not a shard.
        ShardError: the parts do not fit together; nothing is written.
    """
    if output.exists():
        open_ours(output).close()
        if not overwrite:
            raise ConfigError(f"{output} exists; choose another name, or replace it with --overwrite")
    return merge_shards(output, find_shards(parts)[0])


def merge_datasets(
    output: Path,
    parts: Sequence[Path],
    *,
    worker_count: int = 1,
    overwrite: bool = False,
    show: Callable[[Step], None] = lambda step: None,
) -> BuildReport:
    """Join datasets and shards into one dataset; clips keep their labels and splits.

    Args:
        output: The dataset to make.
        parts: Shards, folders of shards or datasets with the same joint set; recipes may differ.
        worker_count: Number of processes.
        overwrite: Replace an existing dataset.
        show: Called with every piece of news.

    Raises:
        SkelkitError: see `build`.
    """
    names = {info.name for info in find_shards(parts)[1]}
    name = names.pop() if len(names) == 1 else "merged"
    settings = BuildSettings(name=name, joints=SAME_JOINTS, filters=NO_FILTERS)
    return build(
        parts, output, settings, job="merge", worker_count=worker_count, overwrite=overwrite, show=show
    )
