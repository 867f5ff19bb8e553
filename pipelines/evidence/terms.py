"""The words that were taken for a name, as they were sealed with the hit."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from pipelines.home.sealing import Sealer, associated_data, unseal
from pipelines.registry.templates import open_subject_key


def open_term(connection: Connection, sealer: Sealer, *, hit_id: str, subject_id: str, sealed_term: bytes) -> str:
    """Return the words of a hit as they were written. Raises :class:`CorruptionError` once the subject is erased."""
    key = open_subject_key(connection, sealer, subject_id)
    return unseal(key, sealed_term, term_aad(hit_id, subject_id)).decode()


def term_aad(hit_id: str, subject_id: str) -> bytes:
    """Return the associated data that binds a sealed term to its hit and subject."""
    return associated_data("term", hit_id, subject_id)
