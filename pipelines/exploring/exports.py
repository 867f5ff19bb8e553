"""A list as CSV or Parquet, as it is filtered and ordered on the page; who took it along is on record first."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Literal

from pipelines.database.times import UTCDateTime
from pipelines.exploring.listings import Field
from pipelines.exploring.paging import Asked, all_rows
from pipelines.home import audit
from pipelines.home.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

Form = Literal["csv", "parquet"]
MOST_EXPORTED: Final = 100_000
"""Rows of one file."""


def export_list(workspace: Workspace, asked: Asked, *, form: Form, actor: str) -> bytes:
    """Return the whole list as a file. The audit row names the list, its filters and how many rows left.

    Values of filters that may be an uploader's text are not in that row: their names are. Raises :class:`InputError`
    for more than :data:`MOST_EXPORTED` rows.
    """
    from pipelines.report.export import write_rows_csv, write_rows_parquet

    names = [one.name for one in asked.fields]
    with workspace.database.read() as connection:
        rows = [tuple(row[name] for name in names) for row in all_rows(connection, asked, most=MOST_EXPORTED)]
    facts: dict[str, str | int] = {"list": asked.listing.name, "filters": ",".join(asked.values), "rows": len(rows)}
    with workspace.database.write() as tx:
        audit.append(tx, workspace.sealer, actor=actor, action="list.export", now=workspace.now(), form=form, **facts)
    file = io.BytesIO()
    if form == "csv":
        write_rows_csv(file, names, rows)
    else:
        write_rows_parquet(file, _schema_of(asked.fields), rows)
    return file.getvalue()


def _schema_of(fields: tuple[Field, ...]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([pa.field(one.name, _type_of(one)) for one in fields])


def _type_of(field: Field) -> pa.DataType:
    import pyarrow as pa

    if isinstance(field.column.type, UTCDateTime):
        return pa.timestamp("us", tz="UTC")
    known = {float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
    return known.get(field.column.type.python_type, pa.string())
