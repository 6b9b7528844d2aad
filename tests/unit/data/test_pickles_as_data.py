"""Pickles of strangers: everything plain is read, everything else is refused, and nothing is run."""

from __future__ import annotations

import builtins
import collections
import contextlib
import io
import os
import pickle
import pickletools
import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skelkit.data.formats import pickle_writing
from skelkit.data.formats.pickle_reading import read_pickle
from skelkit.errors import InputError

PLAIN: dict[str, Any] = {
    "text": "é",
    "empty": "",
    "bytes": b"\x00\xff",
    "no bytes": b"",
    "numbers": [0, -1, 255, 65536, 2**40, 2**200, 1.5, float("inf"), True, None],
    "nested": {"a": ({1: [()]}, [], {})},
    "set": {1, "b"},
    "frozen": frozenset({1}),
    "float32": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
    "float16": np.float16([1.5, np.nan]),
    "order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "endian": np.arange(3, dtype=">i4"),
    "texts": np.asarray(["ab", "c"]),
    "flags": np.asarray([True, False]),
    "no people": np.zeros((0, 5, 17, 2), np.float32),
    "ordered": collections.OrderedDict(b=1, a=2),
    "default": collections.defaultdict(list, {"a": [1]}),
    "numpy float": np.float32(2.5),
    "numpy int": np.int64(7),
}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    shared = PLAIN | {"again": PLAIN["float32"], "and again": PLAIN["nested"]}
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(shared, protocol))
    back = read_pickle(path)
    assert list(back) == list(shared)
    for name, value in shared.items():
        np.testing.assert_array_equal(back[name], value)
        if isinstance(value, np.ndarray):
            assert type(back[name]) is np.ndarray and back[name].dtype == value.dtype
    assert back["again"] is back["float32"]
    assert type(back["ordered"]) is type(back["default"]) is dict
    assert list(back["ordered"]) == ["b", "a"]


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_names_of_numpy_1_and_2(tmp_path: Path, core: bytes) -> None:
    data = pickle.dumps(PLAIN["float32"], 2).replace(b"numpy._core", core).replace(b"numpy.core", core)
    (tmp_path / "a.pkl").write_bytes(data)
    np.testing.assert_array_equal(read_pickle(tmp_path / "a.pkl"), PLAIN["float32"])


def test_python_2(tmp_path: Path) -> None:
    # {'keypoint': np.float32([1, 2]), 'label': 3} by cPickle, protocol 2 (text as SHORT_BINSTRING).
    data = (
        b"\x80\x02}q\x01(U\x08keypointq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
        b"K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02\x85cnumpy\ndtype\nq\x06U\x02f4K\x00K\x01\x87Rq\x07(K\x03U\x01<NNNJ"
        b"\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tbU\x05labelK\x03u."
    )
    (tmp_path / "a.pkl").write_bytes(data)
    back = read_pickle(tmp_path / "a.pkl")
    assert back["keypoint"].tolist() == [1, 2] and back["label"] == 3


class Call:
    """What pickles as a call."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


def _object_array(count: int) -> bytes:
    """An array of objects that claims more of them than it has: numpy itself would read past the end."""
    state = (1, (count,), np.dtype("O"), False, [0])
    return pickle.dumps(Call(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=state), 2)  # type: ignore[attr-defined]


def _array(**changes: Any) -> bytes:
    state = {"shape": (2,), "dtype": np.dtype("f4"), "data": b"\0" * 8} | changes
    values = (1, state["shape"], state["dtype"], False, state["data"])
    return pickle.dumps(Call(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=values), 2)  # type: ignore[attr-defined]


MALICIOUS: dict[str, bytes] = {
    "os.system": pickle.dumps(Call(os.system, "touch RAN")),
    "eval": pickle.dumps(Call(eval, "open('RAN', 'w')")),
    "exec": pickle.dumps(Call(exec, "open('RAN', 'w')"), 0),
    "open": pickle.dumps(Call(open, "RAN", "w")),
    "getattr chain": pickle.dumps(Call(getattr, "", "join")),
    "nested": pickle.dumps([{"a": (1, [Call(os.mkdir, "RAN")])}]),
    "call of a call": b"\x80\x04c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'mkdir'\ntR"
    b"(S'RAN'\ntR.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
    "dotted module": b"\x80\x04\x8c\x03os.\x8c\x06system\x93.",
    "numpy's own loader": b"\x80\x02cnumpy\nload\n(X\x03\0\0\0RANtR.",
    "numpy testing": b"\x80\x02cnumpy.testing._private.utils\nrunstring\n(X\x03\0\0\0RAN}tR.",
    "inst": b"(S'touch RAN'\nios\nsystem\n.",
    "obj": b"(cos\nmkdir\nS'RAN'\no.",
    "newobj": b"\x80\x04cos\nmkdir\n(S'RAN'\nt\x81.",
    "persistent id": b"Pos.system\n.",
    "extension": b"\x80\x02\x82\x01.",
    "a class": pickle.dumps(Fraction(1, 2)),
    "a state for a dict": b"\x80\x02}}X\x01\0\0\0aK\x01sb.",
    "a state for a name": b"\x80\x02c__builtin__\nset\n}X\x01\0\0\0aK\x01sb.",
    "objects in an array": pickle.dumps(np.asarray([os.sep, {}], object)),
    "more objects than there are": _object_array(10**9),
    "fields": pickle.dumps(np.zeros(2, [("a", "f4")])),
    "a record's dtype": _array(dtype=np.dtype([("a", "O")])),
    "a huge array of nothing": _array(shape=(10**12,)),
    "sizes that overflow": _array(shape=(2**32, 2**32, 2)),
    "a negative size": _array(shape=(-2,)),
    "too few bytes": _array(data=b"\0"),
    "a list as content": _array(data=[1.0, 2.0]),
    "codecs of another kind": b"\x80\x02c_codecs\nencode\n(X\x01\0\0\0aX\x03\0\0\0hextR.",
    "bytes of a size": b"\x80\x02c__builtin__\nbytes\n(J\xff\xff\xff\x7ftR.",
    "int of a text": b"\x80\x02c__builtin__\nint\n(X\x01\0\0\x009tR.",
    "a bytes object that is longer than the file": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"a.",
    "a text that is longer than the file": b"\x80\x04X" + struct.pack("<I", 2**31) + b"a.",
    "a list as a key": b"\x80\x02}]Ns.",
    "a key that takes forever to hash": b"\x80\x02}" + b")" + b"\x85" + b"2\x86" * 60 + b"Ns.",
    "nothing": b"",
    "text": b"hello",
    "no end": b"\x80\x02]",
    "no value": b"\x80\x02.",
    "an empty stack": b"\x80\x02s.",
    "no mark": b"\x80\x02t.",
    "nothing remembered": b"\x80\x02h\x05.",
    "a number too long": b"I" + b"9" * 10_000 + b"\n.",
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    path = tmp_path / "bad.pkl"
    path.write_bytes(MALICIOUS[name])
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"bad\.pkl"):
            read_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert not list(Path().iterdir())


def test_the_refusal_says_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(MALICIOUS["os.system"])
    with pytest.raises(InputError, match=r"it names \w+\.system.*nothing was run"):
        read_pickle(tmp_path / "a.pkl")


def test_the_memo_takes_no_room_for_numbers_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02]r\xff\xff\xff\xff.")  # C's unpickler would fill 64 GB
    assert read_pickle(tmp_path / "a.pkl") == []


def test_bytes_that_many_arrays_share_do_not_multiply(tmp_path: Path) -> None:
    """One block of bytes, remembered and made an array of again and again."""
    block = b"B" + struct.pack("<I", 2**16) + b"\0" * 2**16
    one = pickle.dumps(np.zeros(2**16, np.uint8), 3)
    one = one[one.index(b"cnumpy") : -1]
    at = one.index(block)
    again = one[:at] + b"h\xc8" + one[at + len(block) + 2 :]  # the block from the memo
    body = b"\x80\x03](" + block + b"q\xc8" + again * 5 + b"e."
    assert len(pickle.loads(body)) == 6
    (tmp_path / "a.pkl").write_bytes(body)
    with pytest.raises(InputError, match="more bytes than the file"):
        read_pickle(tmp_path / "a.pkl")


def test_arrays_are_copies_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(np.zeros(3), 5))
    read_pickle(tmp_path / "a.pkl")[0] = 1


VALID = [pickle.dumps(PLAIN, protocol) for protocol in range(6)] + [*MALICIOUS.values()]


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_damaged_pickles(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever is flipped, cut or put in: a value or an InputError, and nothing imported or run."""
    content = bytearray(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(0, 8))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(content)
    called: list[Any] = []
    original = builtins.__import__
    try:
        builtins.__import__ = lambda *a, **k: called.append(a[0]) or original(*a, **k)
        read_pickle(path)
    except InputError:
        pass
    finally:
        builtins.__import__ = original
    assert not {"os", "subprocess", "posix", "nt"} & set(called)


CODES = [c.code.encode("latin-1") for c in pickletools.opcodes]


@given(
    st.lists(
        st.one_of(st.sampled_from(CODES), st.binary(max_size=4), st.just(b"cnumpy\nndarray\n")), max_size=30
    )
)
@settings(deadline=None, max_examples=200)
def test_random_programs(tmp_path_factory: pytest.TempPathFactory, program: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "random.pkl"
    path.write_bytes(b"\x80\x04" + b"".join(program) + b".")
    with contextlib.suppress(InputError):
        read_pickle(path)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


@given(plain, st.sampled_from([PLAIN["float32"], PLAIN["float16"], PLAIN["no people"], PLAIN["endian"]]))
@settings(deadline=None, max_examples=40)
def test_what_we_write_is_a_plain_pickle(
    tmp_path_factory: pytest.TempPathFactory, value: Any, array: np.ndarray
) -> None:
    data = pickle_writing.START + pickle_writing.piece([value, array]) + pickle_writing.STOP
    path = tmp_path_factory.getbasetemp() / "ours.pkl"
    path.write_bytes(data)
    for back in (pickle.loads(data), read_pickle(path), pickle._Unpickler(io.BytesIO(data)).load()):  # type: ignore[attr-defined]
        assert back[0] == value
        np.testing.assert_array_equal(back[1], array)
        assert back[1].dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
