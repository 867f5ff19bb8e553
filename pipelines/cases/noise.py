"""Taking a reference or an alias away from a person because it is wrong, by the hit that it made.

What is removed, and everything that follows, is :func:`pipelines.cases.subject_update.update_subject`'s. This finds out
which reference or name a hit rests on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from embeddings.errors import InputError, StateError
from pipelines.cases.contributions import explained_by
from pipelines.cases.subject_update import Change
from pipelines.database.tables import hits
from pipelines.evidence.terms import open_term
from pipelines.home.workspace import Workspace
from pipelines.registry.subjects import show_identity


class Wrong(NamedTuple):
    """A reference, by its id, or an alias, by its place among the person's names, the full one being the first."""

    reference_id: str | None = None
    alias: int | None = None


def behind_hit(workspace: Workspace, subject_id: str, hit_id: str, *, actor: str) -> Wrong:
    """What a hit rests on. For a name it opens the person's names, which is a look and leaves an audit row.

    Raises :class:`StateError` for a hit that is none of this person's, and :class:`InputError` for one that rests on
    neither a reference nor an alias.
    """
    columns = (hits.c.hit_id, hits.c.subject_id, hits.c.tier, hits.c.template_id, hits.c.sealed_term)
    with workspace.database.read() as connection:
        query = sa.select(*columns).where(hits.c.hit_id == hit_id, hits.c.subject_id == subject_id)
        row = connection.execute(query).first()
        if row is None:
            raise StateError("there is no such hit of this person")
        if row.template_id is not None:
            return Wrong(reference_id=str(row.template_id))
        if row.sealed_term is None:
            by = "its file names a confirmed model" if row.tier == "made_by" else "it is a copy of what was confirmed"
            raise InputError(f"this hit rests on no reference and on no name: {by}")
        named = {"hit_id": row.hit_id, "subject_id": row.subject_id, "sealed_term": row.sealed_term}
        term = open_term(connection, workspace.sealer, **named)
    identity = show_identity(workspace, subject_id, actor=actor)
    (place,) = explained_by(identity, [term], settings=workspace.config.names)
    if place is None:
        raise InputError("no name of this person explains this hit by itself: it was changed since")
    return Wrong(alias=place)


def change_of(names: Sequence[str], wrong: Wrong) -> Change:
    """The change that removes it. ``names``: of the person, the full one first.

    Raises :class:`InputError` for the full name, which stays, and for what there is not.
    """
    if wrong.reference_id is not None:
        return Change(remove_references=(wrong.reference_id,))
    if wrong.alias == 0:
        raise InputError(
            "this is the person's full name, which stays: `likeness subject update --add-exclude` names phrases in "
            "which it means something else"
        )
    if wrong.alias is None or not 0 < wrong.alias < len(names):
        raise InputError("there is no such alias (any more)")
    return Change(remove_aliases=(names[wrong.alias],))
