"""Public checkpoints -> our networks, by the names of their parameters.

=====  ==============================================================================================
kind   files
=====  ==============================================================================================
unik   the code released with UNIK: ``l1`` to ``l10``, ``fc``
stgcn  ST-GCN of pyskl and mmaction2 1.x (``backbone.gcn.0.gcn.PA``), of mmaction2 0.x and of its authors
       (``st_gcn_networks``, ``edge_importance``)
agcn   2s-AGCN of pyskl and mmaction2 1.x (AAGCN without attention: ``backbone.gcn.0.gcn.alpha``), of
       mmaction2 0.x (``agcn_networks``)
=====  ==============================================================================================

A file says everything about its network but the joint set, which has to be named. Two cases cannot be told
from the names: pyskl's ST-GCN with ``gcn_adaptive="offset"`` is read as its default, ``"importance"``; the
authors' own 2s-AGCN files hold no graph and are refused.
"""

from __future__ import annotations

import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skelkit.errors import CheckpointError, ConfigError
from skelkit.models.agcn import AGCN, AGCNConfig
from skelkit.models.base import SkeletonModel
from skelkit.models.checkpoint import put
from skelkit.models.stgcn import STGCN, STGCNConfig
from skelkit.models.unik import UNIK, UNIKConfig
from skelkit.registry import unknown
from skelkit.skeletons import get_skeleton
from skelkit.structures import Skeleton

_BROKEN = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError,
    AssertionError, struct.error, zipfile.BadZipFile, MemoryError, ArithmeticError, ImportError,
)  # fmt: skip
"""What torch.load raises for files that are damaged or not its own."""


def import_checkpoint(
    kind: str, path: str | os.PathLike[str], *, skeleton: Skeleton | str, num_people: int = 2
) -> SkeletonModel:
    """Read a public checkpoint; nothing in it is executed.

    Args:
        kind: Of `IMPORTERS`.
        path: A file of ``torch.save``.
        skeleton: The joint set it was trained on, or its name.
        num_people: M, where the weights do not depend on it (ST-GCN).

    Returns:
        The network in evaluation mode.

    Raises:
        ConfigError: unknown kind or joint set.
        CheckpointError: the file cannot be read without executing code from it, is not of this kind, or not
            for this joint set.
    """
    if kind not in IMPORTERS:
        raise ConfigError(unknown("kind of checkpoint", kind, IMPORTERS))
    if isinstance(skeleton, str):
        skeleton = get_skeleton(skeleton)
    state = State(read_tensors(path), Path(path))
    try:
        return IMPORTERS[kind](state, skeleton, num_people).eval()
    except (ValueError, RuntimeError, LookupError, TypeError) as error:
        raise state.wrong(f"its parameters do not fit together ({error})") from error


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The parameters of a ``torch.save`` file by name, without those prefixes that wrappers add.

    Raises:
        CheckpointError: it cannot be read without executing code from it, or holds no parameters.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickles that we refuse anyway
            data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}", path=path) from error
    except _BROKEN as error:
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            f"expected a PyTorch file of tensors, {path} is damaged or holds other objects "
            f"({reason[0] if reason else type(error).__name__}); where you trust it, save its state_dict "
            "alone with torch.save and import that",
            path=path,
        ) from error
    if isinstance(data, Mapping) and isinstance(data.get("state_dict"), Mapping):
        data = data["state_dict"]
    if not isinstance(data, Mapping) or not all(isinstance(v, Tensor) for v in data.values()) or not data:
        raise CheckpointError(f"expected named tensors in {path}, found other things", path=path)
    return {re.sub(r"^(module\.|model_action\.|backbone\.)*", "", str(k)): v for k, v in data.items()}


class State:
    """Parameters of a file, taken one by one, so that none is forgotten."""

    def __init__(self, tensors: dict[str, Tensor], path: Path) -> None:
        self.tensors = tensors
        self.path = path

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a parameter that stays."""
        return tuple(self._find(name).shape)

    def take(self, name: str) -> Tensor:
        """A parameter, and out with it."""
        tensor = self._find(name)
        del self.tensors[name]
        return tensor

    def layers(self, pattern: str) -> int:
        """How many blocks there are, of the names that match (the number is its group)."""
        numbers = [int(m[1]) for name in self.tensors if (m := re.match(pattern, name))]
        if not numbers:
            raise self.wrong("it has no such block")
        return len(set(numbers))

    def norm(self, source: str, target: str, bias: Tensor | None = None, times: int = 1) -> dict[str, Tensor]:
        """A batch normalisation, and the bias of the convolution before it, if ours has none."""
        out = {}
        for part in ("weight", "bias", "running_mean", "running_var"):
            value = self.take(f"{source}.{part}")
            if part == "running_mean" and bias is not None:
                value = value - bias
            out[f"{target}.{part}"] = value.repeat(times)
        count = self.tensors.pop(f"{source}.num_batches_tracked", torch.zeros((), dtype=torch.int64))
        return {**out, f"{target}.num_batches_tracked": count}

    def layer(self, source: str, target: str) -> dict[str, Tensor]:
        """Weight and bias as they are."""
        return {f"{target}.{part}": self.take(f"{source}.{part}") for part in ("weight", "bias")}

    def stacked(self, sources: list[str], dim: int) -> tuple[Tensor, Tensor]:
        """Weights of several convolutions side by side; their biases (n, C)."""
        weight = torch.cat([self.take(f"{s}.weight") for s in sources], dim=dim)
        return weight, torch.stack([self.take(f"{s}.bias") for s in sources])

    def people(self, joints: int, channels: int, expected: Skeleton) -> int:
        """M of the input's normalisation."""
        if joints != expected.num_joints:
            raise self.wrong(
                f"its network has {joints} joints, the joint set {expected.name!r} {expected.num_joints}"
            )
        people, rest = divmod(self.shape("data_bn.weight")[0], joints * channels)
        if rest or not people:
            raise self.wrong("the size of data_bn is no multiple of joints and channels")
        return people

    def finish(self, weights: dict[str, Tensor], model: SkeletonModel) -> SkeletonModel:
        """Put the weights into the network; none of the file may be left over."""
        if self.tensors:
            raise self.wrong(f"it also holds {', '.join(sorted(self.tensors)[:5])}")
        put(weights, model, self.path)
        return model

    def _find(self, name: str) -> Tensor:
        try:
            return self.tensors[name]
        except KeyError:
            raise self.wrong(f"it has no {name!r}") from None

    def wrong(self, why: str) -> CheckpointError:
        """What to raise."""
        return CheckpointError(
            f"{self.path} is not a checkpoint of this kind and joint set: {why}; "
            f"kinds are {', '.join(IMPORTERS)}",
            path=self.path,
        )


def _unik(state: State, skeleton: Skeleton, num_people: int) -> SkeletonModel:
    count = state.layers(r"l(\d+)\.s_unit\.")
    names = [f"l{i + 1}" for i in range(count)]
    heads = [state.shape(f"{n}.s_unit.DepM")[0] for n in names]
    window = state.shape("l1.s_unit.out_conv.weight")[3] if "l1.s_unit.out_conv.weight" in state else 1
    in_channels = state.shape("l1.s_unit.conv_d.0.weight")[1]
    config = UNIKConfig(
        skeleton=skeleton,
        num_classes=state.shape("fc.weight")[0],
        in_channels=in_channels,
        num_people=state.people(state.shape("l1.s_unit.DepM")[1] // window, in_channels, skeleton),
        num_heads=heads[-1],
        window=window,
        channels=tuple(state.shape(f"{n}.t_unit.conv.weight")[0] for n in names),
        dilations=(1,) * count,
    ).released()
    weights = state.norm("data_bn", "data_bn") | state.layer("fc", "classifier")
    for i, name in enumerate(names):
        weights |= _unik_block(state, name, f"blocks.{i}", heads[i])
    return state.finish(weights, UNIK(config))


def _taps(weight: Tensor) -> Tensor:
    """(C_out, C_in, k, 1) -> (k, C_in, C_out)."""
    return weight.squeeze(3).permute(2, 1, 0)


def _unik_block(state: State, source: str, target: str, heads: int) -> dict[str, Tensor]:
    unit = f"{source}.s_unit"
    embeddings = [f"{unit}.{conv}.{i}" for conv in ("conv_a", "conv_b") for i in range(heads)]
    embed, embed_bias = state.stacked(embeddings, dim=0)
    project, project_bias = state.stacked([f"{unit}.conv_d.{i}" for i in range(heads)], dim=1)
    state.tensors.pop(f"{unit}.bias", None)  # the released code never uses it
    out = {
        f"{target}.spatial.dependency": state.take(f"{unit}.DepM"),
        f"{target}.spatial.embed.weight": embed.flatten(1),
        f"{target}.spatial.embed.bias": embed_bias.flatten(),
        f"{target}.spatial.project.weight": project.flatten(1),
        f"{target}.temporal.weight": _taps(state.take(f"{source}.t_unit.conv.weight")),
    }
    out |= state.norm(f"{unit}.bn", f"{target}.spatial.norm", project_bias.sum(0))
    out |= state.norm(f"{source}.t_unit.bn", f"{target}.norm", state.take(f"{source}.t_unit.conv.bias"))
    if f"{unit}.down.0.weight" in state:
        out[f"{target}.spatial.down.0.weight"] = state.take(f"{unit}.down.0.weight").flatten(1)
        out |= state.norm(f"{unit}.down.1", f"{target}.spatial.down.1", state.take(f"{unit}.down.0.bias"))
    if f"{unit}.out_conv.weight" in state:
        collapse = state.take(f"{unit}.out_conv.weight")  # (C_out, C, 1, tau, 1)
        out[f"{target}.spatial.collapse.0.weight"] = collapse.permute(0, 3, 1, 2, 4).flatten(1)
        bias = state.take(f"{unit}.out_conv.bias")
        out |= state.norm(f"{unit}.out_bn", f"{target}.spatial.collapse.1", bias)
    if f"{source}.residual.conv.weight" in state:
        out[f"{target}.residual.0.weight"] = _taps(state.take(f"{source}.residual.conv.weight"))
        bias = state.take(f"{source}.residual.conv.bias")
        out |= state.norm(f"{source}.residual.bn", f"{target}.residual.1", bias)
    return out


def _head(state: State) -> dict[str, Tensor]:
    """The classifier of pyskl (``fc_cls``), mmaction2 (``fc``) or the authors of ST-GCN (``fcn``)."""
    names = [n for n in ("cls_head.fc_cls", "cls_head.fc", "fcn", "fc") if f"{n}.weight" in state]
    out = state.layer(names[0] if names else "cls_head.fc", "classifier")
    return {k: v.flatten(1) if k.endswith("weight") else v for k, v in out.items()}


def _renamed(state: State, pattern: str, names: Mapping[str, str]) -> int:
    """Bring the names of blocks to one form, ``gcn.<number>.<part>``; how many there are."""

    def form(name: str) -> str:
        found = re.match(pattern + r"\.(.*)", name)
        if not found:
            return name
        part = found[2]
        for old, new in names.items():
            if part.startswith(old + "."):
                part = new + part[len(old) :]
                break
        return f"gcn.{found[1]}.{part}"

    state.tensors = {form(name): tensor for name, tensor in state.tensors.items()}
    return state.layers(r"gcn\.(\d+)\.gcn\.")


def _stgcn(state: State, skeleton: Skeleton, num_people: int) -> SkeletonModel:
    older = any(name.startswith("st_gcn_networks.") for name in state.tensors)
    names = {"tcn.0": "gcn.bn", "tcn.2": "tcn.conv", "tcn.3": "tcn.bn", "residual.0": "residual.conv",
             "residual.1": "residual.bn"}  # fmt: skip
    count = _renamed(state, r"st_gcn_networks\.(\d+)" if older else r"gcn\.(\d+)", names if older else {})
    shared = state.take("A") if "A" in state else None
    if older:
        for i in range(count):
            if shared is not None:
                state.tensors[f"gcn.{i}.gcn.A"] = shared
            if f"edge_importance.{i}" in state:
                state.tensors[f"gcn.{i}.gcn.PA"] = state.take(f"edge_importance.{i}")
    weights = _head(state)
    joints = state.shape("gcn.0.gcn.A")[1]
    in_channels = state.shape("gcn.0.gcn.conv.weight")[1]
    if state.people(joints, in_channels, skeleton) != 1:
        raise CheckpointError(
            f"{state.path}: expected an ST-GCN whose input is normalised over people (data_bn_type 'VC'), "
            "got one that tells them apart ('MVC')",
            path=state.path,
        )
    weights |= state.norm("data_bn", "data_bn")
    weighted = "gcn.0.gcn.PA" in state  # else the graph itself was learnt (pyskl: gcn_adaptive="init")
    channels = []
    for i in range(count):
        source, target = f"gcn.{i}", f"blocks.{i}"
        channels.append(state.shape(f"{source}.tcn.conv.weight")[0])
        graph = state.take(f"{source}.gcn.A")
        importance = state.take(f"{source}.gcn.PA") if weighted else torch.ones_like(graph)
        weights |= {f"{target}.spatial.graph": graph, f"{target}.spatial.importance": importance}
        weights |= state.layer(f"{source}.gcn.conv", f"{target}.spatial.conv")
        weights |= _block_rest(state, source, target)
    config = STGCNConfig(
        skeleton=skeleton,
        num_classes=len(weights["classifier.weight"]),
        in_channels=in_channels,
        num_people=num_people,
        channels=tuple(channels),
    )
    return state.finish(weights, STGCN(config))


def _agcn(state: State, skeleton: Skeleton, num_people: int) -> SkeletonModel:
    older = any(name.startswith("agcn_networks.") for name in state.tensors)
    names = {"tcn.0": "tcn.conv", "tcn.1": "tcn.bn", "residual.0": "residual.conv",
             "residual.1": "residual.bn"}  # fmt: skip
    count = _renamed(state, r"agcn_networks\.(\d+)" if older else r"gcn\.(\d+)", names if older else {})
    shared = state.take("A")  # the graph of all blocks; pyskl's blocks have their own beside it
    weights = _head(state)
    subsets, joints, _ = shared.shape
    in_channels = state.shape("gcn.0.gcn.conv_d.0.weight")[1]
    people = state.people(joints, in_channels, skeleton)
    num_people = num_people if people == 1 else people
    weights |= state.norm("data_bn", "data_bn", times=num_people if people == 1 else 1)
    gated = "gcn.0.gcn.alpha" in state
    channels = []
    for i in range(count):
        source, target = f"gcn.{i}", f"blocks.{i}"
        unit = f"{source}.gcn"
        channels.append(state.shape(f"{source}.tcn.conv.weight")[0])
        embeddings = [f"{unit}.{conv}.{k}" for conv in ("conv_a", "conv_b") for k in range(subsets)]
        embed, embed_bias = state.stacked(embeddings, dim=0)
        project, project_bias = state.stacked([f"{unit}.conv_d.{k}" for k in range(subsets)], dim=1)
        weights |= {
            f"{target}.spatial.graph": state.take(f"{unit}.A") if gated else shared,
            f"{target}.spatial.learned": torch.zeros_like(shared) if gated else state.take(f"{unit}.PA"),
            f"{target}.spatial.embed.weight": embed,
            f"{target}.spatial.embed.bias": embed_bias.flatten(),
            f"{target}.spatial.project.weight": project,
            f"{target}.spatial.project.bias": project_bias.sum(0),
        }
        if gated:
            weights[f"{target}.spatial.gate"] = state.take(f"{unit}.alpha")
        if f"{unit}.down.0.weight" in state:
            weights |= state.layer(f"{unit}.down.0", f"{target}.down.0")
            weights |= state.norm(f"{unit}.down.1", f"{target}.down.1")
        weights |= _block_rest(state, source, target)
    config = AGCNConfig(
        skeleton=skeleton,
        num_classes=len(weights["classifier.weight"]),
        in_channels=in_channels,
        num_people=num_people,
        channels=tuple(channels),
        similarity="gated tanh" if gated else "softmax",
    )
    return state.finish(weights, AGCN(config))


def _block_rest(state: State, source: str, target: str) -> dict[str, Tensor]:
    """What the blocks of ST-GCN and 2s-AGCN have in common."""
    out = state.norm(f"{source}.gcn.bn", f"{target}.spatial_bn")
    out |= state.layer(f"{source}.tcn.conv", f"{target}.temporal")
    out |= state.norm(f"{source}.tcn.bn", f"{target}.temporal_bn")
    if f"{source}.residual.conv.weight" in state:
        out |= state.layer(f"{source}.residual.conv", f"{target}.residual.0")
        out |= state.norm(f"{source}.residual.bn", f"{target}.residual.1")
    return out


IMPORTERS: Mapping[str, Callable[[State, Skeleton, int], SkeletonModel]] = {
    "unik": _unik,
    "stgcn": _stgcn,
    "agcn": _agcn,
}
"""Kinds of public checkpoints."""
