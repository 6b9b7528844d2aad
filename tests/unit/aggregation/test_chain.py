import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skelkit.aggregation.chain import follow


@given(st.integers(0, 90), st.integers(1, 5), st.integers(0, 99), st.integers(0, 2**32 - 1))
def test_follow_is_the_loop_over_frames(steps: int, states: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = rng.integers(0, states, (steps, states, width))
    entry = rng.integers(0, states, width)
    want, at = [], entry
    for t in range(steps):
        at = step[t, at, np.arange(width)]
        want.append(at)
    got = follow(step.astype(np.int8), entry)
    assert got.shape == (steps, width)
    assert np.array_equal(got, np.asarray(want).reshape(steps, width))
