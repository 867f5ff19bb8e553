"""Seeds: only confirmations make them, they outlive what they were taken of, and end with the confirmation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from embeddings.images.pdq import PDQ_MODEL_ID
from pipelines.cases.ending import erase
from pipelines.database import tables
from pipelines.decisions.decide import REASONS, DecisionSummary, decide, undo
from pipelines.hits.counting import live_hits
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_pending
from pipelines.registry import seeds
from pipelines.runs.rescan import rescan, retry_rescan, wanted_rescans
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from tests.embeddings.model_files import model_file
from tests.fakes import person, picture
from tests.platform_actions import NAME, enrol, source_of, upload
from tests.platform_facts import verdict_of

PDQ = "5a" * 32


@pytest.fixture
def subject(workspace: Workspace, uploads: Path) -> str:
    """Somebody registered whom ``a.png`` shows; ``copy.png`` shows nobody that a scan would find."""
    subject_id = enrol(workspace, person(1))
    upload(uploads, "a.png", picture(person(1)))
    upload(uploads, "copy.png", picture(person(2)))
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.write() as tx:
        # The models that see colours see nothing to hash in them.
        tx.execute(sa.update(tables.items).where(tables.items.c.item_id == "a.png").values(pdq=PDQ))
    return subject_id


def say(workspace: Workspace, decision: Any, *, item_id: str = "a.png", tier: str = "face") -> DecisionSummary:
    with workspace.database.read() as connection:
        query = sa.select(tables.hits.c.hit_id).where(tables.hits.c.item_id == item_id, tables.hits.c.tier == tier)
        hit_ids = connection.execute(query.order_by(tables.hits.c.hit_id)).scalars().all()
    return decide(workspace, hit_ids, decision=decision, reason=REASONS[decision][0], actor="ann")


def all_seeds(workspace: Workspace, *, standing: bool = True) -> list[Any]:
    with workspace.database.read() as connection:
        query = sa.select(tables.seeds).order_by(tables.seeds.c.version)
        return [row for row in connection.execute(query) if not standing or row.revoked_at is None]


def content_of(workspace: Workspace, item_id: str) -> str:
    with workspace.database.read() as connection:
        query = sa.select(tables.items.c.content_sha256).where(tables.items.c.item_id == item_id)
        return str(connection.execute(query).scalar_one())


def add_hit(workspace: Workspace, item_id: str, subject_id: str, *, tier: str, **values: Any) -> str:
    """A hit as another stage would write it, judged."""
    hit_id = f"hit_{tier}_{item_id}"
    row = {
        "hit_id": hit_id,
        "item_id": item_id,
        "subject_id": subject_id,
        "content_key": content_of(workspace, item_id),
        "tier": tier,
        "band": "strong",
        "score": 1.0,
        "threshold": 1.0,
        "threshold_source": "test",
        "found_by_id": "names-1",
        "policy_version": workspace.policy.version,
        "found_by": "sweep",
        "found_at": workspace.now(),
    }
    with workspace.database.write() as tx:
        tx.execute(sa.insert(tables.hits).values(**(row | values)))
        tx.execute(sa.update(tables.items).where(tables.items.c.item_id == item_id).values(status="hit"))
    judge_pending(workspace)
    return hit_id


def match_seed(workspace: Workspace, subject_id: str) -> str:
    """``copy.png`` turns out to be a copy of what was confirmed."""
    seed = next(row for row in all_seeds(workspace) if row.kind == "sha256")
    exact = {"place": "sha256", "seed_id": seed.seed_id, "found_by_id": seed.model_id}
    return add_hit(workspace, "copy.png", subject_id, tier="exact", **exact)


def counted(workspace: Workspace, hit_id: str) -> bool:
    with workspace.database.read() as connection:
        return connection.execute(live_hits().where(tables.hits.c.hit_id == hit_id)).first() is not None


def test_a_confirmed_face_seeds_the_bytes_and_the_look_of_its_picture_with_its_share(
    workspace: Workspace, subject: str
) -> None:
    content = content_of(workspace, "a.png")
    assert say(workspace, "confirm").seeds == 2
    found = {row.kind: (row.digest, row.model_id, row.version, row.ground, row.share) for row in all_seeds(workspace)}
    assert found == {
        "sha256": (content, seeds.SHA256_MODEL_ID, 1, "face", None),
        "pdq": (PDQ, PDQ_MODEL_ID, 2, "face", 1.0),
    }


@pytest.mark.parametrize(
    ("tier", "kind", "reason", "ground"),
    [
        ("face", "image", "same_person", "face"),
        ("face", "image", "named_person", None),
        ("face", "model", "same_person", "face"),
        ("exact", "image", "copy_of_confirmed", "seen"),
        ("exact", "bounty_entry", "copy_of_confirmed", "seen"),
        ("exact", "model", "copy_of_confirmed", "bytes"),
        ("header", "model", "same_person", "bytes"),
        ("header", "model", "named_person", "bytes"),
        ("text", "image", "same_person", "text"),
        ("text", "image", "named_person", None),
        ("text", "model", "same_person", None),
        ("text", "bounty", "named_person", None),
        ("header", "model", "reproduces_person", "tensors"),
        ("text", "model", "reproduces_person", "tensors"),
        ("text", "image", "reproduces_person", "text"),
    ],
)
def test_what_a_confirmation_is_of_says_what_it_may_seed(tier: str, kind: str, reason: str, ground: str | None) -> None:
    assert seeds.ground_of(tier=tier, kind=kind, reason=reason) == ground


def test_nothing_that_can_be_forged_seeds_tensors() -> None:
    for tier in ("face", "exact", "header", "text"):
        for kind in ("model", "image", "bounty", "bounty_entry"):
            for reason in set(REASONS["confirm"]) - {"reproduces_person"}:
                ground = seeds.ground_of(tier=tier, kind=kind, reason=reason)
                assert ground is None or "payload" not in seeds.SOWN[ground]


def test_a_face_in_a_later_frame_seeds_no_hash_of_the_first(workspace: Workspace, subject: str) -> None:
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.hits).where(tables.hits.c.item_id == "a.png").values(frame=3))
    say(workspace, "confirm")
    assert [row.kind for row in all_seeds(workspace)] == ["sha256"]


def test_a_seed_of_an_older_home_sends_what_looks_alike_to_review(workspace: Workspace, subject: str) -> None:
    say(workspace, "confirm")
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.seeds).values(ground=None, share=None))
    match_seed(workspace, subject)
    assert verdict_of(workspace, "copy.png") == ("review", "resembles_confirmed")


def test_a_model_file_without_tensors_is_no_seed_for_all_others_without_any(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "named.safetensors", model_file({"ss_output_name": NAME}, payload=b""))
    upload(uploads, "other.safetensors", model_file({"ss_output_name": "style"}, payload=b""))
    sweep(workspace, source_of(uploads), day=None)
    say(workspace, "confirm", item_id="named.safetensors", tier="header")
    assert [row.kind for row in all_seeds(workspace)] == ["sha256"]
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        assert {hit.item_id for hit in list_hits(connection)} == {"named.safetensors"}


@pytest.mark.parametrize("decision", ["reject", "unsure"])
def test_nothing_but_a_confirmation_seeds(workspace: Workspace, subject: str, decision: str) -> None:
    assert say(workspace, decision).seeds == 0
    assert all_seeds(workspace, standing=False) == []


def test_confirming_again_seeds_nothing_more(workspace: Workspace, subject: str) -> None:
    say(workspace, "confirm")
    before = all_seeds(workspace)
    assert say(workspace, "confirm").seeds == 0
    assert all_seeds(workspace) == before


def test_confirming_a_text_seeds_the_content_that_came_with_it(workspace: Workspace, subject: str) -> None:
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.items).where(tables.items.c.item_id == "copy.png").values(text_digest="7e" * 32))
    text = {"place": "title", "match": "full_name", "content_key": "7e" * 32}
    add_hit(workspace, "copy.png", subject, tier="text", **text)
    assert say(workspace, "confirm", item_id="copy.png", tier="text").seeds == 1
    assert [row.digest for row in all_seeds(workspace)] == [content_of(workspace, "copy.png")]


def test_a_copy_of_what_was_confirmed_is_a_copy_until_that_is_undone(workspace: Workspace, subject: str) -> None:
    summary = say(workspace, "confirm")
    hit_id = match_seed(workspace, subject)
    assert verdict_of(workspace, "copy.png") == ("takedown", "copy_of_confirmed")
    undone = undo(workspace, str(summary.batch_id), actor="ann")
    assert (undone.seeds_revoked, undone.items, undone.withdrawn) == (2, 2, 2)
    assert not counted(workspace, hit_id)
    assert verdict_of(workspace, "copy.png")[0] == "clear"
    with workspace.database.read() as connection:
        assert [hit.item_id for hit in list_hits(connection)] == ["a.png"]
    assert [finding.check for finding in verify(workspace) if not finding.ok] in ([], ["model files"])


def test_rejecting_after_all_revokes_the_seeds(workspace: Workspace, subject: str) -> None:
    say(workspace, "confirm")
    hit_id = match_seed(workspace, subject)
    say(workspace, "reject")
    assert all_seeds(workspace) == []
    assert not counted(workspace, hit_id)


def test_a_copy_stays_one_while_another_confirmation_of_the_same_stands(workspace: Workspace, subject: str) -> None:
    first = say(workspace, "confirm")
    hit_id = match_seed(workspace, subject)
    add_hit(workspace, "a.png", subject, tier="header", place="header:ss_output_name", match="joined")
    say(workspace, "confirm", tier="header")
    undo(workspace, str(first.batch_id), actor="ann")
    assert counted(workspace, hit_id)


def test_undoing_the_reversal_restores_the_seeds_as_new_ones(workspace: Workspace, subject: str) -> None:
    say(workspace, "confirm")
    hit_id = match_seed(workspace, subject)
    newest = max(row.version for row in all_seeds(workspace))
    reversal = say(workspace, "reject")
    undone = undo(workspace, str(reversal.batch_id), actor="ann")
    assert (undone.restored, undone.seeds) == (1, 2)
    assert min(row.version for row in all_seeds(workspace)) > newest, "what came meanwhile has to be compared"
    assert counted(workspace, hit_id)


def test_rejecting_a_copy_leaves_the_seed_to_other_copies(workspace: Workspace, subject: str) -> None:
    say(workspace, "confirm")
    match_seed(workspace, subject)
    say(workspace, "reject", item_id="copy.png", tier="exact")
    assert len(all_seeds(workspace)) == 2
    assert verdict_of(workspace, "copy.png") == ("clear", "rejected_by_person")
    assert verdict_of(workspace, "a.png")[0] == "takedown"


def test_seeds_outlive_the_item(workspace: Workspace, uploads: Path, subject: str) -> None:
    say(workspace, "confirm")
    upload(uploads, "a.png", picture(person(1)), deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    assert {row.kind for row in all_seeds(workspace)} == {"sha256", "pdq"}


def test_versions_never_fall_even_when_seeds_are_deleted(workspace: Workspace, subject: str) -> None:
    summary = say(workspace, "confirm")
    undo(workspace, str(summary.batch_id), actor="ann")
    with workspace.database.write() as tx:
        tx.execute(sa.delete(tables.seeds))
    say(workspace, "confirm")
    assert [row.version for row in all_seeds(workspace)] == [3, 4]


# --- With the stages that find copies and names ---


def test_a_text_that_was_confirmed_has_copies_of_its_picture_reviewed_anywhere(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "named.png", picture(person(2)), title=f"{NAME}, portrait")
    sweep(workspace, source_of(uploads), day=None)
    assert verdict_of(workspace, "named.png")[0] == "review"
    summary = say(workspace, "confirm", item_id="named.png", tier="text")
    upload(uploads, "copy.png", picture(person(2)))
    sweep(workspace, source_of(uploads), day=None)
    assert verdict_of(workspace, "copy.png") == ("review", "resembles_confirmed")
    undo(workspace, str(summary.batch_id), actor="ann")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        assert [hit.item_id for hit in list_hits(connection)] == ["named.png"]
    assert [finding.check for finding in verify(workspace) if not finding.ok] in ([], ["model files"])


def test_a_rejected_name_comes_back_with_another_text_only(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "named.png", picture(person(2)), title=f"{NAME}, portrait")
    sweep(workspace, source_of(uploads), day=None)
    say(workspace, "reject", item_id="named.png", tier="text")
    upload(uploads, "named.png", picture(person(2)), title=f"{NAME}, portrait", uploader="u-9")
    upload(uploads, "other.png", picture(person(4)), title=f"{NAME}, portrait")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        assert list_hits(connection) == []
    upload(uploads, "named.png", picture(person(2)), title=f"{NAME}, painted")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        assert [hit.item_id for hit in list_hits(connection)] == ["named.png"]


def test_erasing_the_subject_deletes_its_seeds(workspace: Workspace, subject: str) -> None:
    say(workspace, "confirm")
    erase(workspace, subject, actor="tester")
    assert all_seeds(workspace, standing=False) == []
    assert [finding.check for finding in verify(workspace) if not finding.ok] in ([], ["model files"])


def test_a_confirmation_asks_for_a_rescan_so_that_copies_are_found_at_once(workspace: Workspace, subject: str) -> None:
    assert wanted_rescans(workspace).keys == ()
    say(workspace, "confirm")
    (key,) = wanted_rescans(workspace).keys
    assert key.startswith("evidence:")
    assert retry_rescan(workspace, key, actor="tester")
    assert wanted_rescans(workspace).keys == (f"{key.rpartition(':')[0]}:2",)
    rescan(workspace)
    assert wanted_rescans(workspace).keys == ()
