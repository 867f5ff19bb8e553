"""Who a subject is: names, exclusions, consent, contact and case, sealed under the subject's own key.

A person who looks at an identity leaves an audit row (:func:`pipelines.registry.subjects.show_identity`). A machine
that opens names to look for them in texts shows them to nobody and leaves none.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError, InputError
from indexes.name_rules import SubjectNames
from pipelines.database.tables import subject_keys, subjects
from pipelines.home.sealing import Sealer, associated_data, seal, unseal


@dataclass(frozen=True, slots=True)
class Identity:
    """What an operator knows of a subject: the full name first, then aliases. Sealed in storage; never logged.

    ``exclusions``: phrases in which a name does not count, because they mean something else. ``case_reference``: the
    operator's own number or word for the case.
    """

    names: tuple[str, ...] = field(repr=False)
    consent: str = field(repr=False)
    contact: str | None = field(repr=False)
    exclusions: tuple[str, ...] = field(default=(), repr=False)
    case_reference: str | None = field(default=None, repr=False)


def seal_identity(key: bytes, identity: Identity, subject_id: str) -> bytes:
    """Seal an identity under its subject's key."""
    record = {
        "names": identity.names,
        "consent": identity.consent,
        "contact": identity.contact,
        "exclusions": identity.exclusions,
        "case_reference": identity.case_reference,
    }
    return seal(key, json.dumps(record).encode(), associated_data("identity", subject_id))


def unseal_identity(key: bytes, sealed: bytes, subject_id: str) -> Identity:
    """Return the identity that :func:`seal_identity` sealed for this very subject. Raises :class:`CorruptionError`."""
    record = json.loads(unseal(key, sealed, associated_data("identity", subject_id)))
    return Identity(
        names=tuple(record["names"]),
        consent=record["consent"],
        contact=record["contact"],
        exclusions=tuple(record.get("exclusions", ())),
        case_reference=record.get("case_reference"),
    )


def open_identity(connection: Connection, sealer: Sealer, subject_id: str) -> Identity | None:
    """Open the identity of a subject, for a caller that writes an audit row; None where nothing personal is kept."""
    query = (
        sa.select(subjects.c.sealed_identity, subject_keys.c.wrapped_key)
        .join(subject_keys, subject_keys.c.subject_id == subjects.c.subject_id)
        .where(subjects.c.subject_id == subject_id, subjects.c.sealed_identity.is_not(None))
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    return unseal_identity(sealer.subject_key(row.wrapped_key, subject_id), row.sealed_identity, subject_id)


def open_names(connection: Connection, sealer: Sealer, subject_ids: Collection[str]) -> list[SubjectNames]:
    """Open the names of these subjects, ordered by subject id, for a machine to search with. Writes no audit row.

    Raises :class:`CorruptionError` when one cannot be opened: a subject left out must not pass as not found (I7).
    """
    wanted = set(subject_ids)
    query = (
        sa.select(subjects.c.subject_id, subjects.c.sealed_identity, subject_keys.c.wrapped_key)
        .join(subject_keys, subject_keys.c.subject_id == subjects.c.subject_id)
        .where(subjects.c.sealed_identity.is_not(None))
        .order_by(subjects.c.subject_id)
    )
    if len(wanted) <= 500:
        query = query.where(subjects.c.subject_id.in_(wanted))
    names = []
    for subject_id, sealed, wrapped in connection.execute(query):
        if subject_id in wanted:
            identity = unseal_identity(sealer.subject_key(wrapped, subject_id), sealed, subject_id)
            names.append(SubjectNames(subject_id, identity.names, identity.exclusions))
    if len(names) != len(wanted):
        raise CorruptionError("the identity or the key of an active subject is missing")
    return names


def require_short_identity(identity: Identity, *, most: int) -> None:
    """Raise :class:`InputError` for a consent, contact or case text of more than ``most`` characters."""
    require_short(identity.consent, "the reference of the consent", most=most)
    require_short(identity.contact, "the reference of the contact", most=most)
    require_short(identity.case_reference, "the case reference", most=most)


def require_short(text: str | None, what: str, *, most: int) -> None:
    """Raise :class:`InputError`, naming ``what``, for a text of more than ``most`` characters."""
    if text is not None and len(text) > most:
        raise InputError(f"{what} has {len(text):,} characters, at most {most:,} are kept: shorten it")
