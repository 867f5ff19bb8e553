"""What a safetensors file says of itself: its metadata, and where its tensors lie. No tensor is ever built.

The file is a length N (u64, little-endian), N bytes of JSON, and the tensors, which have to fill the rest without a
hole or an overlap. The bytes are an attacker's (I9), and where tensors lie is checked as strictly as the loaders do. In
the metadata, which loads whatever it says, nothing is a reason to read no further: of a key that occurs twice both
values are kept, so that no two readers see two headers in one file, and what is no text is made one. Such things are
noted. White space before the JSON is let pass, as the loaders do.

Format: huggingface/safetensors, README "Format"; element sizes as its version 0.8 knows them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeGuard

from embeddings.errors import UnscannableError
from embeddings.strict_json import Repeating, parse_leniently

LENGTH_BYTES: Final = 8
SNIFFED_BYTES: Final = LENGTH_BYTES + 1
"""How much of a file :func:`is_safetensors` looks at."""
METADATA: Final = "__metadata__"
MAX_NAME: Final = 1_024
"""Characters of a tensor's name or of a key of the metadata."""
MAX_RANK: Final = 32
MAX_NUMBER: Final = (1 << 63) - 1
"""Largest side or offset: what loaders and file systems hold. A product of larger ones may have a million digits."""
_LOADABLE: Final = 100_000_000
"""Longer headers are taken by no loader: what claims one is another format."""
_PARTS_PER_TENSOR: Final = 12
_PARTS_OF_METADATA: Final = 10_000
_BITS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


@dataclass(frozen=True, slots=True)
class HeaderLimits:
    """What is accepted. Anything beyond is an :class:`UnscannableError`."""

    max_bytes: int
    """Size of the JSON in bytes."""
    max_tensors: int


@dataclass(frozen=True, slots=True, repr=False)
class Header:
    """A header that passed every check. ``repr`` shows nothing of the metadata, which may name people."""

    metadata: Mapping[str, str]
    """The last value of each key, which is the one that loaders give."""
    tensors: int
    bytes: int
    """Size of the JSON."""
    payload_bytes: int
    """Size of all tensors: what follows the JSON, to the end of the file."""
    names: tuple[str, ...] = ()
    """The names of the tensors."""
    hidden: tuple[tuple[str, str], ...] = ()
    """Earlier values of keys that occur several times, with their keys."""
    notes: tuple[str, ...] = ()
    """What was odd: ``repeated_key``, ``not_text`` (a value, or all of the metadata), ``no_metadata`` (null)."""

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return LENGTH_BYTES + self.bytes + self.payload_bytes


def is_safetensors(first: bytes) -> bool:
    """Whether a file that begins with ``first`` (``SNIFFED_BYTES`` or more) claims to be a safetensors file."""
    if len(first) < SNIFFED_BYTES or first[LENGTH_BYTES] not in b"{ \t\r\n":
        return False
    return 0 < _length(first) <= _LOADABLE


def header_length(first: bytes, *, limits: HeaderLimits) -> int:
    """Bytes of JSON that follow the first eight. Raises ``truncated``, or ``too_large`` beyond the limit."""
    if len(first) < LENGTH_BYTES:
        raise UnscannableError("truncated")
    length = _length(first)
    if length > limits.max_bytes:
        raise UnscannableError("too_large")
    return length


def parse_header(data: bytes, *, file_bytes: int | None, limits: HeaderLimits) -> Header:
    """Return the header whose JSON is ``data``, in a file of ``file_bytes`` in all; None: not known, and then not
    checked.

    Raises :class:`UnscannableError`: ``too_large``; ``too_complex`` (tensors, nesting, dimensions, names);
    ``truncated`` where tensors are missing; ``corrupt`` for anything else that is not as the format says.
    """
    if len(data) > limits.max_bytes:
        raise UnscannableError("too_large")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UnscannableError("corrupt") from None
    max_parts = _PARTS_PER_TENSOR * limits.max_tensors + _PARTS_OF_METADATA
    fields = parse_leniently(text, max_parts=max_parts)
    if not isinstance(fields, dict):
        raise UnscannableError("corrupt")
    earlier = fields.earlier if isinstance(fields, Repeating) else []
    told = [value for key, value in earlier if key == METADATA] + [fields.pop(METADATA, {})]
    metadata, hidden, notes = _metadata(told)
    if len(fields) > limits.max_tensors or any(len(name) > MAX_NAME for name in fields):
        raise UnscannableError("too_complex")
    notes |= {"repeated_key"} if earlier else set()
    found = (metadata, len(fields), len(data), _payload_bytes(fields))
    header = Header(*found, tuple(fields), hidden=hidden, notes=tuple(sorted(notes)))
    if file_bytes is not None and file_bytes != header.file_bytes:
        raise UnscannableError("truncated" if file_bytes < header.file_bytes else "corrupt")
    return header


def _length(first: bytes) -> int:
    (length,) = struct.unpack_from("<Q", first)
    return int(length)


def _metadata(told: list[object]) -> tuple[dict[str, str], tuple[tuple[str, str], ...], set[str]]:
    """The metadata, what it hides behind repeated keys, and what is odd about it. ``told``: each that the file has, the
    last of which counts."""
    notes, pairs = {"no_metadata"} if told[-1] is None else set(), list[tuple[str, object]]()
    for one in told:
        if isinstance(one, Repeating):
            pairs += one.earlier
            notes.add("repeated_key")
        pairs += one.items() if isinstance(one, dict) else [] if one is None else [("", one)]
    if any(not isinstance(value, str) for _, value in pairs):
        notes.add("not_text")
    if any(len(key) > MAX_NAME for key, _ in pairs):
        raise UnscannableError("too_complex")
    last = told[-1] if isinstance(told[-1], dict) else {}
    metadata = {key: _as_text(value) for key, value in last.items() if value is not None}
    counting = len(last)
    hidden = tuple((key, _as_text(value)) for key, value in pairs[: len(pairs) - counting] if value is not None)
    return metadata, hidden, notes


def _as_text(value: object) -> str:
    """A value as a text; values that are none, which no loader takes, as the JSON that they were."""
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:  # writing goes less deep than reading
        raise UnscannableError("too_complex") from None


def _payload_bytes(tensors: Mapping[str, object]) -> int:
    """Return where the last tensor ends. Raises ``corrupt`` unless tensors lie one after the other from 0 on."""
    end = 0
    for start, stop in sorted(_extent(tensor) for tensor in tensors.values()):
        if start != end:
            raise UnscannableError("corrupt")
        end = stop
    return end


def _extent(tensor: object) -> tuple[int, int]:
    """Where a tensor begins and ends. Keys that the format does not know are passed over, as the loaders do."""
    if not isinstance(tensor, dict):
        raise UnscannableError("corrupt")
    dtype, offsets = tensor.get("dtype"), tensor.get("data_offsets")
    shape, bits = tensor.get("shape"), _BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None or not _are_numbers(shape) or not _are_numbers(offsets) or len(offsets) != 2:
        raise UnscannableError("corrupt")
    if len(shape) > MAX_RANK:
        raise UnscannableError("too_complex")
    for side in shape:
        bits *= side
    start, stop = offsets
    if bits % 8 or stop - start != bits // 8:
        raise UnscannableError("corrupt")
    return start, stop


def _are_numbers(value: object) -> TypeGuard[list[int]]:
    """Whether ``value`` is a list of integers from 0 to ``MAX_NUMBER``; true and false are no integers."""
    return isinstance(value, list) and all(type(entry) is int and 0 <= entry <= MAX_NUMBER for entry in value)
