"""What somebody shows to come in: a password (Argon2id, RFC 9106) and a code (TOTP, RFC 6238). Knows no database."""

from __future__ import annotations

import base64
import functools
import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

from embeddings.errors import DeniedError, InputError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LEAST_PASSWORD: Final = 12
"""Characters of a password."""
MOST_PASSWORD: Final = 256
_SECRET_BYTES: Final = 20
_SECONDS: Final = 30
_DRIFT: Final = 1
"""Steps by which a telephone's clock may differ."""


def new_secret() -> bytes:
    """A secret for a second factor, 160 bits."""
    return secrets.token_bytes(_SECRET_BYTES)


def new_code() -> str:
    """A random code that can be typed and guessed by nobody: 128 bits in groups of letters and digits."""
    text = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
    return "-".join(text[at : at + 6] for at in range(0, len(text), 6))


def digest_of_code(code: str) -> str:
    """What is stored of a random code or token: 64 hex digits. Their entropy makes a slow hash needless."""
    return hashlib.sha256(code.strip().encode()).hexdigest()


def as_typed(secret: bytes) -> str:
    """The secret of a second factor as an authenticator takes it: base32 in groups of four."""
    text = base64.b32encode(secret).decode().rstrip("=")
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def provisioning_uri(secret: bytes, name: str) -> str:
    """The ``otpauth://`` address that authenticators read from a QR code."""
    import pyotp

    return str(pyotp.TOTP(base64.b32encode(secret).decode()).provisioning_uri(name=name, issuer_name="likeness"))


def step_of_code(secret: bytes, code: str, *, now: datetime, after: int | None) -> int | None:
    """The 30-second step that ``code`` belongs to, if it is right, near ``now`` and later than step ``after``."""
    import pyotp

    known, digits = pyotp.TOTP(base64.b32encode(secret).decode()), "".join(code.split())
    step = int(now.timestamp()) // _SECONDS
    for near in range(step - _DRIFT, step + _DRIFT + 1):
        right = secrets.compare_digest(known.at(near * _SECONDS).encode(), digits.encode("utf-8", "replace"))
        if right and (after is None or near > after):
            return near
    return None


_HASHING: Final = threading.BoundedSemaphore(2)
_QUEUE: Final = threading.BoundedSemaphore(8)
"""Passwords hashed at once, 64 MiB each, and hashed or waiting: strangers at the login cost no more than that."""


@contextmanager
def _turn() -> Iterator[None]:
    """Wait for a turn to hash. Raises :class:`DeniedError` where too many wait."""
    if not _QUEUE.acquire(blocking=False):
        raise DeniedError("too many people come in at once: try again in a moment")
    try:
        with _HASHING:
            yield
    finally:
        _QUEUE.release()


def hash_password(password: str) -> str:
    """Argon2id with a salt. Raises :class:`InputError` for a password that is too short or too long."""
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise InputError(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters")
    with _turn():
        return _hasher().hash(password)


def is_password(stored: str | None, password: str) -> bool:
    """Whether this is the password. Takes as long where there is none, so that nobody learns which accounts exist.

    Raises :class:`DeniedError` where too many passwords wait to be hashed.
    """
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        with _turn():
            _hasher().verify(stored or _nobody(), password[: MOST_PASSWORD + 1])
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


@functools.cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@functools.cache
def _nobody() -> str:
    return _hasher().hash(secrets.token_hex(16))
