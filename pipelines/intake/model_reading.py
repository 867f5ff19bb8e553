"""Reads contents: a picture's bytes as they are; a model file piece by piece, for its format, its header, and digests
of the file and of the tensors.

A content's identity is the SHA-256 of the whole file where that was streamed, else one of its header and size. The
images in a header stand for the file wherever a picture is looked for: their bytes, under the file's identity. Nothing
is unpickled; of other formats than safetensors the texts at the beginning are read (:mod:`embeddings.headers.gguf`,
:mod:`embeddings.headers.pickled`), and the rest is hashed. Knows no database.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace
from typing import Final

from embeddings.errors import FetchError, UnscannableError
from embeddings.headers.evidence import HeaderText
from embeddings.headers.gguf import is_gguf
from embeddings.headers.pickled import is_pickled
from embeddings.headers.reading import HeaderReader, ReadHeader, read_header
from embeddings.headers.safetensors import LENGTH_BYTES, header_length, is_safetensors
from embeddings.images.magic import sniff
from embeddings.types import Content
from pipelines.settings.config import ModelFilesConfig
from pipelines.sources.reading import BytesReading, Reading

READ: Final = "read"
SAFETENSORS: Final = "safetensors"
GGUF: Final = "gguf"
READER: Final = 3
"""Which version of this module read a file. Raise it whenever it reads something else: older files are then read again."""
_PEEK: Final = 16
"""Bytes that tell every format apart."""
_PIECE: Final = 1 << 20
_MAGIC: Final = {
    b"PK\x03\x04": "zip",
    b"GGUF": "gguf",
    b"\x80\x02": "pickle",
    b"\x80\x03": "pickle",
    b"\x80\x04": "pickle",
}


@dataclass(frozen=True, slots=True, repr=False)
class ReadModel:
    """What one reading of a file gave. ``repr`` shows nothing of it."""

    identity: bytes
    """The content's digest."""
    status: str
    """Status of the header: ``read`` or ``unscannable:<reason>``."""
    item_status: str
    """Status of an item whose file has no image to look at: ``no_face`` or ``unscannable:<reason>``."""
    format: str | None
    header_sha256: bytes | None = None
    """Digest by which a later reading of the header alone recognises the file; None without a header."""
    header_bytes: int | None = None
    tensors: int | None = None
    payload_sha256: bytes | None = None
    texts: tuple[HeaderText, ...] = ()
    notes: tuple[str, ...] = ()
    """What was odd about the header, as fixed words."""
    again: bool = False
    """Whether what was stored of this content stands, because its tensors were not read this time."""


@dataclass(frozen=True, slots=True, repr=False)
class FoundContent:
    """What was found in an item's bytes: an image, a model file, or a model file with an image in its header."""

    content: Content | None
    model_file: ReadModel | None = None


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A model file that was read before."""

    identity: bytes
    header_sha256: bytes


def read_model(
    reading: Reading, *, config: ModelFilesConfig, max_image_bytes: int, header_reader: HeaderReader = read_header
) -> FoundContent:
    """Read content whatever kind it claims to be. Holds an image, or a header and the piece being hashed, in memory.

    Raises :class:`FetchError`, and :class:`UnscannableError` for what cannot be read and has no identity either.
    """
    tape = _Tape(reading)
    if _is_image(tape.head):
        data = tape.read(max_image_bytes + 1)
        if len(data) > max_image_bytes:
            raise UnscannableError("too_large")
        return FoundContent(Content(tape.sha256.digest(), data))
    try:
        header, header_sha256 = _read_header(tape, reading, config, header_reader)
    except UnscannableError as error:
        return _of_other_format(tape, reading, config, header_reader, error)
    payload = _payload_sha256(tape, reading, config, size=header.payload_bytes)
    if payload is not None and tape.at != header.file_bytes:
        if reading.size is not None:
            raise FetchError("changed", "while it was read")
        return _unreadable(tape, UnscannableError("truncated" if tape.at < header.file_bytes else "corrupt"))
    identity = header_sha256 if payload is None else tape.sha256.digest()
    return _readable(header, identity, header_sha256, payload)


def read_again(
    reading: Reading, known: KnownFile, *, config: ModelFilesConfig, header_reader: HeaderReader = read_header
) -> FoundContent | None:
    """Recognise a file that was read before by its header and size, a GGUF file by its beginning; None when it is
    another file."""
    try:
        tape = _Tape(reading)
        if is_gguf(tape.head):
            first = tape.read(config.max_header_bytes)
            if _beginning_sha256(first) != known.header_sha256:
                return None
            begun = header_reader(first, file_bytes=reading.size, limits=config.reading_limits())
            return FoundContent(None, _begun(GGUF, known.identity, first, begun, again=True))
        header, header_sha256 = _read_header(tape, reading, config, header_reader)
    except UnscannableError:
        return None
    if header_sha256 != known.header_sha256:
        return None
    return _readable(header, known.identity, header_sha256, None, again=True)


def read_bytes(data: bytes, *, config: ModelFilesConfig, header_reader: HeaderReader = read_header) -> FoundContent:
    """Read bytes that came as an image: the same file is the same content, whatever kind of item it came as."""
    if not is_safetensors(data):
        return FoundContent(Content(hashlib.sha256(data).digest(), data))
    whole = replace(config, payload="stream", max_payload_bytes=max(len(data), 1))
    return read_model(BytesReading(data), config=whole, max_image_bytes=len(data), header_reader=header_reader)


class _Tape:
    """Reads from a :class:`Reading` and hashes everything that it has read."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._ahead = self.head = reading.read(_PEEK)
        self.sha256 = hashlib.sha256()
        self.at = 0
        if not self.head:
            raise UnscannableError("empty")

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer at the end."""
        data, self._ahead = self._ahead[:count], self._ahead[count:]
        if count > len(data):
            data += self._reading.read(count - len(data))
        self.sha256.update(data)
        self.at += len(data)
        return data


def _is_image(head: bytes) -> bool:
    try:
        return bool(sniff(head))
    except UnscannableError:
        return False


def _read_header(
    tape: _Tape, reading: Reading, config: ModelFilesConfig, header_reader: HeaderReader
) -> tuple[ReadHeader, bytes]:
    """The header, and a digest of it and of the file's size."""
    if not is_safetensors(tape.head):
        raise UnscannableError("format")
    length = header_length(tape.head, limits=config.header_limits())
    data = tape.read(LENGTH_BYTES + length)[LENGTH_BYTES:]
    if len(data) < length:
        raise UnscannableError("truncated")
    header = header_reader(data, file_bytes=reading.size, limits=config.reading_limits())
    named = (b"likeness/header\0", data, struct.pack("<Q", header.file_bytes))
    return header, hashlib.sha256(b"".join(named)).digest()


def _payload_sha256(
    tape: _Tape, reading: Reading, config: ModelFilesConfig, *, size: int | None = None
) -> bytes | None:
    """Hash what is left; None if it is not wanted, too large, or slower than it may be."""
    if size is None and reading.size is not None:
        size = reading.size - tape.at
    if config.payload == "off" or (size or 0) > config.max_payload_bytes:
        return None
    digest, end = hashlib.sha256(), tape.at + config.max_payload_bytes
    reading.allow(config.payload_timeout_seconds)
    try:
        while piece := tape.read(_PIECE):
            digest.update(piece)
            if tape.at > end:
                return None
    except FetchError as error:
        if error.reason != "timeout":
            raise
        return None
    return digest.digest()


def _of_other_format(
    tape: _Tape, reading: Reading, config: ModelFilesConfig, reader: HeaderReader, problem: UnscannableError
) -> FoundContent:
    """A file whose header is no safetensors header, with the texts that its beginning has."""
    first, begun = b"", None
    if not tape.at and (is_gguf(tape.head) or is_pickled(tape.head)):
        first = tape.read(config.max_header_bytes)
        try:
            begun = reader(first, file_bytes=reading.size, limits=config.reading_limits())
        except UnscannableError as error:  # the reader's process died of it: the status, and the file has its digest
            problem = error
    if _payload_sha256(tape, reading, config) is None:
        raise problem
    return _unreadable(tape, problem, first, begun)


def _unreadable(
    tape: _Tape, problem: UnscannableError, first: bytes = b"", begun: ReadHeader | None = None
) -> FoundContent:
    """What is known of a file without a safetensors header, by what its beginning gave."""
    known = (name for magic, name in _MAGIC.items() if tape.head.startswith(magic))
    name = SAFETENSORS if is_safetensors(tape.head) else next(known, None)
    if begun is None:
        return FoundContent(None, ReadModel(tape.sha256.digest(), problem.status, problem.status, name))
    file = _begun(name, tape.sha256.digest(), first, begun)
    if name != GGUF:
        file = replace(file, status=problem.status, item_status=problem.status)
    return FoundContent(None, file)


def _beginning_sha256(first: bytes) -> bytes:
    return hashlib.sha256(b"likeness/first\0" + first).digest()


def _begun(name: str | None, identity: bytes, first: bytes, begun: ReadHeader, *, again: bool = False) -> ReadModel:
    """What the beginning of a GGUF file says, which is all that there is to know of one."""
    return ReadModel(
        identity=identity,
        status=READ,
        item_status="no_face",
        format=name,
        header_sha256=_beginning_sha256(first),
        header_bytes=len(first),
        tensors=begun.tensors or None,
        texts=begun.texts,
        notes=begun.notes,
        again=again,
    )


def _readable(
    header: ReadHeader,
    identity: bytes,
    header_sha256: bytes,
    payload: bytes | None,
    *,
    again: bool = False,
) -> FoundContent:
    problem = header.picture_problem
    item_status = "no_face" if problem is None else UnscannableError(problem).status
    model_file = ReadModel(
        identity=identity,
        status=READ,
        item_status=item_status,
        format=SAFETENSORS,
        header_sha256=header_sha256,
        header_bytes=header.json_bytes,
        tensors=header.tensors,
        payload_sha256=payload,
        texts=header.texts,
        notes=header.notes,
        again=again,
    )
    return FoundContent(None if header.picture is None else Content(identity, header.picture), model_file)
