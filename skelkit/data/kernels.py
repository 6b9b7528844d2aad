"""Loops over stored poses as machine code: compiled where this module is first imported, and kept for later.

What they take of a shard is as `skelkit.data.pose_table.PoseTable` has it, and taken as it comes: that it
fits together is checked where a shard's table is made.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np

CLIP = ("first_run", "end_run", "first_read", "end_read", "bytes", "people", "frames", "height", "width")
"""The clip's runs; its reads, and the bytes of all of them; M, T, H, W."""
FIRST_RUN, END_RUN, FIRST_READ, END_READ, BYTES, PEOPLE, FRAMES = range(7)

RUN = ("rows", "person", "step", "keypoints", "scores", "keypoints_in_file", "scores_in_file")
"""Rows of one person that follow each other in time and in the file: how many, of which person of the clip,
from which time step; where they begin in what is read of the clip, and in the file."""
ROWS, PERSON, STEP, READ, IN_FILE = 0, 1, 2, 3, 5
KEYPOINTS, SCORES = 0, 1
"""Behind `READ` or `IN_FILE`."""

RULES = ("presence", "motion", "score")
"""See `skelkit.data.choosing.PeopleRule`."""

# As in fixed_point; here as numbers of their own, for what is kept on disk follows changes of this file only.
MISSING = np.int16(-(2**15))
SCORE_STEP = np.float32(1 / 255)


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


_numba: Any = numba  # much of which has no types
_types, _intrinsic, _array_at = _numba.types, _numba.extending.intrinsic, _numba.carray
_intp, _uintp = _types.intp, _types.uintp
_pread = _types.ExternalFunction("pread", _intp(_types.int32, _uintp, _uintp, _types.int64))
"""Of the C library: ssize_t pread(int fd, void *to, size_t size, off_t offset)."""


@_intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """An address, int64, as a pointer to bytes."""
    from numba.core.cgutils import voidptr_t

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], voidptr_t)

    return _types.CPointer(_types.uint8)(_types.int64), generate


@_compiled(None)
def _fetch(fd, reads, block):
    """The bytes of a clip; returns how many reads worked."""
    at = 0
    for r in range(len(reads)):
        done = 0
        while done < reads[r, 1]:
            to, left = block.ctypes.data + at + done, reads[r, 1] - done
            got = _pread(np.int32(fd), _uintp(to), _uintp(left), reads[r, 0] + done)
            if got <= 0:
                return r
            done += got
        at += done
    return len(reads)


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


@_compiled(None)
def _decode(block, where, runs, grid, person, keypoints, visible, scores):
    """All time steps of a person; nobody's number gives an empty one."""
    steps, joints = visible.shape
    points, seen, score = keypoints.ravel(), visible.ravel(), scores.ravel()
    width = joints * keypoints.shape[2]
    end = 0
    for r in range(len(runs)):
        if runs[r, PERSON] != person:
            continue
        start = min(runs[r, STEP], steps)
        stop = min(start + runs[r, ROWS], steps)
        points[end * width : start * width] = 0
        seen[end * joints : start * joints] = False
        score[end * joints : start * joints] = 0
        _rows(
            block,
            runs[r, where + KEYPOINTS],
            runs[r, where + SCORES],
            grid,
            points[start * width : stop * width],
            seen[start * joints : stop * joints],
            score[start * joints : stop * joints],
        )
        end = stop
    points[end * width :] = 0
    seen[end * joints :] = False
    score[end * joints :] = 0


@_compiled(None)
def _total_score(block, where, runs, joints):
    total = 0
    for r in range(len(runs)):
        at = runs[r, where + SCORES]
        for i in range(at, at + runs[r, ROWS] * joints):
            total += block[i]
    return total


@_compiled(None)
def _motion(block, where, runs, joints, dimensions):
    """Sum over joints and coordinates of the standard deviation over time, in steps of the grid."""
    width = joints * dimensions
    total = 0.0
    for j in range(width):
        count, mean, spread = 0, 0.0, 0.0
        for again in range(2):
            for r in range(len(runs)):
                at = runs[r, where + KEYPOINTS] + 2 * j
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


@_compiled(None)
def _choose(block, where, runs, rule, joints, dimensions, chosen):
    """The people with the highest value by `RULES`, highest first, into `chosen`, (M,); -1 = nobody."""
    low, end = 0, len(runs)
    value = np.empty(runs[end - 1, PERSON] + 1 if end else 0)
    for m in range(value.size):
        high, rows = low, 0
        while high < end and runs[high, PERSON] == m:
            rows += runs[high, ROWS]
            high += 1
        if rule == 0:
            value[m] = rows
        elif rule == 1:
            value[m] = _motion(block, where, runs[low:high], joints, dimensions)
        else:
            value[m] = _total_score(block, where, runs[low:high], joints) / rows
        low = high
    for i in range(chosen.size):
        best = -1
        for m in range(value.size):
            if value[m] >= 0 and (best < 0 or value[m] > value[best]):
                best = m
        chosen[i] = best
        if best >= 0:
            value[best] = -1  # taken


_READ = (
    "i8[::1],i8[:,::1],i8[:,::1],i8[:,::1],i8[:,::1],f4[:,::1],i8,"
    "i8[:,::1],f4[:,:,:,:,::1],b1[:,:,:,::1],f4[:,:,:,::1],i8[::1]"
)


@_compiled(_READ)
def read(fds, maps, clips, reads, runs, grid, rule, chosen, keypoints, visible, scores, failed):
    """Read clips and decode them, one after the other: what is read of a clip stays near the processor.

    Args:
        fds: (B,) open files.
        maps: (B, 2) address and bytes of the file in memory; address 0 = read the file.
        clips: (B, 9) as `CLIP`.
        reads: (reads, 2) offset and size in the file.
        runs: (R, 7) as `RUN`.
        grid: (B, C + 1) origin and step of the coordinates.
        rule: Which people are wanted: number of one of `RULES`; -1 = the first ones.
        chosen: (B, M) which they are is written here; -1 = nobody.
        keypoints: (B, M, T, K, C), this and what follows as in `skelkit.data.pose_table.DensePoses`.
        visible: (B, M, T, K).
        scores: (B, M, T, K).
        failed: (2,) the clip and the read that did not work are written here.
    """
    joints, dimensions = keypoints.shape[3:]
    room = np.empty(max(1, clips[:, BYTES].max()), np.uint8)
    for b in range(len(clips)):
        if maps[b, 0]:
            block, where = _array_at(_pointer(maps[b, 0]), maps[b, 1]), IN_FILE
        else:
            block, where = room, READ
            first, end = clips[b, FIRST_READ], clips[b, END_READ]
            worked = _fetch(fds[b], reads[first:end], room)
            if worked < end - first:
                failed[0], failed[1] = b, first + worked
                return
        own = runs[clips[b, FIRST_RUN] : clips[b, END_RUN]]
        if rule >= 0:
            _choose(block, where, own, rule, joints, dimensions, chosen[b])
        else:
            for m in range(chosen.shape[1]):
                chosen[b, m] = m if m < clips[b, PEOPLE] else -1
        for m in range(chosen.shape[1]):
            _decode(block, where, own, grid[b], chosen[b, m], keypoints[b, m], visible[b, m], scores[b, m])
