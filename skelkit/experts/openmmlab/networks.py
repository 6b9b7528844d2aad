"""Networks out of OpenMMLab configs, with weights, ready to run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from skelkit.errors import ConfigError, ExpertError, MissingExtraError, WeightsError
from skelkit.experts.device_frames import torch_device
from skelkit.experts.engine import Device
from skelkit.experts.openmmlab import checkpoints
from skelkit.experts.openmmlab.environment import prepare, require
from skelkit.experts.openmmlab.families import FAILS, MMPRETRAIN, folder
from skelkit.experts.openmmlab.index import Entry, entries, resolve
from skelkit.experts.openmmlab.naming import Request, parse
from skelkit.experts.openmmlab.pictures import Normalise
from skelkit.experts.weights import Progress, WeightsFile, find_weights

Weights = str | os.PathLike[str] | None
_CODE_FAILS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What a config, which is code, and the modules it names may raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A network, named and found, not yet in memory."""

    package: str
    request: Request
    config: Any
    """The ``mmengine.Config``."""
    config_name: str
    entry: Entry | None
    """Its place in the index, None for a config file of the user's."""

    @property
    def name(self) -> str:
        """The expert's name."""
        return self.request.label(self.config_name)

    def weights(self, explicit: Weights) -> WeightsFile | None:
        """The file with its weights; None where they are random.

        Raises:
            WeightsError: not to be had.
        """
        if self.request.random is not None:
            return None
        if self.request.checkpoint is not None:
            return checkpoints.own(self.request.checkpoint)
        if self.entry is None:
            raise ConfigError(
                f"{self.package}:{self.request.text}: expected a checkpoint behind the config: "
                f"{self.package}:{self.request.model}@FILE.pth (or @random=0, to try out the plumbing)"
            )
        return checkpoints.published(self.package, self.entry, explicit)

    def describe(self, kind: str, explicit: Weights) -> dict[str, Any]:
        """What shapes its results, ready for JSON."""
        found = self.weights(explicit)
        shaping = {"model": self.config.model, "pipeline": self.config.test_dataloader.dataset.pipeline}
        return {
            "name": self.name,
            "kind": kind,
            "weights": "random" if found is None else "given" if self.request.checkpoint else "published",
            "weights_sha256": None if found is None else found.sha256,
            "random_seed": self.request.random,
            "config_sha256": hashlib.sha256(repr(_plain(shaping)).encode()).hexdigest(),
            "flip_test": self.request.flip,
            "autocast": self.request.autocast,
        }


def plan(package: str, request: Request) -> Plan:
    """Find a model's config.

    Raises:
        ConfigError: an unknown model, one that cannot work, or a config that does not load.
        MissingExtraError: OpenMMLab's packages are missing.
    """
    entry = None if request.is_path else resolve(package, request.model)
    if entry and (why := FAILS.get(folder(entry))):
        raise ConfigError(f"{package}:{request.text}: {entry.name} is no expert of skelkit: {why}")
    path = entry.config if entry else Path(request.model)
    return Plan(package=package, request=request, config=_config(path), config_name=path.stem, entry=entry)


@cache
def _config(path: Path) -> Any:
    require()
    from mmengine.config import Config

    if not path.is_file():
        raise ConfigError(f"expected a config of OpenMMLab at {path}, found no such file", path=path)
    try:
        config = Config.fromfile(path)
    except (OSError, *_CODE_FAILS) as error:
        raise ConfigError(f"expected a config of OpenMMLab in {path}: {error}", path=path) from error
    if "model" not in config:
        raise ConfigError(f"expected a config with a model in {path}, it has {', '.join(config)}", path=path)
    types = {d["type"] for d in _dicts(config.model) if isinstance(d.get("type"), str)}
    if any(t.startswith("mmpretrain.") for t in types) and find_spec("mmpretrain") is None:
        raise MissingExtraError(
            f"{path.stem} needs mmpretrain; try: {MMPRETRAIN}",
            extra="openmmlab",
        )
    return config


def catalogue(package: str, explicit: Weights) -> list[dict[str, Any]]:
    """Rows for the models whose weights are on this machine; the index alone has hundreds."""
    try:
        every = [e for e in entries(package) if e.url]
    except MissingExtraError:
        return []
    rows = []
    for entry in every:
        try:
            found = find_weights(checkpoints.Published.of(package, entry), explicit)
            where = str(found.path) if found else ""
        except WeightsError as error:
            where = error.message
        if where:
            rows.append(
                {
                    "name": f"{package}:{entry.name}",
                    "kind": "detector" if package == "mmdet" else "pose",
                    "joints": "",
                    "verified": False,
                    "weights": where,
                    "downloadable": True,
                    "summary": f"by {package}'s own code",
                }
            )
    return rows


def fetch(package: str, name: str, progress: Progress | None) -> WeightsFile:
    """Download what is published for a model, unless it is on this machine already."""
    return checkpoints.published(package, resolve(package, parse(name).model), None, progress)


def build(found: Plan, explicit: Weights, device: Device) -> tuple[Any, dict[str, Any]]:
    """The network on its device, ready to predict, and the meta information of its checkpoint ({} if none).

    Raises:
        ExpertError: it cannot be built from its config.
        WeightsError: its weights are not to be had or another network's.
    """
    weights = found.weights(explicit)
    prepare()
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import MODELS, DefaultScope

    config = found.config.copy()
    for part in _dicts(config.model):
        for key in ("init_cfg", "pretrained"):  # weights of a backbone alone, for training
            if key in part:
                part[key] = None
    config.model.train_cfg = None
    seed = found.request.random
    with DefaultScope.overwrite_default_scope(config.get("default_scope", found.package)):
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed or 0)
                model: Any = revert_sync_batchnorm(MODELS.build(config.model))
                if seed is not None:
                    settle(model, Normalise.of(config.model.get("data_preprocessor") or {}))
        except _CODE_FAILS as error:
            raise ExpertError(
                f"{found.name}: cannot build the network of this config: {type(error).__name__}: {error}"
            ) from error
    meta: dict[str, Any] = {}
    if weights is not None:
        content = checkpoints.read(weights.path, trust_pickle=found.request.trust_pickle)
        checkpoints.load_into(model, content, weights.path)
        meta = content.get("meta") or {}
    place = torch_device(device)
    model.eval().requires_grad_(False).to(place)
    if found.request.autocast:
        _lower_precision(model, place, getattr(torch, found.request.autocast))
    return model, meta


def _lower_precision(model: Any, place: torch.device, precision: torch.dtype) -> None:
    """Autocast for all of a network but its head, which decodes and sorts in single precision."""
    in_full = model.extract_feat

    def extract_feat(inputs: Tensor) -> Any:
        with torch.autocast(place.type, dtype=precision):
            features = in_full(inputs)
        return of_each(features, Tensor.float)

    model.extract_feat = extract_feat


def of_each(features: Any, do: Callable[[Tensor], Tensor]) -> Any:
    """What `do` makes of each tensor in a network's features, which are lists and tuples of them."""
    return do(features) if isinstance(features, Tensor) else type(features)(of_each(f, do) for f in features)


@torch.no_grad()
def settle(model: Any, normalise: Normalise) -> None:
    """Let the batch norms of a random network see clouds, so that its outputs vary as a trained one's do.

    Left as they begin, they let the signal fade or grow from layer to layer, and every joint would lie in
    the same corner.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [n.momentum for n in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over what it sees
        norm.train()
    size = (256, 192)
    coarse, fine = (
        functional.interpolate(torch.rand(2, 3, h, h * 3 // 4), size, mode="bilinear") for h in (16, 128)
    )
    clouds = 128 * (coarse + fine)
    head = next((getattr(model, n) for n in ("head", "bbox_head") if hasattr(model, n)), None)
    features = model.extract_feat(normalise(clouds))
    if head is not None:
        head.forward(of_each(features, lambda f: f[:1]))  # CID's takes one frame at a time
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """All dicts inside a config."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list | tuple):
        for part in list(value.values()) if isinstance(value, dict) else value:
            yield from _dicts(part)


def _plain(value: Any) -> Any:
    """The same for the same content, whatever the order of the keys."""
    if isinstance(value, dict):
        return sorted((str(k), _plain(v)) for k, v in value.items())
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
