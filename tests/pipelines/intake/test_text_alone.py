"""A bounty that is text alone is compared by its texts, and is not unscannable for want of a picture (I1, I11)."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.decisions.decide import decide
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, count_unreadable
from pipelines.runs.sweep import SweepSummary, require_complete, sweep
from pipelines.runs.verify import verify
from tests.fakes import person, picture
from tests.platform_actions import DAY, NAME, enrol, source_of, upload
from tests.platform_facts import statuses

EVERYTHING = Scope(None, None)


def listed(folder: Path, *rows: dict[str, object]) -> str:
    manifest = folder / "items.jsonl"
    lines = [json.dumps({"received_at": DAY.isoformat(), "kind": "bounty", **row}) for row in rows]
    manifest.write_text("\n".join(lines), encoding="utf-8")
    return f"manifest:{manifest}"


def swept(workspace: Workspace, source: str) -> SweepSummary:
    summary = sweep(workspace, source, day=None)
    assert require_complete(workspace, EVERYTHING).fraction == 1
    assert [finding for finding in verify(workspace) if not finding.ok and finding.check != "model files"] == []
    return summary


def test_i11_a_bounty_without_a_picture_is_clean_or_a_hit(workspace: Workspace, tmp_path: Path) -> None:
    enrol(workspace, person(1))
    rows = (
        {"id": "asks", "title": f"Wanted: {NAME}"},
        {"id": "other", "title": "Wanted: a castle"},
        {"id": "reply", "kind": "bounty_entry", "prompt": "done", "parent_model": "other"},
        {"id": "nothing"},
        {"id": "picture", "kind": "image", "title": "without a path"},
    )
    summary = swept(workspace, listed(tmp_path, *rows))
    found = statuses(workspace)
    assert (found["asks"], found["other"], found["reply"]) == ("hit", "clean", "clean")
    assert found["nothing"] == "unscannable:no_content"
    assert not found["picture"].startswith("clean"), "a picture that nobody looked at is not clean"
    assert (summary.hit, summary.clean) == (1, 2)
    with workspace.database.read() as connection:
        assert count_unreadable(connection, EVERYTHING).unreadable == 0


def test_a_rejected_name_leaves_it_clean_and_a_picture_is_looked_at_when_it_comes(
    workspace: Workspace, tmp_path: Path
) -> None:
    enrol(workspace, person(1))
    swept(workspace, listed(tmp_path, {"id": "asks", "title": f"Wanted: {NAME}"}))
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection)
    decide(workspace, [hit.hit_id], decision="reject", reason="parody_or_satire", actor="ann")
    assert statuses(workspace) == {"asks": "clean"}
    (tmp_path / "face.png").write_bytes(picture(person(1)))
    swept(workspace, listed(tmp_path, {"id": "asks", "title": "Wanted", "path": "face.png"}))
    with workspace.database.read() as connection:
        assert [one.tier for one in list_hits(connection)] == ["face"]


def test_an_empty_file_of_a_bounty_in_a_folder_is_no_picture_either(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "asks", b"", kind="bounty", title=f"Wanted: {NAME}")
    upload(uploads, "castle", b"", kind="bounty", title="a castle")
    upload(uploads, "broken.png", b"", title="a castle")
    swept(workspace, source_of(uploads))
    assert statuses(workspace) == {"asks": "hit", "castle": "clean", "broken.png": "unscannable:empty"}
