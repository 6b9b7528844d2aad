"""What is installed and what works on this machine, and what to type for the rest."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from skelkit._version import __version__
from skelkit.errors import MissingExtraError
from skelkit.experts import engine
from skelkit.experts.openmmlab import environment as openmmlab
from skelkit.experts.openmmlab.families import MMPRETRAIN
from skelkit.pipelines.experts import list_experts, list_families
from skelkit.video import require_torchcodec

_NEEDED = ("torch", "torchvision", "onnxruntime", "av", "opencv-python-headless", "numpy", "h5py")
_FETCH = "skelkit experts fetch NAME"
_GPU = "pip uninstall onnxruntime && pip install 'skelkit[gpu]'"


def examine(weights: str | None = None) -> dict[str, Any]:
    """Look at the machine.

    Args:
        weights: Folder where weights are looked for first.

    Returns:
        ``skelkit`` and ``python`` (versions); ``packages`` (name, version or None); ``machine`` (cores, GPUs,
        providers, decoders); ``experts`` (as `list_experts`, with ``works``); ``openmmlab``
        (as `list_families`); ``advice`` (what for, and what to type).
    """
    packages = {name: _version(name) for name in (*_NEEDED, "onnxruntime-gpu", "torchcodec")}
    packages |= openmmlab.installed()
    machine = _machine()
    experts = [row | {"works": _works(row)} for row in list_experts(weights)]
    return {
        "skelkit": __version__,
        "python": platform.python_version(),
        "packages": packages,
        "machine": machine,
        "experts": experts,
        "openmmlab": list_families()[0],
        "advice": _advice(packages, machine, experts),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    import onnxruntime
    import torch

    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": _gpus(),
        "gpus_of_torch": torch.cuda.device_count(),
        "onnx_providers": onnxruntime.get_available_providers(),
        "decoder": _ffmpeg_of_av(),
        "nvdec": _nvdec(),
    }


def _gpus() -> list[str]:
    """Names of the NVIDIA GPUs; numbers where the driver's tool is not installed."""
    if not engine.has_gpu():
        return []
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError):
        return [f"GPU {i}" for i in range(engine.count_gpus())]


def _ffmpeg_of_av() -> str:
    import av

    numbers = ".".join(str(n) for n in av.library_versions["libavcodec"])
    return f"PyAV {av.__version__} (libavcodec {numbers})"


def _nvdec() -> str:
    """Whether videos could be decoded on the GPU, or why not."""
    if not engine.has_gpu():
        return "no: no NVIDIA GPU"
    try:
        require_torchcodec()
    except MissingExtraError as error:
        return f"no: {error.message}"
    return "yes, with skelkit extract --decoder torchcodec"


def _works(row: dict[str, Any]) -> str:
    """``yes``, ``fetch`` (weights to be downloaded), or why not."""
    if os.path.isfile(row["weights"]):  # noqa: PTH113 - may be a message, which no path must be made of
        return "yes"
    if row["weights"]:
        return str(row["weights"])
    return "fetch" if row["downloadable"] else "no weights"


def _advice(
    packages: dict[str, str | None], machine: dict[str, Any], experts: list[dict[str, Any]]
) -> list[dict[str, str]]:
    told = []
    if packages["mmpose"] is None or packages["mmdet"] is None:
        told.append({"for": "experts of MMPose and MMDetection", "type": "make openmmlab"})
        told.append({"for": "the same without a checkout", "type": openmmlab.INSTALL})
    elif packages.get("mmpretrain") is None:
        told.append({"for": "ViTPose and other networks of mmpretrain", "type": MMPRETRAIN})
    if machine["gpus"] and not engine.runs_onnx("cuda"):
        told.append({"for": "ONNX experts on the GPU", "type": _GPU})
    if machine["gpus"] and not machine["gpus_of_torch"]:
        told.append({"for": "PyTorch on the GPU", "type": "see pytorch.org for the driver installed here"})
    if any(e["works"] == "fetch" for e in experts):
        told.append({"for": "weights that can be downloaded", "type": _FETCH})
    if any(e["works"] == "no weights" for e in experts):
        told.append({"for": "weights that you have", "type": "export SKELKIT_WEIGHTS=FOLDER"})
    return told
