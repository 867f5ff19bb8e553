"""Reads a form that brings one file: in memory, bounded, nowhere else. Starlette would write larger ones to disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from starlette.datastructures import ImmutableMultiDict, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from embeddings.errors import InputError

MULTIPART: Final = "multipart/form-data"
MOST_UPLOAD: Final = 32 << 20
"""Bytes of a form with its file."""
_MOST_FIELDS: Final = 20
_MOST_FIELD: Final = 1 << 12


class _InMemory(MultiPartParser):
    """A parser whose files stay in memory: no form is as large as what it would put on disk."""

    spool_max_size = 2 * MOST_UPLOAD


def kind_of(request: Request) -> str:
    """The media type that a request says it has."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_upload(request: Request) -> tuple[ImmutableMultiDict[str, str], bytes | None]:
    """The fields of a form, and the bytes of its one file; None: no file was chosen.

    Raises :class:`InputError` for what is too large, has several files or is no form.
    """
    parser = _InMemory(
        request.headers, _bounded(request), max_files=1, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD
    )
    try:
        parsed = await parser.parse()
    except MultiPartException:
        raise InputError("the form cannot be read") from None
    try:
        fields = [(name, value) for name, value in parsed.multi_items() if isinstance(value, str)]
        files = [value for value in parsed.values() if isinstance(value, UploadFile)]
        data = await files[0].read() if files else b""
    finally:
        await parsed.close()
    return ImmutableMultiDict(fields), data or None


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_UPLOAD:
            raise InputError(f"a picture to search by has at most {MOST_UPLOAD >> 20} MiB")
        yield part
