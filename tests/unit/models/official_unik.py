"""UNIK head by head, straight from equations 1 to 6, on parameters named as in the released code.

The facts about that code which the equations leave open (issue 5): dilation 1 in all blocks, an unused
``s_unit.bias``, the product of the embeddings divided by its inner size before a softmax over the rows, time
halved where channels grow, the average over joints, time and people.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


def random_state(
    *, joints: int, people: int, channels_in: int, classes: int, heads: int = 3, window: int = 1,
    widths: tuple[int, ...] = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256), seed: int = 0,
) -> State:  # fmt: skip
    """Parameters as a trained network may have them."""
    g = torch.Generator().manual_seed(seed)
    state: State = {}

    def conv(name: str, out: int, inp: int, *kernel: int) -> None:
        fan = inp * torch.Size(kernel).numel()
        state[f"{name}.weight"] = torch.randn(out, inp, *kernel, generator=g) / fan**0.5
        state[f"{name}.bias"] = torch.randn(out, generator=g) * 0.1

    def norm(name: str, size: int) -> None:
        state[f"{name}.weight"] = 0.4 * torch.rand(size, generator=g) + 0.3
        state[f"{name}.bias"] = torch.randn(size, generator=g) * 0.1
        state[f"{name}.running_mean"] = torch.randn(size, generator=g) * 0.1
        state[f"{name}.running_var"] = torch.rand(size, generator=g) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    norm("data_bn", people * joints * channels_in)
    before, nodes = channels_in, window * joints
    for i, width in enumerate(widths):
        block = f"l{i + 1}"
        n = 3 if i == 0 else heads
        state[f"{block}.s_unit.DepM"] = (torch.rand(n, nodes, nodes, generator=g) - 0.5) / nodes**0.5
        state[f"{block}.s_unit.bias"] = torch.randn(nodes, generator=g)
        for head in range(n):
            conv(f"{block}.s_unit.conv_a.{head}", width // 4, before, 1, 1)
            conv(f"{block}.s_unit.conv_b.{head}", width // 4, before, 1, 1)
            conv(f"{block}.s_unit.conv_d.{head}", width, before, 1, 1)
        if before != width:
            conv(f"{block}.s_unit.down.0", width, before, 1, 1)
            norm(f"{block}.s_unit.down.1", width)
        norm(f"{block}.s_unit.bn", width)
        if window > 1:
            conv(f"{block}.s_unit.out_conv", width, width, 1, window, 1)
            norm(f"{block}.s_unit.out_bn", width)
        conv(f"{block}.t_unit.conv", width, width, 9, 1)
        norm(f"{block}.t_unit.bn", width)
        if i and before != width:
            conv(f"{block}.residual.conv", width, before, 1, 1)
            norm(f"{block}.residual.bn", width)
        before = width
    conv("fc", classes, before)
    return state


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    p = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return functional.batch_norm(x, *p)


def _conv(state: State, name: str, x: Tensor, **how: tuple[int, int]) -> Tensor:
    return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **how)


def _spatial(state: State, name: str, x: Tensor, window: int) -> Tensor:
    if window > 1:
        half = (window - 1) // 2
        padded = functional.pad(x, (0, 0, half, half))
        x = torch.cat([padded[:, :, k : k + x.shape[2]] for k in range(window)], dim=3)
    n, _, t, v = x.shape
    total = torch.zeros(())
    for head in range(len(state[f"{name}.DepM"])):
        theta = _conv(state, f"{name}.conv_a.{head}", x)
        phi = _conv(state, f"{name}.conv_b.{head}", x)
        product = torch.einsum("nctv,nctw->nvw", theta, phi) / (theta.shape[1] * t)
        weights = state[f"{name}.DepM"][head] + torch.softmax(product, dim=1)
        moved = torch.einsum("nctv,nvw->nctw", x, weights)
        total = total + _conv(state, f"{name}.conv_d.{head}", moved)
    y = _norm(state, f"{name}.bn", total)
    if f"{name}.down.0.weight" in state:
        x = _norm(state, f"{name}.down.1", _conv(state, f"{name}.down.0", x))
    y = functional.relu(y + x)
    if window > 1:
        y = y.reshape(n, -1, t, window, v // window)
        weight, bias = state[f"{name}.out_conv.weight"], state[f"{name}.out_conv.bias"]
        y = functional.conv3d(y, weight, bias)[:, :, :, 0]
        y = _norm(state, f"{name}.out_bn", y)
    return y


def logits(state: State, x: Tensor, *, window: int = 1) -> Tensor:
    """(B, M, T, K, C) -> (B, classes)."""
    batch, people, time, joints, channels = x.shape
    x = x.permute(0, 1, 3, 4, 2).reshape(batch, people * joints * channels, time)
    x = _norm(state, "data_bn", x)
    x = x.reshape(batch * people, joints, channels, time).permute(0, 2, 3, 1)  # (n, C, T, K)
    block = 1
    while f"l{block}.s_unit.DepM" in state:
        name = f"l{block}"
        stride = (2, 1) if block > 1 and f"{name}.residual.conv.weight" in state else (1, 1)
        y = _spatial(state, f"{name}.s_unit", x, window)
        y = _norm(
            state, f"{name}.t_unit.bn", _conv(state, f"{name}.t_unit.conv", y, stride=stride, padding=(4, 0))
        )
        if f"{name}.residual.conv.weight" in state:
            y = y + _norm(
                state, f"{name}.residual.bn", _conv(state, f"{name}.residual.conv", x, stride=stride)
            )
        elif block > 1:
            y = y + x
        x = functional.relu(y)
        block += 1
    pooled = x.reshape(batch, people, x.shape[1], -1).mean(dim=3).mean(dim=1)
    return functional.linear(pooled, state["fc.weight"], state["fc.bias"])
