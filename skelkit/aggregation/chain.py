"""Following a chain of choices through time without a loop over frames.

In equation 3.1 the choice at frame t depends on the past only through the expert chosen at frame t - 1.
So a frame is a map from E possible previous choices to the next one, and a run of frames is the composition
of such maps. Composition is associative: blocks of frames are composed side by side for every possible
entry, then the true entry of each block follows from the exit of the one before it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.intp]


def follow(step: npt.NDArray[np.integer], entry: npt.NDArray[np.integer]) -> Index:
    """The states of N independent chains over T steps.

    Args:
        step: (T, E, N) the state that each of E states turns into at each step.
        entry: (N,) state before the first step.

    Returns:
        (T, N) state after each step. Work T x E x N, in about 2 sqrt(T) numpy calls.
    """
    num_steps, num_states, width = step.shape
    if num_steps == 0 or width == 0:
        return np.empty((num_steps, width), np.intp)
    size = max(1, int(np.sqrt(num_steps)))
    blocks = -(-num_steps // size)
    lane = np.arange(width)
    # Position of (block, state, chain) in a flat array; every entry of `table` points into the next row.
    table = np.empty((blocks * size, num_states, width), np.intp)
    np.multiply(step, width, out=table[:num_steps], dtype=np.intp)
    table[num_steps:] = np.arange(num_states)[:, None] * width  # the tail of the last block stands still
    table += lane
    table = table.reshape(blocks, size, -1).swapaxes(0, 1) + (np.arange(blocks) * num_states * width)[:, None]

    reached = np.empty((size, blocks, num_states * width), np.intp)  # from every entry of every block
    reached[0] = table[0]
    for i in range(1, size):
        np.take(table[i].reshape(-1), reached[i - 1], out=reached[i], mode="clip")

    entries = np.empty((blocks, width), np.intp)  # flat position of each block's true entry
    flat_exit = reached[-1].reshape(-1)
    at = np.asarray(entry, np.intp) * width + lane
    for b in range(blocks):
        entries[b] = at
        at = flat_exit[at] + num_states * width
    states = reached.reshape(size, -1)[:, entries.reshape(-1)].reshape(size, blocks, width)
    states = states.swapaxes(0, 1).reshape(-1, width)[:num_steps]
    return np.asarray(states % (num_states * width) // width)
