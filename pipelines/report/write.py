"""Writes a report: collects facts in one transaction, then publishes file by file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipelines.home.private_files import publish
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.report.collect import collect_facts
from pipelines.report.facts import PageLimits, ReportCounts


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Paths of a report's files, and its counts. ``csv`` and ``parquet`` hold every hit, the page the most urgent ones;
    ``models_*`` every verdict on a model; ``unscanned_csv`` every item that was not looked at."""

    html: Path
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
    replaced whole, the page last, so that a page never names rows that its files lack. Raises :class:`StateError` when
    a link or a device bears a report's name, and :class:`CorruptionError` when the manifest cannot be trusted, like
    everything else that counts coverage (I7).
    """
    from pipelines.report.export import (
        write_hits_csv,
        write_hits_parquet,
        write_models_csv,
        write_models_parquet,
        write_unscanned_csv,
    )
    from pipelines.report.render import FileNames, render_page

    with workspace.database.read() as connection:
        facts = collect_facts(connection, workspace, Scope(source_id, day), max_runs=limits.runs)
    stem = f"report-{day.isoformat() if day else 'all'}"
    files = ReportFiles(
        html=folder / f"{stem}.html",
        csv=folder / f"{stem}.csv",
        parquet=folder / f"{stem}.parquet",
        models_csv=folder / f"{stem}-models.csv",
        models_parquet=folder / f"{stem}-models.parquet",
        unscanned_csv=folder / f"{stem}-unscanned.csv",
        counts=facts.counts,
    )
    names = FileNames(**{name: getattr(files, name).name for name in FileNames.__dataclass_fields__})
    page = render_page(facts, limits=limits, names=names).encode("utf-8")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    publish(files.parquet, lambda file: write_hits_parquet(file, facts.hits), overwrite=True)
    publish(files.csv, lambda file: write_hits_csv(file, facts.hits), overwrite=True)
    publish(files.models_parquet, lambda file: write_models_parquet(file, facts.models), overwrite=True)
    publish(files.models_csv, lambda file: write_models_csv(file, facts.models), overwrite=True)
    publish(files.unscanned_csv, lambda file: write_unscanned_csv(file, facts.unscanned), overwrite=True)
    publish(files.html, lambda file: file.write(page), overwrite=True)
    return files
