"""The roles that an account may have. What each may do stands at each route (:mod:`pipelines.web.routes`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

from embeddings.errors import InputError

Role = Literal["viewer", "reviewer", "lead", "registry_officer", "auditor"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""``viewer`` reads counts and lists, and sees no picture; ``reviewer`` judges cases; ``lead`` judges too, and answers
for the others; ``registry_officer`` answers for people and requests; ``auditor`` reads and verifies the audit chain."""
JUDGING: Final = frozenset[Role]({"reviewer", "lead"})
"""Who judges cases."""
ANSWERING_FOR_PEOPLE: Final = frozenset[Role]({"registry_officer", "lead"})
"""Who may see who a person is, and change what is known of them; each look is on record."""


def read_roles(words: Iterable[str]) -> frozenset[Role]:
    """The roles of these words. Raises :class:`InputError` for a word that is none."""
    found = frozenset(words)
    if not found or not found <= set(ROLES):
        raise InputError(f"a role is one of {', '.join(ROLES)}")
    return frozenset(role for role in ROLES if role in found)


def known_roles(words: Iterable[str]) -> frozenset[Role]:
    """Those of these words that are roles: a proxy may list groups of its own beside them."""
    found = frozenset(words)
    return frozenset(role for role in ROLES if role in found)
