"""The registry: who opted out, with sealed templates; enrolment, withdrawal, erasure; and the gallery built from it.

A subject moves pending -> active -> withdrawn -> erased, or pending -> rejected, which erases. The end of a consent is
no state (:mod:`pipelines.database.in_force`). Every change of what must be compared raises the registry version and
stamps it on the subject, so that coverage can be read off version numbers (I2); so does the return of a subject that
was not compared for a while (:func:`take_up`). Names, consent records, contacts, vectors and crops are sealed under the
subject's own key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError, EnrolmentError, NotReadyError, StateError
from embeddings.types import Float32
from indexes.name_rules import require_usable
from pipelines.database.in_force import ACTIVE, is_in_force, state_at
from pipelines.database.parts import parts
from pipelines.database.registry_version import raise_version, registry_version
from pipelines.database.tables import requests, subject_keys, subjects, templates
from pipelines.database.times import moment
from pipelines.hits.statuses import settle_subject
from pipelines.home import audit
from pipelines.home.actors import service
from pipelines.home.clock import acts
from pipelines.home.sealing import Sealer, unseal
from pipelines.home.state_seal import REGISTRY
from pipelines.home.workspace import Workspace, new_id
from pipelines.registry.endings import require_few_endings, tell_endings
from pipelines.registry.identities import Identity as Identity
from pipelines.registry.identities import require_short_identity, seal_identity, unseal_identity
from pipelines.registry.references import Reference
from pipelines.registry.templates import insert_template, open_subject_key, require_templates, template_aad


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """A subject without anything personal. ``state``: the state now, ``expired`` once the consent is over."""

    subject_id: str
    state: str
    version: int
    expires_at: datetime
    created_at: datetime
    templates: int


def insert_subject(
    tx: Connection,
    workspace: Workspace,
    *,
    identity: Identity,
    references: Sequence[Reference],
    expires_at: datetime,
    active: bool,
    actor: str,
) -> tuple[str, tuple[str, ...]]:
    """Store a subject with its sealed templates; returns the subject id and the template ids.

    Raises :class:`EnrolmentError` for a name too short to be looked for, and for a consent that is over or ends beyond
    the configured limit; :class:`InputError` for references of consent and contact that are too long.
    """
    now = workspace.now()
    _require_acceptable(workspace, identity, expires_at, now=now)
    subject_id = new_id("sub")
    key, wrapped = workspace.sealer.new_subject_key(subject_id)
    tx.execute(
        sa.insert(subjects).values(
            subject_id=subject_id,
            state="active" if active else "pending",
            version=raise_version(tx) if active else 0,
            expires_at=expires_at,
            created_at=now,
            sealed_identity=seal_identity(key, identity, subject_id),
        )
    )
    tx.execute(sa.insert(subject_keys).values(subject_id=subject_id, wrapped_key=wrapped))
    template_ids = tuple(
        insert_template(
            tx,
            workspace,
            subject_id=subject_id,
            key=key,
            vector=reference.vector,
            crop=reference.crop.tobytes(),
            score=reference.detector_score,
            now=now,
        )
        for reference in references
    )
    audit.append(
        tx,
        workspace.sealer,
        actor=actor,
        action="subject.add",
        now=now,
        subject_id=subject_id,
        templates=len(template_ids),
        state="active" if active else "pending",
    )
    return subject_id, template_ids


def _require_acceptable(workspace: Workspace, identity: Identity, expires_at: datetime, *, now: datetime) -> None:
    require_usable(identity.names, identity.exclusions, settings=workspace.config.names)
    if expires_at <= now:
        raise EnrolmentError("expired", "the consent would have expired already")
    require_sensible_end(workspace, expires_at)
    require_short_identity(identity, most=workspace.config.registry.max_text)


def require_sensible_end(workspace: Workspace, expires_at: datetime) -> None:
    """Raise :class:`EnrolmentError` for a consent that ends beyond ``registry.most_consent_days``."""
    config = workspace.config.registry
    if expires_at > workspace.now() + timedelta(days=config.most_consent_days):
        raise EnrolmentError("expiry", f"a consent ends within {config.most_consent_days} days: name an earlier day")


def activate(tx: Connection, workspace: Workspace, subject_id: str, *, actor: str) -> None:
    """Make a pending subject active: from here on every live item has to be compared with it."""
    require_state(tx, subject_id, ("pending",))
    ends = tx.execute(sa.select(subjects.c.expires_at).where(subjects.c.subject_id == subject_id)).scalar_one()
    if ends <= workspace.now():
        raise StateError("the consent of this subject is over: renew it first, with `likeness subject renew`")
    tx.execute(
        sa.update(subjects).where(subjects.c.subject_id == subject_id).values(state="active", version=raise_version(tx))
    )
    audit.append(
        tx, workspace.sealer, actor=actor, action="subject.activate", now=workspace.now(), subject_id=subject_id
    )


@acts
def expire_subjects(workspace: Workspace) -> int:
    """Record the consents that ran out since the last run, and those that were renewed; return how many ran out.

    Every run begins with this. It ends no opt-out: hits and messages rest, and come back with a renewal or a clock that
    is right. Raises :class:`CorruptionError` where another program changed who is sought or until when (I7), and
    :class:`EndingError` where so many end at once that it can hardly be meant.
    """
    require_unaltered(workspace)
    with workspace.database.read() as connection:
        require_few_endings(connection, workspace)
        over = list(connection.execute(_unnoticed(workspace.now())).scalars())
    take_up(workspace)
    if over:
        with workspace.database.write() as tx:
            for subject_id in note_lapsed(tx, now=workspace.now()):
                _audit_end(tx, workspace, subject_id, "subject.lapsed")
    tell_endings(workspace)
    return len(over)


def note_lapsed(tx: Connection, *, now: datetime) -> list[str]:
    """Mark the active subjects whose consent is over and not yet marked, and update their items; return their ids.

    To be called in a transaction that records that everybody was compared, because these subjects were not.
    """
    over = [str(subject_id) for subject_id in tx.execute(_unnoticed(now)).scalars()]
    for some in parts(over):
        tx.execute(sa.update(subjects).where(subjects.c.subject_id.in_(some)).values(lapsed_at=now))
    for subject_id in over:
        settle_subject(tx, subject_id)
    return over


def take_up(workspace: Workspace) -> int:
    """Have subjects compared with everything that are in force again after an interruption; return how many.

    Nothing was compared with them meanwhile, whatever coverage says, so each gets a new version (I2).
    """
    back = sa.select(subjects.c.subject_id).where(is_in_force(workspace.now()), subjects.c.lapsed_at.is_not(None))
    with workspace.database.read() as connection:
        if connection.execute(back.limit(1)).first() is None:
            return 0
    with workspace.database.write() as tx:
        again = list(tx.execute(back.order_by(subjects.c.version, subjects.c.subject_id)).scalars())
        for subject_id in again:
            put_in_force(tx, subject_id)
            _audit_end(tx, workspace, subject_id, "subject.resumed")
    return len(again)


def put_in_force(tx: Connection, subject_id: str, **values: object) -> None:
    """Make a subject active and due for comparison with everything; ``values``: columns to set."""
    stamp(tx, subject_id, state=ACTIVE, lapsed_at=None, **values)
    settle_subject(tx, subject_id)


def stamp(tx: Connection, subject_id: str, **values: object) -> None:
    """Give a subject a new version, because what must be compared has changed; ``values``: columns to set."""
    own = sa.update(subjects).where(subjects.c.subject_id == subject_id)
    tx.execute(own.values(version=raise_version(tx), **values))
    asked = sa.update(requests).where(requests.c.subject_id == subject_id, requests.c.state == "accepted")
    tx.execute(asked.values(attempt=requests.c.attempt + 1))  # Dagster begins no second run under one key


def _unnoticed(now: datetime) -> sa.Select[tuple[str]]:
    over = (subjects.c.state == ACTIVE, subjects.c.expires_at <= now, subjects.c.lapsed_at.is_(None))
    return sa.select(subjects.c.subject_id).where(*over).order_by(subjects.c.subject_id)


def _audit_end(tx: Connection, workspace: Workspace, subject_id: str, action: str) -> None:
    actor = service("expiry")
    audit.append(tx, workspace.sealer, actor=actor, action=action, now=workspace.now(), subject_id=subject_id)


def require_unaltered(workspace: Workspace) -> None:
    """Raise :class:`CorruptionError` unless the tables that say who is sought are as written. Every run begins so."""
    with workspace.database.read() as connection:
        workspace.seal.require_unaltered(connection, REGISTRY)


def list_subjects(connection: Connection, *, subject_id: str | None = None) -> list[SubjectRow]:
    """Return all subjects, or the one of this id, oldest first, without anything personal."""
    count = sa.func.count(templates.c.template_id).label("templates")
    columns = [subjects.c[name] for name in ("subject_id", "state", "version", "expires_at", "created_at")]
    query = (
        sa.select(*columns, count, state_at(moment(connection)).label("state_now"))
        .select_from(subjects.outerjoin(templates, templates.c.subject_id == subjects.c.subject_id))
        .group_by(*columns)
        .order_by(subjects.c.created_at, subjects.c.subject_id)
    )
    if subject_id is not None:
        query = query.where(subjects.c.subject_id == subject_id)
    rows = (dict(row._mapping) for row in connection.execute(query))
    return [SubjectRow(**(row | {"state": row.pop("state_now")})) for row in rows]


def show_identity(workspace: Workspace, subject_id: str, *, actor: str) -> Identity:
    """Open a subject's identity for an operator. The look leaves an audit row."""
    with workspace.database.write() as tx:
        row = tx.execute(sa.select(subjects).where(subjects.c.subject_id == subject_id)).first()
        if row is None:
            raise StateError("there is no such subject")
        if row.sealed_identity is None:
            raise StateError(f"this subject is {row.state}: nothing personal is kept")
        key = open_subject_key(tx, workspace.sealer, subject_id)
        identity = unseal_identity(key, row.sealed_identity, subject_id)
        audit.append(
            tx, workspace.sealer, actor=actor, action="subject.view", now=workspace.now(), subject_id=subject_id
        )
    return identity


def active_versions(connection: Connection, *, now: datetime) -> dict[str, int]:
    """Return the versions of the subjects in force (active, with a lasting consent) by id.

    A subject in force again that :func:`take_up` has not seen yet gets a version above the registry's, so that nothing
    counts as compared with it.
    """
    query = sa.select(subjects.c.subject_id, subjects.c.version, subjects.c.lapsed_at).where(is_in_force(now))
    rows = connection.execute(query).all()
    newer = registry_version(connection) + 1 if any(row.lapsed_at for row in rows) else 0
    return {str(row.subject_id): newer if row.lapsed_at else int(row.version) for row in rows}


def require_active(workspace: Workspace, versions: Mapping[str, int]) -> None:
    """Raise :class:`NotReadyError` when there is no subject in force, unless the settings allow that (I7)."""
    if not versions and not workspace.config.sweep.allow_empty_registry:
        raise NotReadyError(
            "the registry has no active subject: a scan would find nobody. Add subjects, or set "
            "sweep.allow_empty_registry = true if that is meant"
        )


def open_templates(
    connection: Connection, sealer: Sealer, *, subject_ids: Collection[str], model_id: str
) -> tuple[Float32, list[str], list[str]]:
    """Unseal the templates of these subjects: vectors (n, d), template ids, subject ids, ordered by template id.

    Raises :class:`NotReadyError` if a subject has none for this model, :class:`CorruptionError` for a broken seal.
    """
    wanted = set(subject_ids)
    keys = {
        row.subject_id: sealer.subject_key(row.wrapped_key, row.subject_id)
        for row in connection.execute(sa.select(subject_keys))
        if row.subject_id in wanted
    }
    # Crops are not read: they are a hundred times larger than the vectors.
    columns = [templates.c[name] for name in ("template_id", "subject_id", "dimension", "sealed_vector")]
    query = sa.select(*columns).where(templates.c.model_id == model_id).order_by(templates.c.template_id)
    rows = [row for row in connection.execute(query) if row.subject_id in wanted]
    require_templates(len(wanted - {row.subject_id for row in rows}), model_id=model_id)
    if wanted - keys.keys():
        raise CorruptionError("an active subject's key is missing")
    vectors = [
        np.frombuffer(
            unseal(keys[row.subject_id], row.sealed_vector, template_aad(row.subject_id, row.template_id, model_id)),
            dtype="<f4",
        )
        for row in rows
    ]
    if any(len(vector) != row.dimension for vector, row in zip(vectors, rows, strict=True)):
        raise CorruptionError("a template does not have the dimension its row states")
    matrix: Float32 = np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32)
    return matrix, [row.template_id for row in rows], [row.subject_id for row in rows]


def require_state(tx: Connection, subject_id: str, allowed: tuple[str, ...]) -> str:
    """Return a subject's state. Raises :class:`StateError` if it is not an ``allowed`` one or there is no subject."""
    state = tx.execute(sa.select(subjects.c.state).where(subjects.c.subject_id == subject_id)).scalar()
    if state is None:
        raise StateError("there is no such subject")
    if state not in allowed:
        raise StateError(f"this subject is {state}; this needs one that is {' or '.join(allowed)}")
    return str(state)
