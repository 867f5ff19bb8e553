"""An older manifest that is listed again, and rows as exports write them: an unreadable date, an id that is a float.

The sample's own uploads are a folder, which has no older listing. So four more items come from a manifest, swept after
everything else has been scored: first listed, then one deleted and one changed, then listed as before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from pipelines.database.tables import items
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import SweepSummary, sweep
from pipelines.sample.truth import PlantedUpload, SamplePlatform

_GONE: Final = "listed-gone"
_CHANGED: Final = "listed-changed"
_UNDATED: Final = "listed-undated"
_FLOAT: Final = "listed-float"
_MODEL: Final = 4384.0
PASSED_OVER: Final = {"deletion_stands": 1, "repeated": 1}
"""Rows passed over when the older manifest comes again, by reason."""


def survive_an_older_listing(workspace: Workspace, platform: SamplePlatform) -> list[str]:
    """Sweep a manifest, a newer one, and the first one again; return what came out wrong, in words."""
    somebody = next(one for one in platform.planted if _is(one, "hit"))
    nobody = next(one for one in platform.planted if _is(one, "no_face"))
    older = _write(platform.folder / "older.jsonl", _rows(platform, somebody, nobody))
    newer = _write(platform.folder / "newer.jsonl", _rows(platform, somebody, nobody, later=True))
    first, second, again = (sweep(workspace, source, day=None) for source in (older, newer, older))
    return [
        *_differs("first", first, {"items": 4, "hit": 3, "undated": 1, "passed_over": {}}),
        *_differs("changed", second, {"items": 3, "hit": 3, "undated": 1, "passed_over": {}}),
        *_differs("as it was at first", again, {"undated": 1, "passed_over": PASSED_OVER}),
        *_wrong_facts(workspace),
    ]


def _is(upload: PlantedUpload, status: str) -> bool:
    return upload.kind == "image" and upload.expected["withdrawal"].status == status and upload.expected_faces in (0, 1)


def _rows(
    platform: SamplePlatform, somebody: PlantedUpload, nobody: PlantedUpload, *, later: bool = False
) -> Iterator[dict[str, Any]]:
    day, folder = platform.days[1].isoformat(), platform.uploads.name
    shown, empty = (f"{folder}/{upload.path}" for upload in (somebody, nobody))
    yield {"id": _GONE, "deleted": 1} if later else {"id": _GONE, "path": shown, "received_at": day}
    yield {"id": _CHANGED, "path": shown if later else empty, "received_at": day}
    yield {"id": _UNDATED, "path": shown, "received_at": "the day before yesterday"}
    yield {
        "id": _FLOAT,
        "path": shown,
        "received_at": f"{day} 10:00:00 UTC",
        "parent_model": _MODEL,
        "title": "unnamed",
    }


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return f"manifest:{path}"


def _differs(when: str, summary: SweepSummary, expected: dict[str, Any]) -> list[str]:
    found = {name: getattr(summary, name) for name in expected}
    return [] if found == expected else [f"a manifest, listed {when}: {found} instead of {expected}"]


def _wrong_facts(workspace: Workspace) -> list[str]:
    """Return what is wrong with the items in the end."""
    columns = [items.c[name] for name in ("item_id", "live", "status", "parent_model", "received_at", "first_seen")]
    ids = (_GONE, _CHANGED, _UNDATED, _FLOAT)
    with workspace.database.read() as connection:
        rows = {row.item_id: row for row in connection.execute(sa.select(*columns).where(items.c.item_id.in_(ids)))}
    problems = {
        "a deletion was revived": rows[_GONE].live,
        "a changed picture was reverted": rows[_CHANGED].status != "hit",
        "an unreadable date is not the time of the first listing": rows[_UNDATED].received_at
        != rows[_UNDATED].first_seen,
        "an id written as a float lost the link to its model": rows[_FLOAT].parent_model != str(int(_MODEL)),
    }
    return [f"an older manifest listed again: {what}" for what, wrong in problems.items() if wrong]
