"""The match report of one day or of everything: a page for analysts, and its rows as CSV and Parquet.

    facts      the content of a report, as frozen dataclasses
    collect    database -> facts, in one transaction
    arrange    which hits come first, grouped by person and by what is to be decided
    words      numbers -> sentences
    render     facts -> one self-contained page (templates/)
    export     hits -> CSV and Parquet, items not looked at -> CSV
    write      :func:`write_report`, which does the above in order

Only opaque ids, numbers and fixed words get in here (I8). Item ids, model ids and everything else an uploader chose is
hostile text (I9): escaped on the page, neutralised in the CSV.
"""

from pipelines.report.facts import PageLimits, ReportCounts
from pipelines.report.write import ReportFiles, write_report

__all__ = ["PageLimits", "ReportCounts", "ReportFiles", "write_report"]
