"""Who acted, as the audit chain records it: an account of this machine, a service on it, or a name that a caller gives.

An account is known by the kernel's real uid. ``LOGNAME``, ``USER``, ``SUDO_UID`` and every other variable or option are
the caller's to choose, so nothing here reads them. An actor is one string, because it is stored, sealed in the chain
and listed: ``uid:1000:alice`` for an account, ``uid:999:dagster`` for a service that runs under one, any other text for
a person whom a caller of the library vouches for. Who works on the pages acts as ``account:ann``, an account of
theirs (:mod:`pipelines.accounts`). :func:`are_two_people` compares actors; equal strings do not decide.
"""

from __future__ import annotations

import os
import pwd
import re
import unicodedata
from typing import Final

from embeddings.errors import InputError

MOST_CHARACTERS: Final = 256
"""Most characters of an actor; a POSIX account's name has 32."""
ON_PAGES: Final = "account:"
"""What an account of the pages begins with, before its name."""
_ACCOUNT: Final = re.compile(r"uid:(?P<uid>[0-9]+)(?::.*)?")


def account() -> str:
    """Return the account that this process belongs to: ``uid:1000:alice``, or ``uid:1000`` without an entry for it."""
    uid = os.getuid()
    try:
        return f"uid:{uid}:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid:{uid}"


def service(name: str) -> str:
    """Return the actor for a program that acts by itself under this process's account: ``uid:999:dagster``."""
    return f"uid:{os.getuid()}:{name}"


def on_pages(name: str) -> str:
    """Somebody who works on the pages: ``account:ann``."""
    return f"{ON_PAGES}{name}"


def identity_of(actor: str) -> str:
    """Return what identifies the person: an account's uid alone, since one uid may have several names; else the
    name."""
    known = _ACCOUNT.fullmatch(actor)
    return f"uid:{int(known['uid'])}" if known else unicodedata.normalize("NFKC", actor).strip().casefold()


def are_two_people(one: str, other: str) -> bool:
    """Whether these are certainly two people. An account of the machine, one of the pages and a mere name may be one
    person, so they are not."""
    return _kind_of(one) == _kind_of(other) and identity_of(one) != identity_of(other)


def _kind_of(actor: str) -> str:
    if _ACCOUNT.fullmatch(actor):
        return "machine"
    return "pages" if actor.startswith(ON_PAGES) else "name"


def require_truthful(actor: str) -> None:
    """Raise :class:`InputError` for an actor that is empty or unprintable, or an account that is not this process's."""
    if not actor.strip() or not actor.isprintable() or len(actor) > MOST_CHARACTERS:
        raise InputError(f"an actor is named by 1 to {MOST_CHARACTERS} printable characters")
    known = _ACCOUNT.fullmatch(actor)
    if (known and int(known["uid"]) != os.getuid()) or (not known and actor.startswith("uid:")):
        raise InputError("an actor that names an account must name the one that this process runs under")
