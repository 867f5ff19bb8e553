"""Finding people in the registry by sealed text: a name, or the operator's own case reference.

Identities are opened one by one and compared in memory. A search reveals whom an id stands for, so each one leaves an
audit row with the ids that it found, but without the text searched for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import EnrolmentError, InputError
from indexes.name_rules import SubjectNames, require_usable
from indexes.name_text import join_texts, read_text, skeleton
from indexes.names import NameMatcher
from pipelines.database.tables import subject_keys, subjects
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.registry.identities import Identity, unseal_identity

MOST_RECORDED = 100
"""Ids of found subjects that an audit row names; it counts all of them."""


def find_subjects(
    workspace: Workspace, *, actor: str, name: str | None = None, case_reference: str | None = None
) -> list[str]:
    """Return the sorted ids of the subjects with this name and case reference. The search leaves an audit row.

    ``name``: compared by :mod:`indexes.name_rules`, in whatever case, order, script and spelling: a subject's name in
    the words given, or the words given in a subject's name. ``case_reference``: compared without regard to case and
    white space. Raises :class:`InputError` for neither, and for a name of too few letters.
    """
    if name is None and case_reference is None:
        raise InputError("a search needs a name or a case reference")
    settings = workspace.config.names
    try:
        require_usable((name,) if name is not None else (), (), settings=settings)
    except EnrolmentError as error:
        raise InputError(f"this cannot be searched for: {error}") from None
    with workspace.database.write() as tx:
        found = dict(open_identities(tx, workspace))
        if case_reference is not None:
            wanted = _plain(case_reference)
            found = {key: one for key, one in found.items() if _plain(one.case_reference or "") == wanted}
        if name is not None:
            asked = NameMatcher([SubjectNames("asked", (name,), ())], settings=settings)
            letters = _letters(name)
            likely = [SubjectNames(key, one.names, ()) for key, one in found.items() if _may_stand(one.names, letters)]
            named = {match.subject_id for match in NameMatcher(likely, settings=settings).find(name)}
            found = {key: one for key, one in found.items() if key in named or asked.find(join_texts(one.names))}
        ids = sorted(found)
        by = [word for word, given in (("name", name), ("case_reference", case_reference)) if given is not None]
        _record(tx, workspace, ids, actor=actor, by=" and ".join(by))
    return ids


def reveal_cases(workspace: Workspace, subject_ids: Collection[str], *, actor: str) -> dict[str, str | None]:
    """Return the case references by subject, where the identity is kept. The look leaves an audit row."""
    with workspace.database.write() as tx:
        wanted = set(subject_ids)
        cases = {key: one.case_reference for key, one in open_identities(tx, workspace) if key in wanted}
        _record(tx, workspace, sorted(cases), actor=actor, by="reveal")
    return cases


def open_identities(connection: Connection, workspace: Workspace) -> Iterator[tuple[str, Identity]]:
    """Yield (subject id, identity) for every subject whose identity is kept."""
    query = (
        sa.select(subjects.c.subject_id, subjects.c.sealed_identity, subject_keys.c.wrapped_key)
        .join(subject_keys, subject_keys.c.subject_id == subjects.c.subject_id)
        .where(subjects.c.sealed_identity.is_not(None))
        .order_by(subjects.c.subject_id)
    )
    for subject_id, sealed, wrapped in connection.execute(query):
        yield subject_id, unseal_identity(workspace.sealer.subject_key(wrapped, subject_id), sealed, subject_id)


def _letters(text: str) -> str:
    return skeleton(read_text(text, figures=True).letters)


def _may_stand(names: Collection[str], letters: str) -> bool:
    """Whether all words of some name are in ``letters``: a quick test, since a matcher of all names is slow to
    build."""
    return any(all(_letters(word) in letters for word in one.split()) for one in names)


def _plain(text: str) -> str:
    return "".join(text.split()).casefold()


def _record(tx: Connection, workspace: Workspace, subject_ids: list[str], *, actor: str, by: str) -> None:
    audit.append(
        tx,
        workspace.sealer,
        actor=actor,
        action="subject.search",
        now=workspace.now(),
        by=by,
        found=len(subject_ids),
        subject_ids=",".join(subject_ids[:MOST_RECORDED]),
    )
