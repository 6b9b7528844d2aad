"""Equations 2 and 5 of UNIK for training on a CPU: piece by piece over time.

What is large is made for a few frames at a time, in the same place, and used at once. Of it the embeddings
alone are kept for the backward pass; features mixed by all heads, N times the input, are worked out anew.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

PIECE = 1 << 19
"""Numbers worked on at a time, for each thread: few enough for the processor's caches."""


def mixed(x: Tensor, dependency: Tensor, embed: Tensor, bias: Tensor, project: Tensor) -> Tensor:
    """Sum over heads of E_i (x (W_i + A_i)).

    Args:
        x: (T, n, V, C_in).
        dependency: W, (N, V, V).
        embed: E_theta of all heads, then E_phi, (2 N C_e, C_in).
        bias: Theirs, (2 N C_e,).
        project: E of all heads side by side, (C_out, N C_in).

    Returns:
        (T, n, V, C_out).
    """
    few = x.shape[3] + 1 < len(bias) // (2 * len(dependency))
    out: Tensor = (_mixed_few if few else _Mixed.apply)(x.contiguous(), dependency, embed, bias, project)
    return out


def _mixed_few(x: Tensor, dependency: Tensor, embed: Tensor, bias: Tensor, project: Tensor) -> Tensor:
    """With fewer channels than an embedding has: what is embedded is a sum over time of products of them."""
    time, n, joints, channels = x.shape
    heads = len(dependency)
    with_one = functional.pad(x, (0, 1), value=1.0).transpose(0, 1).flatten(2)  # (n, T, V (C_in + 1))
    products = (with_one.transpose(1, 2) @ with_one).view(n, joints, channels + 1, joints, channels + 1)
    theta, phi = torch.cat([embed, bias[:, None]], dim=1).view(2, heads, -1, channels + 1)
    product = torch.einsum("nvcwd,iec,ied->nivw", products, theta, phi)
    weights = dependency + torch.softmax(product / (time * theta.shape[1]), dim=2)  # (n, N, V, V)
    weights = weights.transpose(2, 3).flatten(1, 2)  # (n, N V, V)
    y = weights @ x.permute(1, 2, 0, 3).flatten(2)  # (n, N V, T C_in)
    y = y.view(n, heads, joints, time, channels).permute(3, 0, 2, 1, 4).flatten(3)
    return functional.linear(y, project)


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any, x: Tensor, dependency: Tensor, embed: Tensor, bias: Tensor, project: Tensor
    ) -> Tensor:
        time, n, joints, channels = x.shape
        heads = len(dependency)
        frames = PIECE * torch.get_num_threads() // (n * joints * heads * channels)
        frames = min(max(1, frames), time)
        parts = torch.split(x, frames)
        embedded = []
        product = x.new_zeros(n * heads, joints, joints)
        room = x.new_empty(frames * n * joints, len(bias))
        for part in parts:
            flat = part.reshape(-1, channels)
            pair = torch.addmm(bias, flat, embed.t(), out=room[: len(flat)])
            pair = pair.view(len(part), n, joints, 2, heads, -1).permute(3, 1, 4, 2, 0, 5)
            pair = pair.clone(memory_format=torch.contiguous_format)  # always, for the room is used again
            embedded.append(pair.view(2, n * heads, joints, -1))  # theta and phi, (n N, V, T C_e)
            product.baddbmm_(embedded[-1][0], embedded[-1][1].transpose(1, 2))
        size = time * len(bias) // (2 * heads)
        attention = torch.softmax(product.div_(size), dim=1).view(n, heads, joints, joints)
        weights = (dependency + attention).permute(0, 3, 1, 2).reshape(n, joints * heads, joints)

        each = weights.expand(frames, -1, -1, -1).flatten(0, 1)  # of every frame and sequence
        room = x.new_empty(frames * n, joints * heads, channels)
        out = x.new_empty(time, n, joints, len(project))
        for part, place in zip(parts, torch.split(out, frames), strict=True):
            rows = part.flatten(0, 1)
            y = torch.bmm(each[: len(rows)], rows, out=room[: len(rows)])
            torch.mm(y.view(-1, heads * channels), project.t(), out=place.view(-1, len(project)))
        ctx.save_for_backward(x, attention, weights, embed, project, *embedded)
        ctx.frames = frames
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, attention, weights, embed, project, *embedded = ctx.saved_tensors
        n, heads, joints, _ = attention.shape
        channels = x.shape[3]
        frames = ctx.frames
        at_x = torch.empty_like(x)
        parts, places = torch.split(x, frames), torch.split(at_x, frames)

        at_project = torch.zeros_like(project)
        at_weights = torch.zeros_like(weights)
        each = weights.expand(frames, -1, -1, -1).flatten(0, 1)
        at_each = torch.empty_like(each)
        room = x.new_empty(frames * n, joints * heads, channels)
        for part, place, out in zip(parts, places, torch.split(gradient.contiguous(), frames), strict=True):
            rows, at_out = part.flatten(0, 1), out.view(-1, len(project))
            many, y = len(rows), room[: len(rows)]
            flat = y.view(-1, heads * channels)
            torch.bmm(each[:many], rows, out=y)
            at_project.addmm_(at_out.t(), flat)
            torch.mm(at_out, project, out=flat)  # now the gradient at y
            torch.bmm(each[:many].transpose(1, 2), y, out=place.flatten(0, 1))
            torch.bmm(y, rows.transpose(1, 2), out=at_each[:many])
            at_weights += at_each[:many].view(len(part), *weights.shape).sum(dim=0)
        at_weights = at_weights.view(n, joints, heads, joints).permute(0, 2, 3, 1)  # (n, N, V, V)

        size = sum(pair.shape[3] for pair in embedded)
        at_product = attention * (at_weights - (attention * at_weights).sum(dim=2, keepdim=True)) / size
        at_product = at_product.reshape(n * heads, joints, joints)
        at_embed = torch.zeros_like(embed)
        at_bias = embed.new_zeros(len(embed))
        for part, place, pair in zip(parts, places, embedded, strict=True):
            at_both = torch.empty_like(pair)
            torch.bmm(at_product, pair[1], out=at_both[0])
            torch.bmm(at_product.transpose(1, 2), pair[0], out=at_both[1])
            at_both = at_both.view(2, n, heads, joints, len(part), -1).permute(4, 1, 3, 0, 2, 5)
            at_pair = at_both.reshape(-1, len(embed))
            at_embed.addmm_(at_pair.t(), part.view(-1, channels))
            at_bias += at_pair.sum(dim=0)
            place.view(-1, channels).addmm_(at_pair, embed)
        return at_x, at_weights.sum(dim=0), at_embed, at_bias, at_project
