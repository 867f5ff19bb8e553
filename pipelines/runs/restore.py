"""Going on from an older or altered database: shows what it lacks, and accepts it on an operator's word.

Decisions made after the copy are lost, with one exception: a subject that had ended is ended again, because the witness
outside of the database remembers it. A person who was erased does not come back with a backup.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from embeddings.errors import ConfigError, CorruptionError, NotReadyError
from pipelines.cases.ending import destroy, end_subject
from pipelines.database import HEAD, get_state, set_state
from pipelines.home import audit
from pipelines.home.state_seal import Head, ended_again
from pipelines.home.witness import BEFORE, Known
from pipelines.home.workspace import Workspace
from pipelines.registry.identities import require_short

RESTORED = "state.restore"


@dataclass(frozen=True, slots=True)
class Difference:
    """The database compared with the witness.

    ``transactions``, ``registry_version``, ``audit_rows``: (found, remembered). ``altered``: tables with rows that
    another program changed. ``to_end``: subjects that had ended and would be in the registry again. ``problems``: a
    missing or altered seal, witness or audit chain, in words.
    """

    agrees: bool
    transactions: tuple[int, int]
    registry_version: tuple[int, int]
    audit_rows: tuple[int, int]
    altered: tuple[str, ...]
    to_end: int
    problems: tuple[str, ...]


def compare(workspace: Workspace) -> Difference:
    """Compare an unchecked database with the witness. Changes nothing. Raises :class:`NotReadyError` for an older
    schema, which accepting migrates."""
    if workspace.database.revision() != HEAD:
        raise NotReadyError(
            "this copy of the database is from before a change of its tables: `likeness restore --accept` brings it to "
            "this version and goes on from it"
        )
    problems: list[str] = []
    known, ended = _remembered(workspace, problems)
    with workspace.database.read() as connection:
        return _difference(workspace, connection, known, ended, problems)


def accept(workspace: Workspace, *, reason: str, actor: str) -> Difference:
    """Accept the database as it is, with an audit row; return what was different.

    Subjects that had ended are ended again, and erased if they were. ``reason`` is free text and is sealed. Raises
    :class:`InputError` for one longer than ``registry.max_text``.
    """
    require_short(reason, "the reason", most=workspace.config.registry.max_text)
    if not reason.strip():
        raise ConfigError("say why: the reason stands in the audit chain")
    workspace.database.migrate()
    problems: list[str] = []
    known, ended = _remembered(workspace, problems)
    with workspace.database.write() as tx:
        found = _difference(workspace, tx, known, ended, problems)
        newest = max(*found.registry_version, int(get_state(tx, "registry_version") or 0))
        set_state(tx, "registry_version", str(newest))
        for subject_id, state, last in ended_again(tx, workspace.sealer, ended):
            _end(tx, workspace, subject_id, state=state, last=last, actor=actor)
        audit.append(
            tx,
            workspace.sealer,
            actor=actor,
            action=RESTORED,
            now=workspace.now(),
            sealed_reason=base64.b64encode(workspace.sealer.seal_record({"reason": reason}, RESTORED)).decode(),
            transactions_found=found.transactions[0],
            transactions_remembered=found.transactions[1],
            registry_found=found.registry_version[0],
            registry_remembered=found.registry_version[1],
            audit_found=found.audit_rows[0],
            audit_remembered=found.audit_rows[1],
            altered=",".join(found.altered),
            ended_again=found.to_end,
        )
        told, all_ended = workspace.seal.seal_all(tx, after=max(found.transactions))
    workspace.failpoints.pass_by("before_witness_write")
    workspace.seal.witness.advance(told, ended=ended | all_ended, anew=True)
    workspace.database.scrub()
    return found


def _remembered(workspace: Workspace, problems: list[str]) -> tuple[Known, frozenset[str]]:
    known, ended = BEFORE, frozenset[str]()
    try:
        ended = workspace.seal.witness.read_ended()
        found = workspace.seal.witness.read()
        if found is None:
            problems.append("the witness is gone: how new the database was is not known")
        known = found or BEFORE
    except CorruptionError as error:
        problems.append(str(error))
    return known, ended


def _difference(
    workspace: Workspace, connection: Connection, known: Known, ended: frozenset[str], problems: list[str]
) -> Difference:
    head: Head | None = None
    altered: tuple[str, ...] = ()
    try:
        head = workspace.seal.read(connection)
        if head is None:
            problems.append("the database has no seal: which of its rows were written by this program is not known")
        else:
            altered = tuple(workspace.seal.altered(connection))
            if known.counter == head.counter and known.head != head.mac:
                problems.append("the database has another past than is remembered")
        audit.verify(connection, workspace.sealer, plain_end=head is None)
    except CorruptionError as error:
        problems.append(str(error))
    transactions = (head.counter if head else 0, known.counter)
    to_end = len(ended_again(connection, workspace.sealer, ended))
    return Difference(
        agrees=not (problems or altered or to_end or transactions[0] < transactions[1]),
        transactions=transactions,
        registry_version=(int(get_state(connection, "registry_version") or 0), known.registry_version),
        audit_rows=(audit.length(connection), known.audit_rows),
        altered=altered,
        to_end=to_end,
        problems=tuple(problems),
    )


def _end(tx: Connection, workspace: Workspace, subject_id: str, *, state: str, last: str, actor: str) -> None:
    """Bring a subject from ``state`` to ``last``, in which it had ended."""
    if state in ("active", "pending", "expired"):
        end_subject(tx, workspace, subject_id, state="withdrawn" if last == "erased" else last, actor=actor)
    if last in ("erased", "rejected"):
        destroy(tx, workspace, subject_id, state=last, actor=actor)
