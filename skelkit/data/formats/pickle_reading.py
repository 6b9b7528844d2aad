"""Pickles as data: an interpreter that has no instruction for calling anything.

A pickle is a program. This reads the few instructions that build plain values (`_Reader`), and takes the
names of functions in it as names: `_RECIPES` says what each of the few known ones stands for. Whatever else
a pickle asks for is refused before anything has happened. Memory stays in proportion to the file: arrays and
texts can hold no more bytes than the file does, however often they are referred to.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from skelkit.errors import InputError

_SLACK = 2**16
_MAX_DIMENSIONS = 32
_PLAIN_KEYS = (str, int, float, bytes, bool, type(None))


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """The value in a pickle of plain containers, numbers, text and numpy arrays; nothing in it is run.

    The whole value comes into memory. Read are the pickles of protocols 0 to 5 by Python 2 and 3, numpy 1
    and 2. Dictionaries of all kinds are read as dict; text of Python 2 as Latin-1.

    Raises:
        InputError: it holds anything else (other classes or functions, arrays of Python objects), is
            damaged, or cannot be read.
    """
    source = Path(path)
    try:
        with source.open("rb") as file, _mapped(file.fileno()) as data:
            return _Reader(len(data)).run(data)
    except _RefusedError as error:
        raise InputError(
            f"{path}: refused this pickle: {error}; expected plain containers, numbers, text and numpy "
            "arrays, and nothing was run",
            path=path,
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", path=path) from error
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{path}: expected a pickle, got something else or one that is damaged ({error}); "
            "try fetching it again",
            path=path,
        ) from error


class _RefusedError(Exception):
    """The pickle asks for something that is not data."""


class _Name(NamedTuple):
    """A function or class as the pickle names it: no more than that."""

    module: str
    name: str


class _Dtype:
    """A numpy dtype in the making."""

    def __init__(self, spec: Any) -> None:
        text = spec.decode("ascii") if isinstance(spec, bytes) else spec
        if not isinstance(text, str) or not text.isalnum():
            raise _RefusedError(f"an array of type {text!r:.40}")
        dtype = np.dtype(text)
        if dtype.kind not in "biufSU" or dtype.itemsize == 0:
            raise _RefusedError(f"an array of {dtype}")
        self.dtype: np.dtype[Any] = dtype

    def build(self, state: Any) -> None:
        order: Any = state[1]
        if any(part is not None for part in state[2:5]):
            raise _RefusedError("an array with fields")
        order = order.decode("ascii") if isinstance(order, bytes) else order
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """A numpy array in the making: its content comes with a later instruction."""

    def __init__(self) -> None:
        self.places: list[int] = []
        """Numbers under which it has been remembered."""


class _Reader:
    def __init__(self, size: int) -> None:
        self._budget = size + _SLACK
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: Any) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name in _PUSHED:
                self._stack.append(argument)
            elif name in _FIXED:
                self._stack.append(_FIXED[name]())
            elif name in _INSTRUCTIONS:
                _INSTRUCTIONS[name](self, argument)
            elif name not in _IGNORED:
                raise _RefusedError(f"the instruction {name}")
        (value,) = self._stack
        return value

    def spend(self, size: int) -> None:
        """Take from what the file can possibly hold."""
        self._budget -= size
        if self._budget < 0:
            raise _RefusedError("its arrays claim more bytes than the file has")

    # The stack

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _items(self) -> list[Any]:
        """What lies above the mark."""
        items, self._stack = self._stack, self._below.pop()
        return items

    def _top(self, kind: type) -> Any:
        top = self._stack[-1]
        if type(top) is not kind:
            raise _RefusedError(f"{type(top).__name__} used as {kind.__name__}")
        return top

    def _fixed_tuple(count: int) -> Callable[[_Reader, Any], None]:  # type: ignore[misc]  # noqa: N805
        def instruction(self: _Reader, _: Any) -> None:
            if len(self._stack) < count:
                raise IndexError("stack too short")
            self._stack[-count:] = [tuple(self._stack[-count:])]

        return instruction

    _tuple1, _tuple2, _tuple3 = _fixed_tuple(1), _fixed_tuple(2), _fixed_tuple(3)

    def _tuple(self, _: Any) -> None:
        items = tuple(self._items())
        self._stack.append(items)

    def _list(self, _: Any) -> None:
        items = self._items()
        self._stack.append(items)

    def _dict(self, _: Any) -> None:
        items = self._items()
        self._stack.append({})
        self._set(items)

    def _frozenset(self, _: Any) -> None:
        items = self._items()
        self._stack.append(frozenset(map(_key, items)))

    def _append(self, _: Any) -> None:
        item = self._stack.pop()
        self._top(list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._items()
        self._top(list).extend(items)

    def _add_items(self, _: Any) -> None:
        items = self._items()
        self._top(set).update(map(_key, items))

    def _set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _set_items(self, _: Any) -> None:
        self._set(self._items())

    def _set(self, items: list[Any]) -> None:
        into = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            into[_key(key)] = value

    # What is remembered

    def _remember(self, number: int | None) -> None:
        value, place = self._stack[-1], len(self._memo) if number is None else number
        self._memo[place] = value
        if isinstance(value, _Array):
            value.places.append(place)

    def _recall(self, number: int) -> None:
        self._stack.append(self._memo[number])

    # Names, and what they stand for

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(_known(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise _RefusedError("a name that is not text")
        self._stack.append(_known(module, name))

    def _reduce(self, _: Any) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if type(name) is not _Name or type(arguments) is not tuple:
            raise _RefusedError("a call of something that is not a name")
        self._stack.append(_RECIPES[name](self, *arguments))

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is _Dtype:
            target.build(state)
        elif type(target) is _Array:
            _, shape, dtype, fortran, content = state
            self._stack[-1] = self.array(content, dtype, shape, "F" if fortran else "C")
            for place in target.places:
                self._memo[place] = self._stack[-1]
        else:
            raise _RefusedError(f"a state for {type(target).__name__}")

    def array(self, content: Any, dtype: Any, shape: Any, order: str) -> npt.NDArray[Any]:
        """An array with a copy of `content`."""
        if isinstance(content, str):  # of Python 2
            content = content.encode("latin-1")
        if (
            type(dtype) is not _Dtype
            or type(shape) is not tuple
            or not isinstance(content, bytes | bytearray)
        ):
            raise _RefusedError("an array of Python objects")
        sizes = [int(n) for n in shape]
        wanted = math.prod(sizes) * dtype.dtype.itemsize
        if len(sizes) > _MAX_DIMENSIONS or any(n < 0 for n in sizes) or wanted != len(content):
            raise _RefusedError(f"an array of shape {shape!r:.60} with {len(content)} bytes")
        self.spend(wanted)
        flat = np.frombuffer(content, dtype.dtype).copy()
        return flat.reshape(sizes, order="F" if order == "F" else "C")


def _known(module: str, name: str) -> _Name:
    found = _Name(module, name)
    if found not in _RECIPES:
        raise _RefusedError(f"it names {module}.{name}"[:120])
    return found


def _key(key: Any) -> Any:
    """A key that hashes in constant time: a tuple of tuples of tuples takes forever."""
    if not isinstance(key, _PLAIN_KEYS):
        raise _RefusedError(f"a {type(key).__name__} as a key")
    return key


# What the known names make of their arguments


def _empty_array(_: _Reader, kind: Any, *__: Any) -> _Array:
    if kind != _Name("numpy", "ndarray"):
        raise _RefusedError("an array of another class")
    return _Array()


def _make_dtype(_: _Reader, spec: Any, *__: Any) -> _Dtype:
    return _Dtype(spec)


def _from_buffer(reader: _Reader, content: Any, dtype: Any, shape: Any, order: Any) -> Any:
    return reader.array(content, dtype, shape, order)


def _scalar(reader: _Reader, dtype: Any, content: Any) -> Any:
    return reader.array(content, dtype, (), "C").item()


def _encode(reader: _Reader, text: Any, encoding: Any = None) -> bytes:
    """How Python 3 writes bytes for Python 2 to read."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"text in the encoding {encoding!r:.40}")
    reader.spend(len(text))
    return text.encode("latin-1")


def _no_bytes(_: _Reader) -> bytes:
    return b""


def _make_set(reader: _Reader, items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise _RefusedError("a set of something that is not a list")
    reader.spend(8 * len(items))
    return set(map(_key, items))


def _make_dict(reader: _Reader, *arguments: Any) -> dict[Any, Any]:
    """OrderedDict, of pairs in Python 2; defaultdict, whose default is not kept."""
    pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
    reader.spend(16 * len(pairs))
    return {_key(key): value for key, value in pairs}


def _only_a_name(*_: Any) -> Any:
    raise _RefusedError("a call of a class")


_RECIPES: dict[_Name, Callable[..., Any]] = {
    _Name("numpy", "ndarray"): _only_a_name,
    _Name("numpy", "dtype"): _make_dtype,
    _Name("_codecs", "encode"): _encode,
    _Name("collections", "OrderedDict"): _make_dict,
    _Name("collections", "defaultdict"): _make_dict,
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
    _RECIPES[_Name(f"{_core}.multiarray", "_reconstruct")] = _empty_array
    _RECIPES[_Name(f"{_core}.multiarray", "scalar")] = _scalar
    _RECIPES[_Name(f"{_core}.numeric", "_frombuffer")] = _from_buffer
for _builtins in ("builtins", "__builtin__"):  # Python 3 and 2
    _RECIPES[_Name(_builtins, "set")] = _RECIPES[_Name(_builtins, "frozenset")] = _make_set
    _RECIPES[_Name(_builtins, "bytes")] = _no_bytes
    for _class in ("list", "dict", "int", "float", "str", "tuple"):  # the defaults of defaultdict
        _RECIPES[_Name(_builtins, _class)] = _only_a_name

_IGNORED = {"PROTO", "FRAME", "STOP"}
_PUSHED = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING"}
    | {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
    | {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_FIXED: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_INSTRUCTIONS: dict[str, Callable[[_Reader, Any], None]] = {
    "MARK": _Reader._mark,
    "TUPLE": _Reader._tuple,
    "TUPLE1": _Reader._tuple1,
    "TUPLE2": _Reader._tuple2,
    "TUPLE3": _Reader._tuple3,
    "LIST": _Reader._list,
    "DICT": _Reader._dict,
    "FROZENSET": _Reader._frozenset,
    "APPEND": _Reader._append,
    "APPENDS": _Reader._appends,
    "ADDITEMS": _Reader._add_items,
    "SETITEM": _Reader._set_item,
    "SETITEMS": _Reader._set_items,
    "PUT": _Reader._remember,
    "BINPUT": _Reader._remember,
    "LONG_BINPUT": _Reader._remember,
    "MEMOIZE": _Reader._remember,
    "GET": _Reader._recall,
    "BINGET": _Reader._recall,
    "LONG_BINGET": _Reader._recall,
    "GLOBAL": _Reader._global,
    "STACK_GLOBAL": _Reader._stack_global,
    "REDUCE": _Reader._reduce,
    "BUILD": _Reader._build,
}


@contextlib.contextmanager
def _mapped(descriptor: int) -> Iterator[Any]:
    """The file as pickletools wants it: whatever length is claimed, no more is read than there is."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:  # ValueError where it is empty
        yield data
