"""Reading a pickle of tensors, arrays, text and plain containers, without running what else may be in it."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skelkit.errors import WeightsError

_BROKEN = (
    pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError, TypeError, RuntimeError,
    AssertionError, struct.error, MemoryError, ArithmeticError, ImportError,
)  # fmt: skip
"""What files raise that are damaged or no pickles."""


def read_pickle(path: Path) -> dict[str, Any]:
    """What a pickle holds, of Python 2 or 3; tensors come to the CPU.

    Detectron's settings (AttrDict) become dictionaries.

    Raises:
        WeightsError: it cannot be read, holds anything else, or is no dictionary.
    """
    try:
        with path.open("rb") as file:
            content = _Reader(file, encoding="latin1").load()
    except OSError as error:
        raise WeightsError(
            f"expected a checkpoint at {path}, cannot read it: {error.strerror}", path=path
        ) from error
    except _RefusedError as error:
        raise WeightsError(
            f"expected numbers, text and tensors alone in {path}, it also holds {error}, which is not run; "
            "the public files need none of that: fetch it again from its authors",
            path=path,
            asked=str(error),
        ) from error
    except _BROKEN as error:
        why = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise WeightsError(
            f"expected a pickle in {path}, cannot read it: {why}; fetch it again", path=path
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"expected a dictionary in {path}, it holds a {type(content).__name__}", path=path)
    return content


class _RefusedError(pickle.UnpicklingError):
    """What is asked for and not allowed."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """One of those allowed."""
        try:
            return _ALLOWED[f"{module}.{name}"]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


class _Settings(dict[str, Any]):
    """For Detectron's AttrDict."""

    def __setstate__(self, state: object) -> None:
        """Whether it could be changed does not matter."""


def _reconstructed(kind: type[dict[Any, Any]], base: object, state: Any) -> dict[Any, Any]:
    """A dictionary, as protocols 0 and 1 write those of classes of their own."""
    return kind(state or {})


def _encoded(text: str, encoding: str) -> bytes:
    """Bytes, as Python 3 writes them for Python 2, always in latin-1."""
    return text.encode("latin1")


def _storage(saved: bytes | str) -> Tensor:
    """All numbers that tensors share, since PyTorch 0.4: a file of ``torch.save`` within the file."""
    data = saved.encode("latin1") if isinstance(saved, str) else saved
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # storages with a type are deprecated
        try:
            storage: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise _RefusedError("objects inside of a tensor") from error
        return torch.empty(0, dtype=storage.dtype).set_(storage.untyped())


def _floats(numbers: list[float]) -> Tensor:
    """The same as PyTorch 0.3 wrote it."""
    return torch.tensor(numbers, dtype=torch.float32)


def _tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any
) -> Tensor:
    """A tensor; whether it is trained and what is called then does not matter."""
    return storage.as_strided(size, stride, offset)


def _parameter(tensor: Tensor, *rest: Any) -> Tensor:
    return tensor


def _allowed() -> dict[str, Callable[..., Any]]:
    multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]
    found: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": OrderedDict,
        "utils.collections.AttrDict": _Settings,
        "_codecs.encode": _encoded,
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch.storage._load_from_bytes": _storage,
        "torch.FloatStorage": _floats,
        "torch.cuda.FloatStorage": _floats,
    }
    for numpy in ("numpy.core", "numpy._core"):
        found[f"{numpy}.multiarray._reconstruct"] = multiarray._reconstruct
        found[f"{numpy}.multiarray.scalar"] = multiarray.scalar
    for builtins, copyreg in (("__builtin__", "copy_reg"), ("builtins", "copyreg")):
        found[f"{builtins}.dict"] = dict
        found[f"{copyreg}._reconstructor"] = _reconstructed
    return found


_ALLOWED: Mapping[str, Callable[..., Any]] = MappingProxyType(_allowed())
