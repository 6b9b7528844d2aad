"""A dataset -> a page that shows what is in it, and its figures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from skelkit.aggregation.confidence import GAMMA
from skelkit.data.dataset import DatasetReader
from skelkit.errors import ConfigError, OutputError
from skelkit.report.facts import DatasetFacts

PAGE_NAME = "report.html"
"""Where the page goes by default, in the dataset's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """What was written."""

    page: Path
    figures: tuple[Path, ...]
    num_clips: int
    num_classes: int
    size_bytes: int
    """Of the page."""


def report(
    dataset: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    figures: str | os.PathLike[str] | None = None,
    gamma: float = GAMMA,
    overwrite: bool = False,
) -> ReportSummary:
    """Describe a dataset: one HTML page that needs nothing else, and its figures as PNG.

    Equal datasets give equal bytes. All numbers come from the index; a few hundred clips are read.

    Args:
        dataset: The dataset's folder.
        out: The page; None = ``report.html`` in the dataset.
        figures: Folder of the figures, made where it is absent; None = beside the page, named after it
            (``report-figures``).
        gamma: C below which a pose counts as discarded, in [0, 1).
        overwrite: Replace what is there.

    Raises:
        ConfigError: gamma out of range.
        ShardError: no dataset there, or a damaged one.
        OutputError: the page or a figure exists, or cannot be written.
    """
    if not 0 <= gamma < 1:
        raise ConfigError(f"gamma: expected 0 to below 1, got {gamma}")
    page = Path(dataset) / PAGE_NAME if out is None else Path(out)
    folder = page.with_name(f"{page.stem}-figures") if figures is None else Path(figures)
    with DatasetReader(dataset) as reader:
        _check_vacant(page, folder, overwrite=overwrite)
        from skelkit.report.page import DatasetReport

        facts = _facts(reader, gamma)
        made = DatasetReport(facts, reader.__getitem__)
        _make_folder(folder)
        written = made.write(page, folder)
        return ReportSummary(
            page=page,
            figures=tuple(written),
            num_clips=len(reader),
            num_classes=len(set(facts.label.tolist()) - {""}),
            size_bytes=page.stat().st_size,
        )


def _facts(reader: DatasetReader, gamma: float) -> DatasetFacts:
    """The index and what the dataset says of itself."""
    info = reader.info
    names = DatasetFacts.columns()
    return DatasetFacts(
        name=info.name,
        skeleton=info.skeleton,
        dimensions=info.dimensions,
        coordinate_unit=info.coordinate_unit,
        created_with=info.created_with,
        recipe=info.recipe,
        filters=info.filters,
        label_names=info.label_names,
        num_shards=len(info.shards),
        size_bytes=sum(shard.bytes for shard in info.shards),
        gamma=gamma,
        **{name: reader.column(name) for name in names},
    )


def _check_vacant(page: Path, folder: Path, *, overwrite: bool) -> None:
    """Refuse early what could only fail at the end."""
    if page.is_dir() or not page.name:
        raise OutputError(f"expected a file name for the page, got the folder {page}", path=page)
    if not page.parent.is_dir():
        raise OutputError(
            f"expected an existing folder for {page}, found no {page.parent}; create it", path=page
        )
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"expected a folder for the figures, got the file {folder}", path=folder)
    there = [path for path in (page, folder) if path.is_file() or (path.is_dir() and any(path.iterdir()))]
    if there and not overwrite:
        raise OutputError(f"{there[0]} exists; try another name, or --overwrite to replace it", path=there[0])


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}", path=folder) from error
