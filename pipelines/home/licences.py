"""Which packs' terms the operator has accepted. A non-commercial pack is neither fetched nor loaded before that.

An acceptance holds the digest of the terms: when the terms change, they have to be accepted again.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from embeddings.errors import WeightsError
from embeddings.models.weights import Pack
from pipelines.database import get_state, set_state
from pipelines.home import audit
from pipelines.home.sealing import Sealer

_STATE = "licence_accepted:"


def terms_of(pack: Pack) -> dict[str, Any]:
    """Return what an operator has to know of a pack: licences, origins, terms."""
    files = {"detector": pack.detector, "recognizer": pack.recognizer}
    return {
        "pack": pack.name,
        "non_commercial": pack.non_commercial,
        **{role: f"{file.name}: {file.licence} ({file.origin})" for role, file in files.items()},
        "terms": pack.terms,
    }


def accept(tx: Connection, sealer: Sealer, pack: Pack, *, actor: str, now: datetime) -> None:
    """Record that the operator accepts the pack's terms, with an audit row. Safe to repeat."""
    if not is_accepted(tx, pack):
        set_state(tx, _STATE + pack.name, _digest(pack))
        audit.append(tx, sealer, actor=actor, action="licence.accept", now=now, terms=_digest(pack))


def is_accepted(connection: Connection, pack: Pack) -> bool:
    """Whether the present terms were accepted; true for a pack that needs no acceptance."""
    return not pack.non_commercial or get_state(connection, _STATE + pack.name) == _digest(pack)


def require_accepted(connection: Connection, pack: Pack) -> None:
    """Raise :class:`WeightsError`, with the command to run, unless the pack may be used."""
    if not is_accepted(connection, pack):
        raise WeightsError(
            f"pack {pack.name} is for non-commercial use only, and its terms were not accepted: read them with "
            f"`likeness models licence {pack.name}`, accept them with --accept"
        )


def _digest(pack: Pack) -> str:
    return hashlib.sha256(json.dumps(terms_of(pack), sort_keys=True).encode()).hexdigest()
