"""Keys and sealing: everything personal passes through here before it is stored (I8).

One 32-byte master key. From it, by HKDF-SHA256 with a fixed label each, come the keys for item records, corpus shards,
manifest rows, the audit chain, and for wrapping the subjects' data keys. Each subject has a random data key of its own;
deleting its wrapped form makes everything sealed under it unreadable for good. Sealed bytes are nonce (12) followed by
AES-256-GCM ciphertext and tag; the associated data names what the bytes are, so that one cannot pass for another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from embeddings.errors import ConfigError, CorruptionError
from pipelines.home.hardening import harden_process

KEY_BYTES = 32
_NONCE_BYTES = 12


class KeyFileWarning(UserWarning):
    """A key file was made beside the data it protects: fine for a trial, not for production."""


def load_master_key(key: bytes | None, key_file: Path, *, create: bool) -> bytes:
    """Return the key from the environment, else from ``key_file``; with ``create``, a new file (mode 0600) and a
    warning.

    From here on the process dumps no memory (:mod:`pipelines.home.hardening`).
    """
    harden_process()
    if key is not None:
        return key
    if not key_file.exists():
        if not create:
            raise ConfigError(
                f"no sealing key: set LIKENESS_KEY, or put {key_file} back; only for a new home does `likeness init` "
                "make one"
            )
        _create_key_file(key_file)
    text = key_file.read_bytes().strip()
    try:
        loaded = base64.b64decode(text, validate=True)
    except ValueError:
        loaded = b""
    if len(loaded) != KEY_BYTES:
        raise CorruptionError(f"the key file {key_file} does not hold a 32-byte key in base64")
    return loaded


def _create_key_file(key_file: Path) -> None:
    temporary = key_file.with_name(f"{key_file.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, key_file)  # never replaces a key that another process made first
    except FileExistsError:
        return
    finally:
        temporary.unlink()
    warnings.warn(
        f"created the sealing key {key_file}. It lies beside the data it protects: in production keep your own key "
        "elsewhere and pass it as LIKENESS_KEY. Whoever loses this key loses the registry.",
        KeyFileWarning,
        stacklevel=3,
    )


def associated_data(*parts: str | int) -> bytes:
    """Return an unambiguous encoding of what some sealed bytes are."""
    return json.dumps(parts, separators=(",", ":")).encode()


def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Encrypt with AES-256-GCM under a random nonce; returns nonce, ciphertext and tag."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, aad)


def unseal(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Return the plaintext, or :class:`CorruptionError` if key, bytes or associated data differ from what was
    sealed."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad)
    except (InvalidTag, ValueError) as error:
        raise CorruptionError("sealed bytes cannot be opened: they or the key have changed") from error


class Sealer:
    """Holds the keys derived from the master key."""

    def __init__(self, master_key: bytes) -> None:
        self._keys = {
            label: _derive(master_key, label)
            for label in (
                "items",
                "corpus",
                "manifest",
                "audit",
                "wrap",
                "text",
                "rows",
                "seal",
                "witness",
                "ended",
                "accounts",
                "lots",
            )
        }
        self.fingerprint = _derive(master_key, "fingerprint").hex()[:32]

    def seal_record(self, record: dict[str, Any], item_id: str) -> bytes:
        """Seal what is known about an item besides its id (title, prompt, locator, ...)."""
        return seal(self._keys["items"], json.dumps(record).encode(), associated_data("item", item_id))

    def unseal_record(self, sealed: bytes, item_id: str) -> dict[str, Any]:
        """Return the record that :meth:`seal_record` sealed for this very item."""
        record: dict[str, Any] = json.loads(unseal(self._keys["items"], sealed, associated_data("item", item_id)))
        return record

    def seal_header(self, header: dict[str, Any], content_sha256: str) -> bytes:
        """Seal what the header of a model file says."""
        return seal(self._keys["items"], json.dumps(header).encode(), associated_data("header", content_sha256))

    def unseal_header(self, sealed: bytes, content_sha256: str) -> dict[str, Any]:
        """Open the header that :meth:`seal_header` sealed for this very content."""
        plain = unseal(self._keys["items"], sealed, associated_data("header", content_sha256))
        header: dict[str, Any] = json.loads(plain)
        return header

    def seal_infotext(self, texts: list[list[str]], content_sha256: str) -> bytes:
        """Seal what a picture says of its making: places and texts."""
        return seal(self._keys["items"], json.dumps(texts).encode(), associated_data("infotext", content_sha256))

    def unseal_infotext(self, sealed: bytes, content_sha256: str) -> list[list[str]]:
        """Open what :meth:`seal_infotext` sealed for this very content."""
        plain = unseal(self._keys["items"], sealed, associated_data("infotext", content_sha256))
        texts: list[list[str]] = json.loads(plain)
        return texts

    def seal_factor(self, secret: bytes, account: str) -> bytes:
        """Seal the secret of an account's second factor."""
        return seal(self._keys["accounts"], secret, associated_data("factor", account))

    def unseal_factor(self, sealed: bytes, account: str) -> bytes:
        """What :meth:`seal_factor` sealed for this very account."""
        return unseal(self._keys["accounts"], sealed, associated_data("factor", account))

    def shard_key(self, shard_id: str) -> bytes:
        """Return the key of one corpus shard; each shard has its own."""
        return _derive(self._keys["corpus"], shard_id)

    def manifest_seal(self, fields: Sequence[str | int | float | None]) -> str:
        """Return a MAC over one manifest row."""
        return self._mac("manifest", json.dumps(list(fields)))

    def audit_mac(self, text: str) -> str:
        """Return a MAC over one audit row, which names the row before it."""
        return self._mac("audit", text)

    def audit_head_mac(self, seq: int, mac: str) -> str:
        """Return a MAC over where the audit chain ends, which no row's own MAC can stand for."""
        return self._mac("audit", json.dumps(["head", seq, mac]))

    @property
    def row_key(self) -> bytes:
        """The key of the digests of rows (:mod:`pipelines.database.accounting`)."""
        return self._keys["rows"]

    def seal_mac(self, text: str) -> str:
        """Return a MAC over the counter and the digests of all tables."""
        return self._mac("seal", text)

    def witness_mac(self, text: str) -> str:
        """Return a MAC over the witness, which lies outside of the database."""
        return self._mac("witness", text)

    def ended_mac(self, subject_id: str, state: str) -> str:
        """Return a MAC that stands for (subject, state) in the witness without telling which subject it is."""
        return self._mac("ended", json.dumps([subject_id, state]))

    def text_mac(self, text: str) -> str:
        """Return a MAC over an item's texts: it shows a change of them, and nobody without the key can guess them from
        it."""
        return self._mac("text", text)

    def lot(self, *about: str | int) -> float:
        """Draw a number from 0 up to 1 for ``about``: always the same one, and nobody without the key can foretell
        it."""
        return int(self._mac("lots", json.dumps(about))[:13], 16) / 16.0**13

    def new_subject_key(self, subject_id: str) -> tuple[bytes, bytes]:
        """Return a fresh data key and its wrapped form."""
        key = secrets.token_bytes(KEY_BYTES)
        return key, seal(self._keys["wrap"], key, associated_data("subject_key", subject_id))

    def subject_key(self, wrapped: bytes, subject_id: str) -> bytes:
        """Unwrap a subject's data key."""
        return unseal(self._keys["wrap"], wrapped, associated_data("subject_key", subject_id))

    def _mac(self, label: str, text: str) -> str:
        return hmac.new(self._keys[label], text.encode(), hashlib.sha256).hexdigest()


def _derive(key: bytes, label: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"likeness/1/" + label.encode()).derive(key)
