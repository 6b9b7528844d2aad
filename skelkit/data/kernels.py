"""Loops over stored poses as machine code: compiled where this module is first imported, and kept for later.

All take clips as `skelkit.data.pose_table.StoredClips` holds them: ``block``, bytes of the shards' files;
``clips``, (B, 7) int64 as `CLIP`; ``runs``, (R, 5) int64 as `RUN`: rows of one person that follow each other
in time and in the block; ``grid``, (B, C + 1) float32, origin and step of the coordinates. All are taken as
they come: that they fit each other is checked where a shard's table is made.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np

CLIP = ("begin", "end", "start", "people", "frames", "height", "width")
"""The clip's runs; where its bytes begin in the block; M, T, H, W."""
BEGIN, END, START = range(3)

RUN = ("rows", "person", "step", "keypoints", "scores")
"""How many rows, of which person of the clip, from which time step; where they begin in the clip's bytes."""
ROWS, PERSON, STEP, KEYPOINTS, SCORES = range(5)

RULES = ("presence", "motion", "score")
"""See `skelkit.data.choosing.PeopleRule`."""

# As in fixed_point; here as numbers of their own, for what is kept on disk follows changes of this file only.
MISSING = np.int16(-(2**15))
SCORE_STEP = np.float32(1 / 255)

_CLIPS = "u1[::1],i8[:,::1],i8[:,::1],f4[:,::1]"


def _compiled(arguments: str | None) -> Callable[[Any], Any]:
    """Machine code for these types of arguments only; None = part of the functions that call it."""

    def compile_(function: Any) -> Any:
        njit: Any = partial(numba.njit, nogil=True, error_model="numpy")
        if arguments is None:
            return njit(function)
        try:
            return njit(f"void({arguments})", cache=True)(function)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
            # Nowhere to keep it, or a full disk, or what is there is damaged: every process for itself.
            return njit(f"void({arguments})")(function)

    return compile_


_types: Any = numba.types
_intp, _uintp = _types.intp, _types.uintp
_pread = _types.ExternalFunction("pread", _intp(_types.int32, _uintp, _uintp, _types.int64))
"""Of the C library: ssize_t pread(int fd, void *to, size_t size, off_t offset)."""


@_compiled("i8[::1],i8[:,::1],i8[:,::1],u1[::1],i8[:,::1],i8[::1]")
def fetch(fds, records, reads, block, clips, failed):
    """Read clips into `block`, and `clips` as `CLIP` says.

    Args:
        fds: (B,) open files.
        records: (B, 9) as `skelkit.data.pose_table.PoseTable.clips`.
        reads: (reads, 2) offset and size.
        block: As many bytes as all reads of the records have.
        clips: (B, 7).
        failed: (2,) the clip and the read that did not work are written here.
    """
    at = 0
    for b in range(len(records)):
        clips[b, BEGIN], clips[b, END], clips[b, START] = records[b, 0], records[b, 1], at
        for i in range(4):
            clips[b, 3 + i] = records[b, 5 + i]
        for r in range(records[b, 2], records[b, 3]):
            done = 0
            while done < reads[r, 1]:
                to, left = block.ctypes.data + at + done, reads[r, 1] - done
                got = _pread(np.int32(fds[b]), _uintp(to), _uintp(left), reads[r, 0] + done)
                if got <= 0:
                    failed[0], failed[1] = b, r
                    return
                done += got
            at += done


@_compiled(None)
def _level(block, at):
    """int16 at any byte, odd ones too: where columns begin is up to HDF5. It becomes a single load."""
    return np.int16(np.uint16(block[at]) | np.uint16(block[at + 1]) << np.uint16(8))


@_compiled(None)
def _rows(block, keypoints_at, scores_at, grid, keypoints, visible, scores):
    """Rows that follow each other, in flat loops that suit wide registers."""
    joints = visible.size
    if grid.size == 3:
        level = block[keypoints_at : keypoints_at + 4 * joints]
        x0, y0, step = grid[0], grid[1], grid[2]
        for i in range(joints):
            x, y = _level(level, 4 * i), _level(level, 4 * i + 2)
            seen = x != MISSING
            keypoints[2 * i] = np.float32(x) * step + x0 if seen else np.float32(0)
            keypoints[2 * i + 1] = np.float32(y) * step + y0 if seen else np.float32(0)
            visible[i] = seen
    else:
        level = block[keypoints_at : keypoints_at + 6 * joints]
        x0, y0, z0, step = grid[0], grid[1], grid[2], grid[3]
        for i in range(joints):
            x, y, z = _level(level, 6 * i), _level(level, 6 * i + 2), _level(level, 6 * i + 4)
            seen = x != MISSING
            keypoints[3 * i] = np.float32(x) * step + x0 if seen else np.float32(0)
            keypoints[3 * i + 1] = np.float32(y) * step + y0 if seen else np.float32(0)
            keypoints[3 * i + 2] = np.float32(z) * step + z0 if seen else np.float32(0)
            visible[i] = seen
    score = block[scores_at : scores_at + joints]
    for i in range(joints):
        scores[i] = np.float32(score[i]) * SCORE_STEP


@_compiled(f"{_CLIPS},i8[:,::1],f4[:,:,:,:,::1],b1[:,:,:,::1],f4[:,:,:,::1]")
def decode(block, clips, runs, grid, chosen, keypoints, visible, scores):
    """All time steps of the people `chosen`, (B, M), -1 = nobody, into the arrays of `DensePoses`."""
    count, people, steps, joints, dimensions = keypoints.shape
    width = joints * dimensions
    points = keypoints.reshape(count * people, steps * width)
    seen = visible.reshape(count * people, steps * joints)
    score = scores.reshape(count * people, steps * joints)
    for b in range(count):
        for m in range(people):
            i, end = b * people + m, 0
            for r in range(clips[b, BEGIN], clips[b, END]):
                if runs[r, PERSON] != chosen[b, m]:
                    continue
                start = min(runs[r, STEP], steps)
                stop = min(start + runs[r, ROWS], steps)
                points[i, end * width : start * width] = 0
                seen[i, end * joints : start * joints] = False
                score[i, end * joints : start * joints] = 0
                _rows(
                    block,
                    runs[r, KEYPOINTS] + clips[b, START],
                    runs[r, SCORES] + clips[b, START],
                    grid[b],
                    points[i, start * width : stop * width],
                    seen[i, start * joints : stop * joints],
                    score[i, start * joints : stop * joints],
                )
                end = stop
            points[i, end * width :] = 0
            seen[i, end * joints :] = False
            score[i, end * joints :] = 0


@_compiled(None)
def _total_score(block, base, runs, joints):
    total = 0
    for r in range(len(runs)):
        at = runs[r, SCORES] + base
        for i in range(at, at + runs[r, ROWS] * joints):
            total += block[i]
    return total


@_compiled(None)
def _motion(block, base, runs, joints, dimensions):
    """Sum over joints and coordinates of the standard deviation over time, in steps of the grid."""
    width = joints * dimensions
    total = 0.0
    for j in range(width):
        count, mean, spread = 0, 0.0, 0.0
        for again in range(2):
            for r in range(len(runs)):
                at = runs[r, KEYPOINTS] + base + 2 * j
                for place in range(at, at + 2 * width * runs[r, ROWS], 2 * width):
                    level = _level(block, place)
                    if level != MISSING and again:
                        spread += (level - mean) ** 2
                    elif level != MISSING:
                        mean += level
                        count += 1
            if not again:
                mean /= max(count, 1)
        total += math.sqrt(spread / max(count, 1))
    return total


@_compiled(f"{_CLIPS},i8,i8,i8[:,::1]")
def choose(block, clips, runs, grid, rule, joints, chosen):
    """The people with the highest value by `RULES`, highest first, into `chosen`, (B, M); -1 = nobody."""
    for b in range(len(chosen)):
        base, low, end = clips[b, START], clips[b, BEGIN], clips[b, END]
        value = np.empty(runs[end - 1, PERSON] + 1 if end > low else 0)
        for m in range(value.size):
            high, rows = low, 0
            while high < end and runs[high, PERSON] == m:
                rows += runs[high, ROWS]
                high += 1
            if rule == 0:
                value[m] = rows
            elif rule == 1:
                value[m] = _motion(block, base, runs[low:high], joints, grid.shape[1] - 1)
            else:
                value[m] = _total_score(block, base, runs[low:high], joints) / rows
            low = high
        for i in range(chosen.shape[1]):
            best = -1
            for m in range(value.size):
                if value[m] >= 0 and (best < 0 or value[m] > value[best]):
                    best = m
            chosen[b, i] = best
            if best >= 0:
                value[best] = -1  # taken
