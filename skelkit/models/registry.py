"""Names -> networks, built from settings as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from skelkit.errors import ConfigError
from skelkit.models.base import ModelConfig, SkeletonModel
from skelkit.registry import Registry, unknown

MODELS = Registry(
    "models",
    {
        "unik": "skelkit.models.unik:UNIK",
        "stgcn": "skelkit.models.stgcn:STGCN",
        "agcn": "skelkit.models.agcn:AGCN",
        "msg3d": "skelkit.models.msg3d:MSG3D",
    },
)
"""Names -> subclasses of `SkeletonModel`: called with their `Config`, they build the network."""


def configure(name: str, settings: Mapping[str, Any]) -> ModelConfig:
    """Settings as data, checked: the `Config` of the architecture `name`.

    Raises:
        ConfigError: unknown name, or wrong settings: every problem in one message, and one by one in
            `fields["problems"]`.
    """
    kind: type[ModelConfig] = MODELS.load(name).Config
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        problems = tuple(
            unknown("setting", str(e["loc"][-1]), kind.model_fields)
            if e["type"] == "extra_forbidden"
            else ": ".join([*map(str, e["loc"]), e["msg"].removeprefix("Value error, ")])
            for e in error.errors()
        )
        raise ConfigError(
            f"model {name!r} has {len(problems)} problem(s): {'; '.join(problems)}",
            model=name,
            problems=problems,
        ) from error


def build(name: str, settings: Mapping[str, Any] | ModelConfig) -> SkeletonModel:
    """A network with fresh weights, in training mode.

    Raises:
        ConfigError: unknown name, wrong settings, or a joint set the architecture cannot use.
    """
    config = settings if isinstance(settings, ModelConfig) else configure(name, settings)
    model: SkeletonModel = MODELS.load(name)(config)
    return model
