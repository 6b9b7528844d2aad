"""Shards of one recipe -> one shard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skelkit.data import MergeSummary, merge_shards
from skelkit.errors import ConfigError
from skelkit.pipelines.spool import open_ours


def merge(output: Path, parts: Sequence[Path], *, overwrite: bool = False) -> MergeSummary:
    """Join shards, clip after clip.

    Args:
        output: The shard to make.
        parts: Shards with the same joint sets, experts and recipe.
        overwrite: Replace an existing shard.

    Raises:
        ConfigError: the output exists, and may not be replaced or is not a shard.
        ShardError: the parts do not fit together; nothing is written.
    """
    if output.exists():
        open_ours(output).close()
        if not overwrite:
            raise ConfigError(f"{output} exists; choose another name, or replace it with --overwrite")
    return merge_shards(output, parts)
