"""Style sheet, script and icon, under addresses that change with their content."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from pipelines.web.render import read_static_files
from pipelines.web.routes import ANYBODY, MissingError, Routes, Visit

ROUTES: Final = Routes()
_FILES: Final = {file.address: file for file in read_static_files().values()}


@ROUTES.route("GET", "/static/{digest}/{name}", roles=ANYBODY)
def static_file(visit: Visit, digest: str, name: str) -> Response:
    """One file, to be kept for good."""
    file = _FILES.get(f"/static/{digest}/{name}")
    if file is None:
        raise MissingError("no such file")
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(file.data, media_type=file.kind, headers=headers)
