"""Plain values and arrays as a pickle, piece by piece: what other tools' formats ask for.

Protocol 3 without a memo, so that pieces written one after the other make one value, in constant memory.
Arrays go by their numpy 1 names, which numpy 2 reads as well (the other way does not hold).
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from skelkit.errors import ConfigError

START = pickle.PROTO + b"\x03"
STOP = pickle.STOP
MARK = pickle.MARK
EMPTY_LIST, APPENDS = pickle.EMPTY_LIST, pickle.APPENDS
EMPTY_DICT, SETITEMS = pickle.EMPTY_DICT, pickle.SETITEMS

_EMPTY_ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\n"
    b"cnumpy\nndarray\n" + pickle.BININT1 + b"\x00" + pickle.TUPLE1  # shape (0,)
    + pickle.SHORT_BINBYTES + b"\x01b" + pickle.TUPLE3 + pickle.REDUCE
)  # fmt: skip
_MINUS_ONE = pickle.BININT + b"\xff\xff\xff\xff"


def piece(value: Any) -> bytes:
    """The instructions that put `value` on the stack: None, numbers, text, lists, tuples, dicts, arrays."""
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return _memoless(value)
        case tuple():
            return MARK + b"".join(map(piece, value)) + pickle.TUPLE
        case list():
            return EMPTY_LIST + MARK + b"".join(map(piece, value)) + APPENDS
        case dict():
            items = (piece(part) for item in value.items() for part in item)
            return EMPTY_DICT + MARK + b"".join(items) + SETITEMS
        case np.ndarray():
            return _array(value)
        case _:
            raise ConfigError(f"expected plain values and arrays to pickle, got {type(value).__name__}")


def _memoless(value: str | bytes | float | None) -> bytes:
    """Without the frame, and without storing it in the memo (the last two bytes of text and bytes)."""
    body = pickle.dumps(value, 3)[len(START) : -len(STOP)]
    return body[:-2] if isinstance(value, str | bytes) and body[-2:] == pickle.BINPUT + b"\x00" else body


def _array(array: npt.NDArray[Any]) -> bytes:
    array = np.ascontiguousarray(array).reshape(array.shape)
    kind, order = array.dtype.str[1:], array.dtype.str[0]
    dtype = (
        b"cnumpy\ndtype\n" + piece((kind, False, True)) + pickle.REDUCE
        + MARK + piece(3) + piece(order) + piece(None) * 3 + _MINUS_ONE * 2 + piece(0) + pickle.TUPLE
        + pickle.BUILD
    )  # fmt: skip
    state = piece(1) + piece(array.shape) + dtype + piece(False) + piece(array.tobytes())
    return _EMPTY_ARRAY + MARK + state + pickle.TUPLE + pickle.BUILD
