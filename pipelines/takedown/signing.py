"""Signatures of Standard Webhooks 1.0.0: ``v1,`` and HMAC-SHA256 over ``id.timestamp.body``, in base64.

Used by the client that signs and the development receiver that verifies. Secrets never appear in an error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from embeddings.errors import ConfigError

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
_PREFIX: Final = "whsec_"
_KEY_BYTES: Final = range(24, 65)  # Standard Webhooks 1.0.0: secrets of 24 to 64 random bytes


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature, ``v1,<base64>``. ``timestamp`` is whole seconds since 1970, ``secret`` is ``whsec_<base64>``.

    Raises :class:`ConfigError` when the secret is malformed.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode("ascii")


def signature_headers(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message. Several secrets (rotation, newest first) give several signatures."""
    require_secrets(secrets)
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: " ".join(sign(secret, message_id, timestamp, body) for secret in secrets),
    }


def verify(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, *, now: datetime, tolerance_seconds: float
) -> bool:
    """True when one of the signatures was made with one of the secrets and the timestamp is near ``now``.

    Header names may be in any case. Anything missing or malformed in the request is False, never an exception; a
    malformed secret is a :class:`ConfigError`.
    """
    require_secrets(secrets)
    found = {name.lower(): value for name, value in headers.items()}
    message_id, stamp = found.get(ID_HEADER, ""), found.get(TIMESTAMP_HEADER, "")
    if not message_id or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        return False
    given = [word.encode("utf-8", "replace") for word in found.get(SIGNATURE_HEADER, "").split()]
    # Every pair is compared, so that the time taken tells nothing about which one nearly fits.
    matches = [
        hmac.compare_digest(sign(secret, message_id, int(stamp), body).encode("ascii"), signature)
        for secret in secrets
        for signature in given
    ]
    return any(matches) and abs(now.timestamp() - int(stamp)) <= tolerance_seconds


def require_secrets(secrets: Sequence[str]) -> None:
    """Raise :class:`ConfigError` unless there is at least one secret and each is well formed."""
    if not secrets:
        raise ConfigError("no takedown secret: set LIKENESS_TAKEDOWN_SECRET to whsec_ and 24 to 64 bytes in base64")
    for secret in secrets:
        _key(secret)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or len(key) not in _KEY_BYTES:
        raise ConfigError("a takedown secret must be whsec_ followed by 24 to 64 bytes in base64")
    return key
