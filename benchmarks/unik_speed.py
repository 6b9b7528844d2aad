"""Speed and memory of a training step of UNIK beside a straightforward implementation, head by head.

A step is forward, backward and the update of SGD with Nesterov momentum, on random clips, in float32. Both
networks are the paper's (equations 1 to 6, section A.2), and take the same weights to the same logits. They
take turns, so that what else the machine does hits both; shown is the quickest step of each. Peak memory is
that of a process that does nothing but three such steps.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from skelkit.models import build
from skelkit.models.unik import CHANNELS, DILATIONS, UNIK

JOINTS = 17
CLASSES = 31
PEOPLE = 2


class Spatial(nn.Module):
    """S-LSU, one head after the other (equations 2 to 5), on (n, C, T, V)."""

    def __init__(self, channels_in: int, channels: int, heads: int = 3) -> None:
        super().__init__()
        bound = JOINTS**-0.5
        self.matrices = nn.Parameter(torch.empty(heads, JOINTS, JOINTS).uniform_(-bound, bound))
        self.theta = nn.ModuleList(nn.Conv2d(channels_in, channels // 4, 1) for _ in range(heads))
        self.phi = nn.ModuleList(nn.Conv2d(channels_in, channels // 4, 1) for _ in range(heads))
        self.embed = nn.ModuleList(nn.Conv2d(channels_in, channels, 1) for _ in range(heads))
        self.norm = nn.BatchNorm2d(channels)
        self.down: nn.Module = nn.Identity()
        if channels_in != channels:
            self.down = nn.Sequential(nn.Conv2d(channels_in, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, v = x.shape
        out: Tensor | None = None
        for matrix, theta, phi, embed in zip(self.matrices, self.theta, self.phi, self.embed, strict=True):
            a = theta(x).permute(0, 3, 1, 2).reshape(n, v, -1)
            b = phi(x).reshape(n, -1, v)
            attention = torch.softmax(a @ b / a.shape[2], dim=1)
            moved = (x.reshape(n, c * t, v) @ (matrix + attention)).reshape(n, c, t, v)
            head = embed(moved)
            out = head if out is None else out + head
        return torch.relu(self.norm(out) + self.down(x))


class Temporal(nn.Module):
    """T-LSU (equation 6) with its batch normalisation."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        pad = (kernel - 1) * dilation // 2
        self.conv = nn.Conv2d(channels_in, channels, (kernel, 1), (stride, 1), (pad, 0), (dilation, 1))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out


class Block(nn.Module):
    """Equation 1 with its residual."""

    def __init__(self, channels_in: int, channels: int, dilation: int, first: bool) -> None:
        super().__init__()
        stride = 2 if channels > channels_in and not first else 1
        self.spatial = Spatial(channels_in, channels)
        self.temporal = Temporal(channels, channels, 9, stride, dilation)
        self.residual: nn.Module | None = None if first else nn.Identity()
        if stride == 2:
            self.residual = Temporal(channels_in, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.temporal(self.spatial(x))
        return torch.relu(y if self.residual is None else y + self.residual(x))


class HeadByHead(nn.Module):
    """UNIK as one writes it down first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(PEOPLE * JOINTS * 2)
        widths = (2, *CHANNELS)
        self.blocks = nn.Sequential(
            *(Block(widths[i], widths[i + 1], d, first=i == 0) for i, d in enumerate(DILATIONS))
        )
        self.classifier = nn.Linear(CHANNELS[-1], CLASSES)

    def forward(self, keypoints: Tensor) -> Tensor:
        b, m, t, k, c = keypoints.shape
        x = self.norm(keypoints.permute(0, 1, 3, 4, 2).reshape(b, m * k * c, t))
        x = x.reshape(b * m, k, c, t).permute(0, 2, 3, 1)
        x = self.blocks(x).reshape(b, m, CHANNELS[-1], -1)
        out: Tensor = self.classifier(x.mean(dim=3).mean(dim=1))
        return out


def ours() -> nn.Module:
    return build("unik", {"skeleton": "posetics17", "num_classes": CLASSES, "num_people": PEOPLE})


NETWORKS: dict[str, Callable[[], nn.Module]] = {"skelkit": ours, "head by head": HeadByHead}


def copy_weights(source: HeadByHead, target: nn.Module) -> None:
    """The same network: heads side by side, biases before a batch normalisation into its mean."""
    assert isinstance(target, UNIK)
    target.data_bn.load_state_dict(source.norm.state_dict())
    target.classifier.load_state_dict(source.classifier.state_dict())
    with torch.no_grad():
        for a, b in zip(source.blocks, target.blocks, strict=True):
            s, t = a.spatial, b.spatial
            t.dependency.copy_(s.matrices)
            embeddings = [*s.theta, *s.phi]
            t.embed.weight.copy_(torch.cat([e.weight for e in embeddings]).flatten(1))
            t.embed.bias.copy_(torch.cat([e.bias for e in embeddings]))
            t.project.weight.copy_(torch.cat([e.weight for e in s.embed], dim=1).flatten(1))
            t.norm.load_state_dict(s.norm.state_dict())
            t.norm.running_mean -= sum(e.bias for e in s.embed)
            if isinstance(s.down, nn.Sequential):
                t.down[0].weight.copy_(s.down[0].weight.flatten(1))
                t.down[1].load_state_dict(s.down[1].state_dict())
                t.down[1].running_mean -= s.down[0].bias
            pairs = [(a.temporal, b.temporal, b.norm)]
            if isinstance(a.residual, Temporal):
                pairs.append((a.residual, *b.residual))
            for old, conv, norm in pairs:
                conv.weight.copy_(old.conv.weight.squeeze(3).permute(2, 1, 0))
                norm.load_state_dict(old.norm.state_dict())
                norm.running_mean -= old.conv.bias


def batch(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    keypoints = torch.randn(args.batch, PEOPLE, args.frames, JOINTS, 2, generator=g)
    return keypoints, torch.randint(CLASSES, (args.batch,), generator=g)


def stepper(network: nn.Module, keypoints: Tensor, labels: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(network(keypoints), labels).backward()
        optimizer.step()

    return step


def peak_mb(name: str, args: argparse.Namespace) -> float:
    """Largest resident memory of a process of its own."""
    options = ["--batch", args.batch, "--frames", args.frames, "--threads", args.threads, "--only", name]
    command = [sys.executable, "-m", "benchmarks.unik_speed", *map(str, options)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10, help="steps of each network, after one to warm up")
    parser.add_argument("--only", choices=NETWORKS, help="three steps of one network, its peak memory in MB")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    keypoints, labels = batch(args)
    if args.only:
        step = stepper(NETWORKS[args.only](), keypoints, labels)
        for _ in range(3):
            step()
        # Not ru_maxrss, which starts at what the parent held.
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
        return

    networks = {name: make() for name, make in NETWORKS.items()}
    straightforward = networks["head by head"]
    assert isinstance(straightforward, HeadByHead)
    copy_weights(straightforward, networks["skelkit"])
    with torch.no_grad():
        logits = [n.eval()(keypoints[:2]) for n in networks.values()]
        assert torch.allclose(*logits, atol=1e-4), "not the same network"
    steps = {name: stepper(network.train(), keypoints, labels) for name, network in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(args.rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    table = Table("network", "quickest step, s", "clips per second", "ratio", "median ratio", "peak MB")
    base = times["head by head"]
    for name, taken in times.items():
        pairs = sorted(a / b for a, b in zip(taken, base, strict=True))
        table.add_row(
            name,
            f"{min(taken):.2f}",
            f"{args.batch / min(taken):.1f}",
            f"{min(taken) / min(base):.2f}",
            f"{pairs[len(pairs) // 2]:.2f}",
            f"{peak_mb(name, args):,.0f}",
        )
    Console().print(table)
    load = ", ".join(f"{v:.1f}" for v in os.getloadavg())
    print(f"{args.threads} threads of {os.cpu_count()} cores, {platform.machine()}; load averages {load}")


if __name__ == "__main__":
    main()
