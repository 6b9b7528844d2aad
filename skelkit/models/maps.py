"""Which joints a network lets enter which others: what figure 5 of UNIK shows, for every architecture."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor, nn


class JointUnit(nn.Module):
    """A part of a network that mixes joints by S matrices (heads, subsets or scales) over V nodes.

    Nodes are the K joints, or those of tau frames: K of the first, then K of the next. In all matrices
    [s, v, w] is the weight with which node v enters node w.
    """

    matrix: str = "matrix"
    """What one of the S matrices is called."""
    part: str = ""
    """What it is called where a block has several."""

    def shared(self) -> Tensor:
        """(S, V, V): what is the same for all clips, as learnt."""
        raise NotImplementedError

    def begun_with(self) -> Tensor | None:
        """(S, V, V): the graph before anything was learnt; None = a random beginning."""
        return None

    def adapted(self, x: Tensor) -> Tensor | None:
        """(n, S, V, V): what follows from the unit's input and is added; None = nothing does."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointMaps:
    """The matrices of one `JointUnit`."""

    name: str
    """Block, counted from 1, and part of it."""
    matrix: str
    """What one of the S matrices is called: head, subset, scale."""
    before: Tensor | None
    """(S, V, V): see `JointUnit.begun_with`."""
    learned: Tensor
    """(S, V, V)."""
    attention: Tensor | None
    """(B, M, S, V, V): of every person of a clip; None without clips, or where nothing follows from them."""


def joint_units(model: nn.Module) -> dict[str, JointUnit]:
    """Names for people -> the units of a network, in their order."""
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, JointUnit):
            block = re.search(r"blocks\.(\d+)", path)
            name = f"Block {int(block[1]) + 1}" if block else path
            found[f"{name}, {module.part}" if module.part else name] = module
    return found
