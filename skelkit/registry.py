"""Names -> things, loaded only when asked for.

Built-in entries are "module:attribute" strings; third parties add theirs through entry points, in the
group ``skelkit.<kind>`` of their package's metadata (for example ``skelkit.experts``).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from skelkit.errors import ConfigError


class Registry:
    """A named collection of lazily imported factories.

    Args:
        kind: What is collected, in the plural, for example ``experts``; also names the entry-point group.
        builtin: name -> "module:attribute", or "module" for the module itself.
    """

    def __init__(self, kind: str, builtin: dict[str, str]) -> None:
        self.kind = kind
        self._entries = dict(builtin)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self._entries, *(e.name for e in self._plugins())})

    def load(self, name: str) -> Any:
        """The thing of this name, imported now.

        Raises:
            ConfigError: unknown name (with the nearest known ones), or a plugin that cannot be imported.
        """
        if name in self._entries:
            module, _, attribute = self._entries[name].partition(":")
            loaded = import_module(module)
            return getattr(loaded, attribute) if attribute else loaded
        for plugin in self._plugins():
            if plugin.name == name:
                try:
                    return plugin.load()
                except (ImportError, AttributeError) as error:
                    raise ConfigError(
                        f"{self.kind}: {name!r} is registered as {plugin.value!r} but cannot be imported "
                        f"({error}); reinstall the package that provides it"
                    ) from error
        raise ConfigError(unknown(self.kind.removesuffix("s"), name, self.names()))

    def _plugins(self) -> Iterable[Any]:
        return entry_points(group=f"skelkit.{self.kind}")


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name nobody knows, with suggestions."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known) or 'none'}"
    return f"unknown {kind}: {name!r}; {hint}"
