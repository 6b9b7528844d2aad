"""A dataset or a training run -> a page that shows what is in it, and its figures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skelkit.aggregation.confidence import GAMMA
from skelkit.data.dataset import INFO_FILE, DatasetReader
from skelkit.errors import ConfigError, OutputError
from skelkit.report.facts import DatasetFacts

if TYPE_CHECKING:
    from skelkit.report.page import DatasetReport
    from skelkit.report.run_page import RunReport

_OF_RUNS = ("run.json", "model.json")
"""Files of which a run's or a model's folder has one."""
PAGE_NAME = "report.html"
"""Where the page goes by default, in the folder it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """What was written."""

    page: Path
    figures: tuple[Path, ...]
    contents: str
    """What it is about, in a few words."""
    size_bytes: int
    """Of the page."""


def report(
    folder: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    figures: str | os.PathLike[str] | None = None,
    gamma: float = GAMMA,
    overwrite: bool = False,
) -> ReportSummary:
    """Describe a dataset or a training run: one HTML page that needs nothing else, and its figures as PNG.

    Equal datasets give equal bytes. All numbers of a dataset come from its index; a few hundred clips are
    read.

    Args:
        folder: A dataset, or a run (or a model): what it holds decides.
        data: The dataset of a run; None = where it was when it was trained on. A run's page goes without
            where it cannot be found.
        out: The page; None = ``report.html`` in the folder.
        figures: Folder of the figures, made where it is absent; None = beside the page, named after it
            (``report-figures``).
        gamma: Of a dataset: C below which a pose counts as discarded, in [0, 1).
        overwrite: Replace what is there.

    Raises:
        ConfigError: gamma out of range, or `data` is not the run's dataset.
        ShardError: neither a dataset nor a run there, or a damaged dataset.
        CheckpointError: a run with a damaged model.
        InputError: a run with damaged curves or results.
        OutputError: the page or a figure exists, or cannot be written.
    """
    if not 0 <= gamma < 1:
        raise ConfigError(f"gamma: expected 0 to below 1, got {gamma}")
    about = Path(folder)
    page = about / PAGE_NAME if out is None else Path(out)
    pictures = page.with_name(f"{page.stem}-figures") if figures is None else Path(figures)
    if not (about / INFO_FILE).exists() and any((about / name).is_file() for name in _OF_RUNS):
        return _of_run(about, None if data is None else Path(data), page, pictures, overwrite=overwrite)
    with DatasetReader(about) as reader:
        _check_vacant(page, pictures, overwrite=overwrite)
        from skelkit.report.page import DatasetReport

        facts = _facts(reader, gamma)
        made = DatasetReport(facts, reader.__getitem__)
        classes = len(set(facts.label.tolist()) - {""})
        return _write(made, page, pictures, f"{len(reader)} clips, {classes} classes")


def _of_run(folder: Path, data: Path | None, page: Path, pictures: Path, *, overwrite: bool) -> ReportSummary:
    _check_vacant(page, pictures, overwrite=overwrite)
    from skelkit.pipelines.report_run import run_facts
    from skelkit.report.run_page import RunReport

    with run_facts(folder, data) as (facts, clip_of):
        made = RunReport(facts, clip_of)
        told = [f"{len(facts.whole_epochs)} of {facts.epochs} epochs"] if facts.epochs else []
        told += [f"{result.split} top-1 {result.top1:.1%}" for result in facts.results]
        return _write(made, page, pictures, ", ".join([facts.architecture, *told]))


def _write(made: DatasetReport | RunReport, page: Path, pictures: Path, contents: str) -> ReportSummary:
    _make_folder(pictures)
    written = made.write(page, pictures)
    return ReportSummary(page=page, figures=tuple(written), contents=contents, size_bytes=page.stat().st_size)


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
