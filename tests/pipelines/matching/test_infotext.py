"""Names in what a picture says of its making, and pictures that a confirmed model made, are found from end to end."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from indexes.name_rules import SubjectNames
from pipelines.cases.ending import erase, withdraw
from pipelines.database.tables import hits, items, made_with, picture_texts, seeds, verdicts
from pipelines.decisions.decide import decide, undo
from pipelines.decisions.looks import reveal
from pipelines.hits.counting import live_hits
from pipelines.hits.verdicts import list_model_verdicts
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.intake.picture_texts import forget_picture_texts
from pipelines.matching.coverage import unexamined_count
from pipelines.matching.dropping import drop_names
from pipelines.matching.made_by import find_made_by
from pipelines.matching.names import examine_pending
from pipelines.runs.backfill import backfill
from pipelines.runs.status import read_status
from pipelines.runs.sweep import require_complete
from tests.conftest import Clock
from tests.embeddings.infotext_files import PARAMETERS, exif_block, packed_chunk, png_of, text_chunk, with_exif
from tests.embeddings.model_files import model_file
from tests.fakes import WHITE, picture
from tests.pipelines.matching.test_examine import column, found, join, missing
from tests.platform_actions import night, upload
from tests.platform_facts import statuses
from tests.searching import in_clear

ALL = Scope(None, None)


def saying(*chunks: bytes, number: int = 0) -> bytes:
    """A picture without a face, with these chunks. ``number``: tells its bytes from others'."""
    data = picture(WHITE)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return data[:33] + b"".join(chunks) + text_chunk("seed", str(number)) + data[33:]


def parameters(text: str) -> bytes:
    return text_chunk("parameters", text)


def made_with_lora(payload: bytes, number: int = 0) -> bytes:
    """A faceless picture that names a LoRA by its hash, as A1111 does."""
    digits = hashlib.sha256(payload).hexdigest()[:12]
    return saying(parameters(f'a street\nSteps: 2, Lora hashes: "some_name: {digits}", Version: 1'), number=number)


def confirm(workspace: Workspace, item_id: str, *, reason: str = "same_person") -> str:
    with workspace.database.read() as connection:
        ids = connection.execute(sa.select(hits.c.hit_id).where(hits.c.item_id == item_id)).scalars().all()
    return decide(workspace, sorted(ids), decision="confirm", reason=reason, actor="ann").batch_id


def test_names_in_what_a_file_says_are_hits_at_their_places(workspace: Workspace, uploads: Path) -> None:
    jane, mary = join(workspace, "Jane Doe"), join(workspace, "Mary Roe", who=2)
    upload(uploads, "a.png", saying(parameters(PARAMETERS)))
    comment = b"UNICODE\0" + "portrait of Jane Doe\nSteps: 20".encode("utf-16-be")
    upload(uploads, "b.jpg", with_exif("JPEG", exif_block(comment)))
    upload(uploads, "c.webp", with_exif("WEBP", exif_block(comment)))
    graph = {"6": {"class_type": "CLIPTextEncode", "inputs": {"text": "photo of Jane Doe"}}}
    upload(uploads, "d.png", png_of({"prompt": graph, "workflow": {"nodes": []}}))
    night(workspace, uploads)
    assert found(workspace) == {
        ("a.png", jane, "infotext:prompt", "full_name"),
        ("a.png", jane, "infotext:lora", "full_name"),
        ("b.jpg", jane, "infotext:prompt", "full_name"),
        ("c.webp", jane, "infotext:prompt", "full_name"),
        ("d.png", jane, "infotext:prompt", "full_name"),
    }
    assert set(statuses(workspace, live=True).values()) == {"hit"}
    with workspace.database.read() as connection:
        rows = connection.execute(live_hits().where(hits.c.item_id == "a.png")).all()
    assert {row.content_key for row in rows} == {column(workspace, "a.png", "content_sha256")}
    assert {(row.tier, row.band) for row in rows} == {("text", "strong")}
    assert mary not in {row.subject_id for row in rows}
    require_complete(workspace, ALL)


def test_a_listing_and_a_file_with_another_prompt_are_both_searched(workspace: Workspace, uploads: Path) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", saying(parameters("Jane Doe, smiling\nSteps: 2")), prompt="photo of jane doe")
    upload(uploads, "b.png", saying(parameters("Jane Doe, smiling\nSteps: 2"), number=1), prompt="a street")
    night(workspace, uploads)
    assert found(workspace) == {
        ("a.png", jane, "prompt", "full_name"),
        ("a.png", jane, "infotext:prompt", "full_name"),
        ("b.png", jane, "infotext:prompt", "full_name"),
    }


def test_a_look_says_whether_listing_and_file_carry_different_prompts(workspace: Workspace, uploads: Path) -> None:
    join(workspace, "Jane Doe")
    text = "photo of Jane Doe <lora:x:1>\nSteps: 2"
    listed = {"same.png": "Photo of  Jane Doe", "other.png": "Jane Doe, a street", "none.png": None}
    for number, (name, prompt) in enumerate(listed.items()):
        upload(uploads, name, saying(parameters(text), number=number), **({"prompt": prompt} if prompt else {}))
    night(workspace, uploads)
    with workspace.database.read() as connection:
        rows = connection.execute(live_hits().where(hits.c.place == "infotext:prompt")).all()
    said = {row.item_id: reveal(workspace, row.hit_id, actor="ann") for row in rows}
    assert {name: one.prompts_differ for name, one in said.items()} == {
        "same.png": False,
        "other.png": True,
        "none.png": None,
    }
    assert {one.term for one in said.values()} == {"Jane Doe"}


def test_i1_pictures_that_an_older_version_scanned_are_counted_and_read_by_a_backfill(
    workspace: Workspace, uploads: Path
) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", saying(parameters("photo of Jane Doe\nSteps: 2")))
    upload(uploads, "gone.png", saying(parameters("photo of Jane Doe\nSteps: 2"), number=1))
    night(workspace, uploads)
    before = found(workspace)
    assert read_status(workspace).pictures_unread == 0
    with workspace.database.write() as tx:  # as it was before this reader
        tx.execute(sa.delete(picture_texts))
        tx.execute(sa.delete(hits))
    (uploads / "gone.png").unlink()
    assert read_status(workspace).pictures_unread == 2
    assert backfill(workspace, actor="tester").pictures_read == 1
    assert read_status(workspace).pictures_unread == 1
    assert found(workspace) == {hit for hit in before if hit[0] == "a.png"} != set()
    assert jane in {hit[1] for hit in before}


def test_what_is_weak_stays_weak(workspace: Workspace, uploads: Path) -> None:
    join(workspace, "Jane Doe")
    upload(uploads, "a.png", saying(text_chunk("Description", "Jane Doe at home")))
    night(workspace, uploads)
    with workspace.database.read() as connection:
        row = connection.execute(live_hits()).one()
        verdict = connection.execute(sa.select(verdicts)).one()
    assert (row.place, row.band) == ("infotext:caption", "review")
    assert (verdict.verdict, verdict.rule) == ("review", "weak_name_alone")


def test_i2_somebody_who_joins_later_is_looked_for_in_what_was_read_before(workspace: Workspace, uploads: Path) -> None:
    join(workspace, "Ann Poe", who=3)
    upload(uploads, "a.png", saying(packed_chunk("parameters", PARAMETERS)))
    night(workspace, uploads)
    assert found(workspace) == set()
    jane = join(workspace, "Jane Doe")
    assert missing(workspace) == 1
    examine_pending(workspace, found_by="rescan")
    assert ("a.png", jane, "infotext:prompt", "full_name") in found(workspace)


def test_i2_a_file_that_another_reader_reads_later_is_examined_then(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", picture(WHITE))
    night(workspace, uploads)
    content = column(workspace, "a.png", "content_sha256")
    assert found(workspace) == set()
    clock.forward(hours=1)
    sealed = workspace.sealer.seal_infotext([["infotext:prompt", "photo of Jane Doe"]], content)
    with workspace.database.write() as tx:
        own = sa.update(picture_texts).where(picture_texts.c.content_sha256 == content)
        tx.execute(own.values(sealed_texts=sealed, read_at=workspace.now()))
    assert missing(workspace) == 1
    examine_pending(workspace, found_by="sweep")
    assert found(workspace) == {("a.png", jane, "infotext:prompt", "full_name")}
    assert missing(workspace) == 0


def test_a_hit_falls_with_the_content_that_it_stood_in(workspace: Workspace, uploads: Path) -> None:
    join(workspace, "Jane Doe")
    upload(uploads, "a.png", saying(parameters("Jane Doe\nSteps: 2")), title="a street")
    night(workspace, uploads)
    assert found(workspace)
    upload(uploads, "a.png", saying(parameters("a house\nSteps: 2")), title="a street")
    night(workspace, uploads)
    assert found(workspace) == set()


def test_a_name_that_is_taken_back_takes_its_hits_with_it(workspace: Workspace, uploads: Path) -> None:
    jane = join(workspace, "Jane Doe", "Eve Poe")
    upload(uploads, "a.png", saying(parameters("photo of Eve Poe\nSteps: 2")))
    night(workspace, uploads)
    assert found(workspace)
    with workspace.database.write() as tx:
        dropped = drop_names(tx, workspace, SubjectNames(jane, ("Jane Doe",)))
    assert len(dropped.hits) == 1
    assert found(workspace) == set()


def test_i9_a_file_whose_texts_cannot_be_read_is_looked_at_as_ever(workspace: Workspace, uploads: Path) -> None:
    join(workspace, "Jane Doe")
    upload(uploads, "a.png", saying(text_chunk("prompt", '{"1": ' * 3000)))
    night(workspace, uploads)
    assert statuses(workspace, live=True) == {"a.png": "no_face"}
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(picture_texts.c.status)).scalar_one().startswith("unscannable:")


def test_i8_the_texts_are_in_clear_nowhere_and_gone_with_the_last_item(workspace: Workspace, uploads: Path) -> None:
    join(workspace, "Zdenicka Vymyslena")
    upload(uploads, "a.png", saying(parameters("photo of Zdenicka Vymyslena\nSteps: 2")))
    night(workspace, uploads)
    assert found(workspace)
    for path in workspace.home.rglob("*"):
        assert not (path.is_file() and in_clear(b"Vymyslena", path.read_bytes()))
    upload(uploads, "a.png", picture(WHITE), deleted=True)
    night(workspace, uploads)
    with workspace.database.write() as tx:
        forget_picture_texts(tx)
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(picture_texts)).all() == []
        assert connection.execute(sa.select(made_with)).all() == []


@pytest.fixture
def confirmed(workspace: Workspace, uploads: Path) -> str:
    """Somebody whose name stands in a model's header, and pictures that name that model or another."""
    jane = join(workspace, "Jane Doe")
    upload(uploads, "model.safetensors", model_file({"ss_output_name": "jane doe"}, payload=b"weights"), kind="model")
    upload(uploads, "made.png", made_with_lora(b"weights"))
    upload(uploads, "other.png", made_with_lora(b"others"))
    upload(uploads, "plain.png", saying(number=5))
    night(workspace, uploads)
    assert found(workspace, "made_by") == set()
    return jane


def test_pictures_that_name_a_model_are_found_when_it_is_confirmed(workspace: Workspace, confirmed: str) -> None:
    batch = confirm(workspace, "model.safetensors", reason="named_person")
    assert found(workspace, "made_by") == {("made.png", confirmed, "hash", None)}
    assert statuses(workspace, live=True)["made.png"] == "hit"
    assert statuses(workspace, live=True)["other.png"] == "no_face"
    with workspace.database.read() as connection:
        verdict = connection.execute(sa.select(verdicts).where(verdicts.c.item_id == "made.png")).one()
    assert (verdict.verdict, verdict.rule) == ("review", "made_by_confirmed_model")
    undo(workspace, batch, actor="ann")
    assert found(workspace, "made_by") == set()
    assert statuses(workspace, live=True)["made.png"] == "no_face"


def test_i2_what_is_found_at_once_is_what_the_next_run_finds(
    workspace: Workspace, confirmed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm(workspace, "model.safetensors")
    at_once = found(workspace, "made_by")
    with workspace.database.write() as tx:
        tx.execute(sa.delete(hits).where(hits.c.tier == "made_by"))
    with workspace.database.read() as connection:
        assert unexamined_count(connection, workspace) > 0
    examine_pending(workspace, found_by="rescan")
    assert found(workspace, "made_by") == at_once
    with workspace.database.read() as connection:
        assert unexamined_count(connection, workspace) == 0
    decisions = [row.decision_id for row in _seeds(workspace)]
    with workspace.database.write() as tx:
        assert find_made_by(tx, workspace, decisions) == 0


def _seeds(workspace: Workspace) -> list[Any]:
    with workspace.database.read() as connection:
        return list(connection.execute(sa.select(seeds).where(seeds.c.kind == "made_by")))


def test_a_picture_that_comes_after_the_confirmation_is_found(
    workspace: Workspace, uploads: Path, confirmed: str
) -> None:
    confirm(workspace, "model.safetensors")
    upload(uploads, "late.png", made_with_lora(b"weights", number=9))
    night(workspace, uploads)
    assert ("late.png", confirmed, "hash", None) in found(workspace, "made_by")


def test_a_number_of_a_version_points_to_its_model(workspace: Workspace, uploads: Path) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "4711", model_file({"ss_output_name": "jane doe"}, payload=b"weights"), kind="model")
    resources = json.dumps([{"type": "lora", "modelVersionId": 4711}])
    upload(uploads, "made.png", saying(parameters(f"a street\nSteps: 2, Civitai resources: {resources}")))
    night(workspace, uploads)
    confirm(workspace, "4711")
    assert found(workspace, "made_by") == {("made.png", jane, "version", None)}


def test_a_forged_hash_takes_nothing_down(workspace: Workspace, uploads: Path, confirmed: str) -> None:
    """Anybody can write the hash into a rival's picture, and many of them into many."""
    for number in range(4):
        forged = made_with_lora(b"weights", number=number + 20)
        upload(uploads, f"rival{number}.png", forged, parent_model="rival", uploader="griever")
    upload(uploads, "rival", model_file({"ss_output_name": "flowers"}, payload=b"rival"), kind="model", uploader="riva")
    night(workspace, uploads)
    confirm(workspace, "model.safetensors")
    night(workspace, uploads)
    with workspace.database.read() as connection:
        said = connection.execute(
            sa.select(verdicts.c.verdict, verdicts.c.rule, items.c.parent_model).join(
                items, items.c.item_id == verdicts.c.item_id
            )
        ).all()
        models = {one.model: one.verdict for one in list_model_verdicts(connection)}
    assert {(one.verdict, one.rule) for one in said if one.parent_model == "rival"} == {
        ("review", "made_by_confirmed_model")
    }
    assert models["rival"] == "suspected"


def test_i12_somebody_who_leaves_leaves_no_hit_behind(workspace: Workspace, confirmed: str) -> None:
    confirm(workspace, "model.safetensors")
    withdraw(workspace, confirmed, actor="tester")
    erase(workspace, confirmed, actor="tester")
    assert found(workspace, "made_by") == set()
    assert _seeds(workspace) == []
