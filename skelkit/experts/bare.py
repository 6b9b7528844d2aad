"""The network alone: what an expert ran, run again on the very inputs it had prepared.

How long that takes, against how long the expert takes, says what reading, preprocessing and decoding cost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from skelkit.experts.batches import Batches
from skelkit.experts.chunks import ChunkedNetwork


def bare(expert: Any, run: Callable[[], object]) -> Callable[[], None]:
    """Watch `run`, in which `expert` predicts, and return what does its networks' part alone.

    Args:
        expert: One that runs chunk by chunk (it has an ``engine``), or has a ``network`` or ``model``.
        run: Called once.
    """
    engine = getattr(expert, "engine", None)
    if isinstance(engine, ChunkedNetwork):
        return _bare_engine(engine, run)
    return _bare_modules(getattr(expert, "network", None) or expert.model, expert.batches, run)


def _bare_engine(engine: ChunkedNetwork, run: Callable[[], object]) -> Callable[[], None]:
    inputs: list[Any] = []
    unwatched = engine.run

    def watched(batch: Any) -> Any:
        inputs.append(batch)
        return unwatched(batch)

    engine.run = watched  # type: ignore[method-assign]
    try:
        run()
    finally:
        engine.run = unwatched  # type: ignore[method-assign]

    def again() -> None:
        engine.batches.each(inputs, engine.run)

    return again


def _bare_modules(whole: Any, batches: Batches, run: Callable[[], object]) -> Callable[[], None]:
    """Every outermost module called inside `whole` but for its preprocessing, with its arguments."""
    import torch

    calls: list[tuple[Any, Any, Any, bool, Any]] = []
    depth = threading.local()
    passed = {whole, getattr(whole, "transform", None), getattr(whole, "data_preprocessor", None)}
    place = next(whole.parameters()).device

    def enter(module: Any, arguments: Any, named: Any) -> None:
        depth.value = getattr(depth, "value", 0) + 1
        if depth.value == 1:
            lower = torch.is_autocast_enabled(place.type)
            calls.append((module, arguments, named, lower, torch.get_autocast_dtype(place.type)))

    def leave(module: Any, arguments: Any, output: Any) -> None:
        depth.value -= 1

    with ExitStack() as hooks:
        for module in set(whole.modules()) - passed:
            hooks.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
            hooks.callback(module.register_forward_hook(leave).remove)
        run()

    def one(call: tuple[Any, Any, Any, bool, Any]) -> None:
        module, arguments, named, lower, dtype = call
        with torch.inference_mode(), torch.autocast(place.type, dtype=dtype, enabled=lower):
            module(*arguments, **named)

    def again() -> None:
        batches.each(calls, one)
        if place.type != "cpu":
            torch.cuda.synchronize(place)

    return again
