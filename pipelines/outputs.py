"""Outputs that appear whole under their name, in the place of what was there if that was ours."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from skelkit.data.files import output_error
from skelkit.data.folder import sync
from skelkit.errors import ConfigError


@contextmanager
def made_beside(output: Path, *, overwrite: bool, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """A path in a hidden folder beside `output`; what is made there takes its place when all went well.

    Args:
        output: The file or folder to make.
        overwrite: Replace what is there.
        is_ours: Whether what is there may be replaced.

    Raises:
        ConfigError: something is there that may not be replaced.
        OutputError: the operating system refuses.
    """
    _check(output, overwrite=overwrite, is_ours=is_ours)
    work = output.absolute().with_name(f".skelkit-{os.getpid()}-{secrets.token_hex(4)}.making")
    try:
        work.mkdir()
        (work / "new").mkdir()
        yield work / "new" / output.name
        made = sorted((work / "new").iterdir())
        for path in made:
            _check(output.with_name(path.name), overwrite=overwrite, is_ours=lambda _: True)
            sync(path)
        (work / "old").mkdir()
        for path in made:
            target = output.absolute().with_name(path.name)
            if os.path.lexists(target):
                target.replace(work / "old" / path.name)
            path.replace(target)
        sync(output.absolute().parent)
    except OSError as error:
        raise output_error(error, output) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check(output: Path, *, overwrite: bool, is_ours: Callable[[Path], bool]) -> None:
    if not os.path.lexists(output) or (output.is_dir() and not any(output.iterdir())):
        return
    if not overwrite:
        raise ConfigError(
            f"{output} exists; choose another name, or replace it with --overwrite", path=output
        )
    if not is_ours(output):
        raise ConfigError(
            f"expected nothing at {output}, or what skelkit made there before; choose another name, or move "
            "it away",
            path=output,
        )
