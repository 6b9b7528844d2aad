"""A look at a cluster before it is trusted: what a worker sees, told by a worker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from skelkit._version import __version__
from skelkit.data.files import output_error
from skelkit.errors import ClusterError, SkelkitError
from skelkit.experts.cards import all_cards
from skelkit.experts.engine import has_gpu
from skelkit.experts.weights import find_weights
from skelkit.pipelines.cluster import Cluster
from skelkit.pipelines.cluster_worker import cores
from skelkit.pipelines.site_profile import Workers
from skelkit.pipelines.workers import Job

_PROBE = "probe"
_ONE = Workers(min=1, max=1)


def probe_cluster(cluster: Cluster, folder: Path, weights: str | None) -> dict[str, Any]:
    """Have a worker look around.

    Args:
        cluster: Whose.
        folder: On the file system that all machines share; a file is written and read there.
        weights: Folder where weights are looked for first.

    Returns:
        What it saw; ``problems`` lists what would keep it from working.

    Raises:
        ClusterError: there is no worker, or it is none for us.
        OutputError: nothing can be written in `folder`.
    """
    if cluster.profile is not None:
        cluster = replace(cluster, profile=cluster.profile.model_copy(update={"workers": _ONE}))
    try:
        output = Path(tempfile.mkdtemp(prefix=".skelkit-check-", dir=folder)) / _PROBE
    except OSError as error:
        raise output_error(error, folder / _PROBE) from error
    try:
        with cluster.recording("check", output):
            running = cluster.run(
                "probing",
                make_looking,
                (output.absolute(), weights),
                [_PROBE],
                makes=lambda task: output,
                measure=lambda tasks: [1.0] * len(tasks),
                name=str,
            )
            with closing(running) as events:
                for event in events:
                    if event.kind == "lost":
                        raise ClusterError(f"the probe did not survive: {event.data}")
                    if event.kind == "done":
                        seen: dict[str, Any] = event.data
        return seen
    finally:
        shutil.rmtree(output.parent, ignore_errors=True)


def make_looking(output: Path, weights: str | None) -> Job:
    """What the worker does: look around, and leave a file."""

    def job(task: str, send: Callable[[Any], None]) -> dict[str, Any]:
        output.write_text("seen")
        return look_around(weights) | {"cores": cores()}

    return job


def look_around(weights: str | None) -> dict[str, Any]:
    """What there is on this machine."""
    found, problems = _weights(weights)
    decoder = _decoder()
    gpus = _gpus()
    if not found:
        problems.append("no weights of any expert; set SKELKIT_WEIGHTS to a folder that all machines share")
    if "error" in decoder:
        problems.append(f"no video decoder: {decoder['error']}")
    if gpus and "CUDAExecutionProvider" not in decoder.get("onnxruntime_providers", []):
        problems.append("there is a GPU, but ONNX Runtime cannot use it: pip install 'skelkit[gpu]'")
    scratch = Path(tempfile.gettempdir())
    return {
        "host": os.uname().nodename,
        "skelkit": __version__,
        "python": sys.version.split()[0],
        "folder": str(Path.cwd()),
        "cores_of_machine": len(os.sched_getaffinity(0)),
        "gpus": gpus,
        "scratch": {"folder": str(scratch), "free_gib": round(shutil.disk_usage(scratch).free / 2**30, 1)},
        "weights": found,
        "decoder": decoder,
        "problems": problems,
    }


def _weights(weights: str | None) -> tuple[dict[str, str], list[str]]:
    found, problems = {}, []
    for card in all_cards():
        try:
            file = find_weights(card, weights)
        except SkelkitError as error:
            problems.append(f"{card.name}: {error.message}")
        else:
            if file is not None:
                found[card.name] = str(file.path)
    return found, problems


def _decoder() -> dict[str, Any]:
    try:
        import av
        import onnxruntime
    except ImportError as error:
        return {"error": str(error)}
    libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
    return {
        "pyav": av.__version__,
        "libavcodec": libavcodec,
        "onnxruntime": onnxruntime.__version__,
        "onnxruntime_providers": onnxruntime.get_available_providers(),
    }


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    if not has_gpu():
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return ["unknown (nvidia-smi does not answer)"]
