"""What a user writes behind ``mmpose:`` and ``mmdet:``.

    rtmo-l                           a model of the installed package's index, with its published weights
    td-hm_hrnet-w48@flip             options follow, each behind an @
    configs/mine.py@work/best.pth    a config file and a checkpoint of it
    rtmo-l@work/best.pth             a config of the index with a checkpoint of one's own

Options: ``flip`` (poses of the mirrored picture count, too), ``autocast=bfloat16`` or ``float16``,
``random=SEED`` (random weights, to try out the plumbing), ``trust-pickle`` (load a checkpoint that holds
more than numbers: it may run any code).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skelkit.errors import ConfigError

AUTOCAST = ("bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A model, and how to run it."""

    text: str
    """As the user wrote it."""
    model: str
    """A name of the index, or the path of a config."""
    checkpoint: Path | None = None
    """The user's own weights."""
    random: int | None = None
    """Seed of random weights."""
    flip: bool = False
    """Average with the mirrored picture's poses."""
    autocast: str | None = None
    """Lower precision of the network's matrix products."""
    trust_pickle: bool = False
    """Whether the checkpoint may run code."""

    @property
    def is_path(self) -> bool:
        """Whether `model` is a file."""
        return self.model.endswith(".py")

    def label(self, config: str) -> str:
        """The expert's name: the config's, and whatever makes the results differ from its published ones."""
        parts = [config]
        if self.checkpoint is not None and self.checkpoint.stem != config:
            parts.append(self.checkpoint.stem)
        if self.random is not None:
            parts.append(f"random{self.random}")
        if self.flip:
            parts.append("flip")
        if self.autocast:
            parts.append(self.autocast)
        return ".".join(parts)


def parse(text: str) -> Request:
    """Take a name apart.

    Raises:
        ConfigError: an option nobody knows, or options that exclude each other.
    """
    model, *options = text.split("@")
    found: dict[str, object] = {}
    for option in options:
        key, _, value = option.partition("=")
        if option in {"flip", "trust-pickle"}:
            found[option.replace("-", "_")] = True
        elif option == "random" or (key == "random" and value.isdecimal()):
            found["random"] = int(value or 0)
        elif key == "autocast" and value in AUTOCAST:
            found["autocast"] = value
        elif Path(option).suffix in {".pth", ".pt", ".ckpt"}:
            found["checkpoint"] = Path(option)
        else:
            raise ConfigError(
                f"{text}: expected @flip, @autocast={' or '.join(AUTOCAST)}, @random=SEED, @trust-pickle or "
                f"a checkpoint file (.pth) behind the model's name, got @{option}"
            )
    if not model:
        raise ConfigError(f"{text!r}: expected the name of a model or the path of a config (.py)")
    if "random" in found and "checkpoint" in found:
        raise ConfigError(f"{text}: random weights and a checkpoint exclude each other: give one of them")
    return Request(text=text, model=model, **found)  # type: ignore[arg-type]
