"""Writes a report: collects facts in one transaction, then publishes file by file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.home.private_files import publish
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.report.collect import collect_facts
from pipelines.report.facts import PageLimits, ReportCounts

if TYPE_CHECKING:
    from pipelines.report.render import FileNames


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Paths of a report's files, and its counts. ``html``: the report; ``more``: further pages of hits, as there are
    more than one page holds; ``blocked``: days that a check stopped, of all days. ``csv`` and ``parquet`` hold every
    hit, the pages the most urgent ones; ``models_*`` every verdict on a model; ``unscanned_csv`` every item that was
    not looked at."""

    html: Path
    more: tuple[Path, ...]
    blocked: Path
    csv: Path
    parquet: Path
    models_csv: Path
    models_parquet: Path
    unscanned_csv: Path
    counts: ReportCounts


def write_report(
    workspace: Workspace,
    *,
    day: date | None,
    folder: Path,
    source_id: str | None = None,
    limits: PageLimits = PageLimits(),
) -> ReportFiles:
    """Write the report of the items received on a UTC day (None: of all), of one source or all, into ``folder``.

    The same database gives the same bytes, apart from the time of writing and spans measured from it. Each file is
    replaced whole, the report itself last, so that it never names rows or pages that are lacking. Raises
    :class:`StateError` when a link or a device bears a report's name, and :class:`CorruptionError` when the manifest
    cannot be trusted, like everything else that counts coverage (I7).
    """
    from pipelines.report.export import (
        write_hits_csv,
        write_hits_parquet,
        write_models_csv,
        write_models_parquet,
        write_unscanned_csv,
    )
    from pipelines.report.render import FileNames, render_pages

    with workspace.database.read() as connection:
        facts = collect_facts(connection, workspace, Scope(source_id, day), max_runs=limits.runs)
    stem = f"report-{day.isoformat() if day else 'all'}"

    def name_of(count: int) -> FileNames:
        pages = (f"{stem}.html", *(f"{stem}-page-{number}.html" for number in range(2, count + 1)))
        others = {"csv": ".csv", "parquet": ".parquet", "unscanned_csv": "-unscanned.csv"}
        others |= {"models_csv": "-models.csv", "models_parquet": "-models.parquet"}
        return FileNames(pages, "blocked-days.html", **{name: f"{stem}{end}" for name, end in others.items()})

    rendered = render_pages(facts, limits=limits, name_of=name_of)
    files = _files(folder, rendered.names, facts.counts)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    publish(files.parquet, lambda file: write_hits_parquet(file, facts.hits), overwrite=True)
    publish(files.csv, lambda file: write_hits_csv(file, facts.hits), overwrite=True)
    publish(files.models_parquet, lambda file: write_models_parquet(file, facts.models), overwrite=True)
    publish(files.models_csv, lambda file: write_models_csv(file, facts.models), overwrite=True)
    publish(files.unscanned_csv, lambda file: write_unscanned_csv(file, facts.unscanned), overwrite=True)
    for path, page in zip(
        (*files.more, files.blocked, files.html),
        (*rendered.pages[1:], rendered.blocked, rendered.pages[0]),
        strict=True,
    ):
        _publish_page(path, page)
    for path in sorted(folder.glob(f"{stem}-page-*.html")):  # of a report that had more
        if path not in files.more:
            path.unlink(missing_ok=True)
    return files


def _publish_page(path: Path, page: str) -> None:
    publish(path, lambda file: file.write(page.encode("utf-8")), overwrite=True)


def _files(folder: Path, names: FileNames, counts: ReportCounts) -> ReportFiles:
    named = ("blocked", "csv", "parquet", "models_csv", "models_parquet", "unscanned_csv")
    html, *more = (folder / name for name in names.pages)
    return ReportFiles(
        html=html, more=tuple(more), counts=counts, **{name: folder / getattr(names, name) for name in named}
    )
