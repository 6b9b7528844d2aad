"""Where a dataset is made: beside OUT stands OUT.building until it is whole, so that a killed build goes on.

What is finished there lies under its final name: measured clips, and shards. A finished file is never made
again; everything else is derived anew, and comes out the same.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skelkit._version import __version__
from skelkit.data.dataset import DatasetInfo
from skelkit.data.files import output_error
from skelkit.data.folder import publish, sync
from skelkit.data.merging import brief, first_difference
from skelkit.errors import ConfigError, OutputError, ShardError
from skelkit.pipelines.spool import write_json

_RUN = "run.json"
_LOCK = "lock"


class Workbench:
    """The folder of an unfinished build.

    Args:
        output: The dataset in the making.
        recipe: Everything that shapes it.
    """

    def __init__(self, output: Path, recipe: dict[str, Any]) -> None:
        self.output = output
        self.folder = output.absolute().with_name(output.absolute().name + ".building")
        self.made = self.folder / "made"
        self.measured = self.folder / "measured"
        self.recipe: dict[str, Any] = json.loads(json.dumps(recipe))

    def done(self, *, overwrite: bool) -> bool:
        """Whether the output is there already, made by the same recipe.

        Raises:
            ConfigError: something else is there that is not to be replaced.
        """
        if not self.output.absolute().parent.is_dir():
            raise ConfigError(
                f"expected an existing folder for {self.output}; create {self.output.absolute().parent}",
                path=self.output,
            )
        if not self.output.exists() or (self.output.is_dir() and not any(self.output.iterdir())):
            return False
        try:
            there = DatasetInfo.read(self.output).recipe
        except ShardError as error:
            raise ConfigError(
                f"expected nothing or a dataset at {self.output}, found something that is not ours "
                f"({error.message}); choose another name or move it away",
                path=self.output,
            ) from error
        if overwrite or self._replacing():
            return False
        self._compare(there, f"{self.output} was")
        return True

    @contextmanager
    def held(self, *, overwrite: bool) -> Iterator[None]:
        """The folder, ready and locked against a second build.

        Args:
            overwrite: Start afresh, whatever is there.

        Raises:
            OutputError: another build holds it, or it cannot be written.
            ConfigError: it was begun with other settings; the first difference is named.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            with (self.folder / _LOCK).open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise OutputError(
                        f"another build is at work on {self.output} (it holds {self.folder}/{_LOCK}); wait "
                        "for it to end, or choose another output",
                        path=self.output,
                    ) from None
                self._begin(afresh=overwrite)
                try:
                    yield
                except ConfigError:  # the same call will not succeed: nothing is worth keeping
                    self.remove()
                    raise
                finally:
                    if not any(path.is_file() for path in self.folder.glob("*/*")):
                        self.remove()
        except OSError as error:
            raise output_error(error, self.folder) from error

    def publish(self) -> None:
        """Give the dataset its name, replacing one that is to be replaced, and clear the table."""
        if self.output.is_dir() and any(self.output.iterdir()):
            replaced = self.folder / "replaced"
            shutil.rmtree(replaced, ignore_errors=True)
            self.output.rename(replaced)
            sync(self.folder)
        publish(self.made, self.output)
        self.remove()

    def remove(self) -> None:
        """Give back the disk."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self, *, afresh: bool) -> None:
        begun = self._begun()
        if begun is None or afresh:
            for entry in self.folder.iterdir():
                if entry.name != _LOCK:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            write_json(
                self.folder / _RUN, {"recipe": self.recipe, "replacing": afresh, "skelkit": __version__}
            )
        else:
            self._compare(begun["recipe"], f"the unfinished build in {self.folder} was")
            if begun["skelkit"] != __version__:
                raise ConfigError(
                    f"the unfinished build in {self.folder} was begun by skelkit {begun['skelkit']}, this is "
                    f"{__version__}; start afresh with --overwrite"
                )
        for folder in (self.made, self.measured):
            folder.mkdir(exist_ok=True)
            for half_written in folder.glob(".skelkit-*.part"):
                half_written.unlink()

    def _begun(self) -> dict[str, Any] | None:
        try:
            begun: dict[str, Any] = json.loads((self.folder / _RUN).read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return None
        return begun

    def _replacing(self) -> bool:
        """Whether the build that is here, by the same recipe, is to replace the output."""
        begun = self._begun()
        return begun is not None and begun["replacing"] and begun["recipe"] == self.recipe

    def _compare(self, other: dict[str, Any], what: str) -> None:
        difference = first_difference(other, self.recipe)
        if difference is not None:
            name, before, now = difference
            raise ConfigError(
                f"{what} made with other settings or inputs: {name} was {brief(before)}, now {brief(now)}; "
                "run with the same ones, with --overwrite to start afresh, or with another output",
                difference=name,
            )
