"""The audit chain for auditors: rows by actor, action and day, and the whole chain as a file that can be checked.

A file has every row with its MAC and the MAC before it, and as its last line the MAC of where the chain ended, so that
neither a changed row nor a missing one, nor a shortened file passes (:func:`check_export`). Opaque ids, counts and
fixed words only, as in the chain itself (I8).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import CorruptionError, InputError
from pipelines.database.tables import audit as audit_rows
from pipelines.home import audit
from pipelines.home.actors import identity_of
from pipelines.home.private_files import open_private, publish, require_writable
from pipelines.home.sealing import Sealer
from pipelines.home.workspace import Workspace

FORMATS: Final = (".jsonl", ".csv")
COLUMNS: Final = ("seq", "at", "actor", "action", "facts", "previous", "mac")
_END: Final = "(end of the chain)"
_MOST: Final = 2**31 - 1
_LONGEST_LINE: Final = 2**20


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who did what to which opaque ids. ``facts``: by name."""

    seq: int
    at: datetime
    actor: str
    action: str
    facts: Mapping[str, Any]


def list_audit(
    connection: Connection,
    *,
    since: date | None = None,
    until: date | None = None,
    actor: str | None = None,
    action: str | None = None,
    subject_id: str | None = None,
    limit: int | None = None,
) -> list[AuditRow]:
    """Rows of the chain, the newest first. Every filter is optional.

    ``since`` and ``until``: UTC days, both included; ``actor``: the recorded string, or an account's uid or name;
    ``action``: ``subject.view``, or ``subject`` for all ``subject.*``. Raises :class:`InputError` for an empty filter.
    """
    if "" in (actor, action, subject_id):
        raise InputError("a filter is empty: leave it out, or say which")
    if limit is not None and not 1 <= limit <= _MOST:
        raise InputError(f"a limit is a number from 1 to {_MOST}")
    query = sa.select(audit_rows).order_by(audit_rows.c.seq.desc())
    if since is not None:
        query = query.where(audit_rows.c.at >= datetime.combine(since, time(), UTC))
    if until is not None:
        query = query.where(audit_rows.c.at < datetime.combine(until, time(), UTC) + timedelta(days=1))
    if action is not None:
        named = audit_rows.c.action == action
        query = query.where(sa.or_(named, audit_rows.c.action.startswith(f"{action}.", autoescape=True)))
    if subject_id is not None:
        query = query.where(audit_rows.c.facts.contains(subject_id, autoescape=True))
    found: list[AuditRow] = []
    for row in connection.execute(query):
        facts = json.loads(row.facts)
        if (actor is None or _is_by(row.actor, actor)) and subject_id in (None, facts.get("subject_id")):
            found.append(AuditRow(row.seq, row.at, row.actor, row.action, facts))
            if len(found) == limit:
                break
    return found


def _is_by(actor: str, wanted: str) -> bool:
    return (
        actor == wanted
        or identity_of(actor) == identity_of(wanted)
        or (actor.startswith("uid:") and (actor.rpartition(":")[2] == wanted))
    )


def export_audit(workspace: Workspace, path: Path, *, actor: str, overwrite: bool = False) -> int:
    """Write the whole chain to a new private file, JSON Lines or CSV by its name; return the number of rows.

    The last row says that the chain was exported. Raises :class:`InputError` for another kind of file, and
    :class:`CorruptionError` for a chain that is broken.
    """
    require_format(path)
    require_writable(path, overwrite=overwrite)
    with workspace.database.write() as tx:
        audit.append(tx, workspace.sealer, actor=actor, action="audit.export", now=workspace.now())
    with workspace.database.read() as connection:
        rows = audit.verify(connection, workspace.sealer)
        write = _write_csv if path.suffix.lower() == ".csv" else _write_json
        publish(path, lambda file: write(file, _lines(connection, workspace.sealer)), overwrite=overwrite)
    return rows


def require_format(path: Path) -> None:
    """Raise :class:`InputError` unless the file's name says one of :data:`FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"the file has to end in {' or '.join(FORMATS)}")


def check_export(workspace: Workspace, path: Path) -> str:
    """Check an exported file and say what it holds. Raises :class:`CorruptionError` where this home did not write
    it."""
    require_format(path)
    read = _read_csv if path.suffix.lower() == ".csv" else _read_json
    try:
        with open(path, "rb", opener=open_private) as file:
            rows, last, end = _checked(workspace.sealer, read(file))
    except (ValueError, KeyError, TypeError, csv.Error):
        raise CorruptionError("the file is not an export of an audit chain, or was altered") from None
    if end is None:
        raise CorruptionError(f"the file ends after row {rows} without the end of the chain: it was cut off")
    if end != {"seq": rows, "mac": workspace.sealer.audit_head_mac(rows, last)}:
        raise CorruptionError("the end of the chain in the file is not that of its rows")
    with workspace.database.read() as connection:
        here = sa.select(audit_rows.c.mac).where(audit_rows.c.seq == rows)
        if connection.execute(here).scalar() != last:
            raise CorruptionError("the file is of another past than this home's chain")
    return f"{rows} rows in an unbroken chain, which is the beginning of this home's"


def _checked(sealer: Sealer, lines: Iterable[dict[str, Any]]) -> tuple[int, str, dict[str, Any] | None]:
    """The number of rows in an unbroken chain, the last one's MAC, and what the file says of the end."""
    seq, previous, end = 0, audit.START, None
    for line in lines:
        if end is not None:
            raise CorruptionError("the file goes on after the end of the chain")
        if line["action"] == _END:
            end = {"seq": line["seq"], "mac": line["mac"]}
            continue
        moment = datetime.fromisoformat(line["at"])
        fields = {**line, "at": moment, "facts": json.dumps(line["facts"], sort_keys=True)}
        if (line["seq"], line["previous"]) != (seq + 1, previous) or line["mac"] != audit.mac_of(sealer, fields):
            raise CorruptionError(f"the audit chain in the file is broken at row {seq + 1}")
        seq, previous = line["seq"], line["mac"]
    return seq, previous, end


def _lines(connection: Connection, sealer: Sealer) -> Iterator[dict[str, Any]]:
    last: Row[Any] | None = None
    for row in connection.execute(sa.select(audit_rows).order_by(audit_rows.c.seq)):
        last = row
        at = row.at.astimezone(UTC).isoformat()
        yield {**row._mapping, "at": at, "facts": json.loads(row.facts)}
    seq, mac = (last.seq, last.mac) if last is not None else (0, audit.START)
    nothing: dict[str, Any] = {"at": "", "actor": "", "facts": {}, "previous": mac}
    yield nothing | {"seq": seq, "action": _END, "mac": sealer.audit_head_mac(seq, mac)}


def _write_json(file: BinaryIO, lines: Iterable[dict[str, Any]]) -> None:
    for line in lines:
        file.write(json.dumps({name: line[name] for name in COLUMNS}).encode() + b"\n")


def _read_json(file: BinaryIO) -> Iterator[dict[str, Any]]:
    while line := file.readline(_LONGEST_LINE):
        yield json.loads(line)


def _write_csv(file: BinaryIO, lines: Iterable[dict[str, Any]]) -> None:
    from pipelines.text.spreadsheets import neutralised

    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for line in lines:
        cells = {**line, "facts": json.dumps(line["facts"], sort_keys=True)}
        writer.writerow([neutralised(cell) if isinstance(cell := cells[name], str) else cell for name in COLUMNS])
    text.flush()
    text.detach()


def _read_csv(file: BinaryIO) -> Iterator[dict[str, Any]]:
    from pipelines.text.spreadsheets import original

    reader = csv.reader(line.decode() for line in file)
    if next(reader, None) != list(COLUMNS):
        raise CorruptionError("the file is not an export of an audit chain: its columns are others")
    for row in reader:
        line = dict(zip(COLUMNS, (original(cell) for cell in row), strict=True))
        yield {**line, "seq": int(line["seq"]), "facts": json.loads(line["facts"])}
