"""Shards: writing, reading, merging."""

from skelkit.data.building import DatasetWriter
from skelkit.data.clip import Clip, Status, empty_sequence
from skelkit.data.dataset import DatasetInfo, DatasetReader
from skelkit.data.merging import MergeSummary, merge_shards
from skelkit.data.reader import ShardReader
from skelkit.data.summary import PoseSummary, ShardSummary, describe
from skelkit.data.writer import ShardWriter, write_clip_file

__all__ = [
    "Clip",
    "DatasetInfo",
    "DatasetReader",
    "DatasetWriter",
    "MergeSummary",
    "PoseSummary",
    "ShardReader",
    "ShardSummary",
    "ShardWriter",
    "Status",
    "describe",
    "empty_sequence",
    "merge_shards",
    "write_clip_file",
]
