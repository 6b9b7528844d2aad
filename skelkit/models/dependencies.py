"""Equations 2 and 5 of UNIK for training on a CPU: piece by piece over time.

What is large is made for a few frames at a time and used at once. Of it the embeddings alone are kept for the
backward pass; features mixed by all heads, N times the input, are worked out anew.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PIECE = 1 << 19
"""Numbers worked on at a time: few enough for the processor's caches."""


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
    out: Tensor = _Mixed.apply(x, dependency, embed, bias, project)
    return out


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any, x: Tensor, dependency: Tensor, embed: Tensor, bias: Tensor, project: Tensor
    ) -> Tensor:
        time, n, joints, channels = x.shape
        heads = len(dependency)
        frames = max(1, PIECE // (n * joints * heads * channels))
        parts = torch.split(x, frames)
        embedded = []
        product = x.new_zeros(n * heads, joints, joints)
        for part in parts:
            pair = torch.addmm(bias, part.reshape(-1, channels), embed.t())
            pair = pair.view(len(part), n, joints, 2, heads, -1).permute(3, 1, 4, 2, 0, 5)
            embedded.append(pair.reshape(2, n * heads, joints, -1))  # theta and phi, (n N, V, T C_e)
            product.baddbmm_(embedded[-1][0], embedded[-1][1].transpose(1, 2))
        size = time * len(bias) // (2 * heads)
        attention = torch.softmax(product.div_(size), dim=1).view(n, heads, joints, joints)
        weights = (dependency + attention).permute(0, 3, 1, 2).reshape(n, joints * heads, joints)
        out = x.new_empty(time, n, joints, len(project))
        for part, place in zip(parts, torch.split(out, frames), strict=True):
            y = (weights @ part).view(-1, heads * channels)
            torch.mm(y, project.t(), out=place.view(-1, len(project)))
        ctx.save_for_backward(x, attention, weights, embed, project, *embedded)
        ctx.frames = frames
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, attention, weights, embed, project, *embedded = ctx.saved_tensors
        n, heads, joints, _ = attention.shape
        channels = x.shape[3]
        at_x = torch.empty_like(x)
        parts, places = torch.split(x, ctx.frames), torch.split(at_x, ctx.frames)

        at_project = torch.zeros_like(project)
        at_weights = torch.zeros_like(weights)
        back = weights.transpose(1, 2).contiguous()
        for part, place, out in zip(
            parts, places, torch.split(gradient.contiguous(), ctx.frames), strict=True
        ):
            at_out = out.view(-1, len(project))
            at_project.addmm_(at_out.t(), (weights @ part).view(-1, heads * channels))
            at_y = (at_out @ project).view(len(part), n, joints * heads, channels)
            torch.matmul(back, at_y, out=place)
            at_weights += (at_y @ part.transpose(2, 3)).sum(dim=0)
        at_weights = at_weights.view(n, joints, heads, joints).permute(0, 2, 3, 1)  # (n, N, V, V)

        size = sum(pair.shape[3] for pair in embedded)
        at_product = attention * (at_weights - (attention * at_weights).sum(dim=2, keepdim=True)) / size
        at_product = at_product.reshape(n * heads, joints, joints)
        at_embed = torch.zeros_like(embed)
        at_bias = embed.new_zeros(len(embed))
        for part, place, (theta, phi) in zip(parts, places, embedded, strict=True):
            pair = torch.stack([at_product @ phi, at_product.transpose(1, 2) @ theta])
            pair = pair.view(2, n, heads, joints, len(part), -1).permute(4, 1, 3, 0, 2, 5)
            at_pair = pair.reshape(-1, len(embed))
            at_embed.addmm_(at_pair.t(), part.reshape(-1, channels))
            at_bias += at_pair.sum(dim=0)
            place.view(-1, channels).addmm_(at_pair, embed)
        return at_x, at_weights.sum(dim=0), at_embed, at_bias, at_project
