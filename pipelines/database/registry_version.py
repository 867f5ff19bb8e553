"""The version of the registry, which each change of what must be compared raises; coverage is stated by it (I2)."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from embeddings.errors import NotReadyError
from pipelines.database import get_state, set_state


def registry_version(connection: Connection) -> int:
    """Return the version of the registry as this transaction sees it."""
    value = get_state(connection, "registry_version")
    if value is None:
        raise NotReadyError("the registry has no version: run `likeness init`")
    return int(value)


def raise_version(tx: Connection) -> int:
    """Raise the registry version by one and return it."""
    version = registry_version(tx) + 1
    set_state(tx, "registry_version", str(version))
    return version
