"""Shards: writing, reading, merging."""
