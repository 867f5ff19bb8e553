"""What people do to harm others with the scanner: paste faces, forge headers, post to strangers' models."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from embeddings.images.pdq import pdq
from pipelines.database import tables
from pipelines.database.tables import model_verdicts, outbox, seeds
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_pending
from tests.embeddings.model_files import model_file
from tests.fakes import SIDE, Colour, person, picture
from tests.platform_actions import NAME, enrol, night, say, upload
from tests.platform_facts import messages, verdict_of

STRIPES = 10


def scene(number: int, *, face: Colour | None = None, brighter: int = 0) -> bytes:
    """A textured picture, different for each number, with a face in a tenth of it or none."""
    drawn = np.random.default_rng(number).integers(0, 2, size=(SIDE // 8, STRIPES * SIDE // 8), dtype=np.uint8)
    pixels = np.repeat(np.kron(drawn * 200, np.ones((8, 8), np.uint8))[:, :, None], 3, axis=2) + np.uint8(brighter)
    for stripe in range(STRIPES):
        colour = face if face is not None and stripe == 0 else (255, 255, 255)
        pixels[24:40, stripe * SIDE + 24 : stripe * SIDE + 40] = colour
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def of_model(workspace: Workspace, model: str) -> tuple[str, str]:
    query = sa.select(model_verdicts.c.verdict, model_verdicts.c.rule).where(model_verdicts.c.model == model)
    with workspace.database.read() as connection:
        verdict, rule = connection.execute(query).one()
    return verdict, rule


def seeded(workspace: Workspace) -> set[str]:
    with workspace.database.read() as connection:
        return set(connection.execute(sa.select(seeds.c.kind)).scalars())


# --- A confirmed part says nothing of the whole ---


def distance(one: bytes, other: bytes) -> int:
    hashes = [pdq(np.asarray(Image.open(io.BytesIO(data)))) for data in (one, other)]
    left, right = (int.from_bytes(found or b"", "big") for found in hashes)
    return (left ^ right).bit_count()


def test_a_face_pasted_into_a_rivals_picture_takes_down_the_copies_that_show_it_and_not_the_original(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    original, pasted, again = scene(1), scene(1, face=person(1)), scene(1, face=person(1), brighter=3)
    assert distance(original, pasted) <= workspace.policy.settings.takedown.duplicate_distance
    upload(uploads, "original.png", original, uploader="rival")
    upload(uploads, "pasted.png", pasted, uploader="griefer")
    night(workspace, uploads)
    say(workspace, "pasted.png")
    upload(uploads, "again.png", again, uploader="griefer")
    upload(uploads, "bytes.png", pasted, uploader="another")
    night(workspace, uploads)
    assert verdict_of(workspace, "original.png") == ("review", "resembles_confirmed")
    assert verdict_of(workspace, "again.png") == ("takedown", "copy_of_confirmed")
    assert verdict_of(workspace, "bytes.png") == ("takedown", "confirmed_by_person")
    assert "original.png" not in {item for _, item, _ in messages(workspace)}


def test_a_confirmed_face_that_fills_its_picture_takes_near_copies_down_though_they_hide_it(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "pasted.png", scene(1, face=person(1)))
    night(workspace, uploads)
    say(workspace, "pasted.png")
    upload(uploads, "hidden.png", scene(1))
    night(workspace, uploads)
    assert verdict_of(workspace, "hidden.png") == ("review", "resembles_confirmed")
    settings = workspace.policy.settings
    lower = replace(settings, copies=replace(settings.copies, face_share=0.1))
    workspace.policy = replace(workspace.policy, settings=lower, version="lower")
    judge_pending(workspace)
    assert verdict_of(workspace, "hidden.png") == ("takedown", "copy_of_confirmed")


@pytest.mark.parametrize("reason", ["same_person", "named_person", "copy_of_confirmed"])
def test_tensors_uploaded_again_under_a_forged_header_condemn_no_rivals_model(
    workspace: Workspace, uploads: Path, reason: str
) -> None:
    enrol(workspace, person(1))
    tensors = b"\x09" * 64
    upload(uploads, "rival.safetensors", model_file({"ss_output_name": "style"}, payload=tensors), uploader="rival")
    forged = model_file({"ss_output_name": NAME}, payload=tensors)
    upload(uploads, "forged.safetensors", forged, uploader="griefer")
    night(workspace, uploads)
    say(workspace, "forged.safetensors", reason=reason)
    night(workspace, uploads)
    assert seeded(workspace) == {"sha256", "made_by"}
    named = hashlib.sha256(tensors).hexdigest()[:10]
    with workspace.database.read() as connection:
        digests = connection.execute(sa.select(tables.seeds.c.digest)).scalars().all()
    assert not [digest for digest in digests if named in digest], "pictures made with the rival's model"
    assert verdict_of(workspace, "forged.safetensors") == ("takedown", "confirmed_by_person")
    assert verdict_of(workspace, "rival.safetensors") is None
    assert {item for _, item, _ in messages(workspace)} == {"forged.safetensors"}


def test_tensors_that_somebody_tried_are_known_again_under_any_header(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    tensors = b"\x09" * 64
    upload(uploads, "tried.safetensors", model_file({"ss_output_name": NAME}, payload=tensors))
    night(workspace, uploads)
    say(workspace, "tried.safetensors", reason="reproduces_person")
    upload(uploads, "cleaned.safetensors", model_file({}, payload=tensors))
    night(workspace, uploads)
    assert verdict_of(workspace, "cleaned.safetensors") == ("takedown", "copy_of_confirmed")


def test_a_name_beside_a_rivals_picture_takes_down_none_of_its_bytes(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "original.png", scene(1), uploader="rival")
    upload(uploads, "named.png", scene(1), uploader="griefer", prompt=f"photo of {NAME}")
    night(workspace, uploads)
    say(workspace, "named.png", reason="named_person")
    night(workspace, uploads)
    assert seeded(workspace) == set()
    assert verdict_of(workspace, "original.png") is None


# --- Strangers are no witnesses ---


def own_model(uploads: Path, model: str, *, pictures: int, title: str = "a style") -> None:
    upload(uploads, model, model_file({}, payload=model.encode()), kind="model", uploader="owner", title=title)
    for number in range(pictures):
        shown = picture(person(40 + number % 100), person(41 + number // 100))
        upload(uploads, f"{model}-{number:03}.png", shown, parent_model=model, uploader="owner")


def test_a_strangers_portrait_with_the_name_in_its_prompt_blocks_no_model(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    own_model(uploads, "style", pictures=30)
    upload(
        uploads, "mine.png", picture(person(1)), parent_model="style", uploader="stranger", prompt=f"photo of {NAME}"
    )
    night(workspace, uploads)
    assert of_model(workspace, "style") == ("suspected", "some_evidence")
    assert messages(workspace) == [("takedown", "mine.png", "pending")]


def test_generic_models_are_not_blocked_for_what_strangers_make_with_them(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    for model in ("one", "two", "three"):
        own_model(uploads, model, pictures=2)
        for number in range(5):
            shown = picture(person(1), person(100 + number))
            upload(uploads, f"{model}-by-stranger-{number}.png", shown, parent_model=model, uploader="stranger")
    night(workspace, uploads)
    assert [of_model(workspace, model)[0] for model in ("one", "two", "three")] == ["suspected"] * 3
    assert {(action, item.split("-")[1]) for action, item, _ in messages(workspace)} == {("takedown", "by")}


def test_an_owners_own_portraits_block_the_model_however_much_strangers_add(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "lora", model_file({}), kind="model", uploader="owner")
    for number in range(2):
        shown = picture(person(1), person(60 + number))
        upload(uploads, f"own-{number}.png", shown, parent_model="lora", uploader="owner")
    for number in range(10):
        shown = picture(person(70 + number))
        upload(uploads, f"other-{number}.png", shown, parent_model="lora", uploader=f"user-{number}")
    night(workspace, uploads)
    assert of_model(workspace, "lora") == ("likeness_model", "strong_face_in_distinct_images")
    assert ("generator.block", "lora", "pending") in messages(workspace)


def test_strangers_neither_corroborate_an_owners_picture_nor_name_it(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    own_model(uploads, "style", pictures=3)
    upload(uploads, "own.png", picture(person(1), person(30)), parent_model="style", uploader="owner")
    for number in range(3):
        shown = picture(person(1), person(31 + number))
        prompt = f"photo of {NAME}"
        upload(uploads, f"mine-{number}.png", shown, parent_model="style", uploader="stranger", prompt=prompt)
    night(workspace, uploads)
    assert verdict_of(workspace, "own.png") == ("review", "strong_face_uncorroborated")
    assert verdict_of(workspace, "mine-0.png") == ("takedown", "strong_face_in_distinct_images")


def test_a_picture_without_an_uploader_is_a_strangers_where_the_owner_is_known(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "known", model_file({}), kind="model", uploader="owner")
    for model in ("known", "unknown"):
        for number in range(2):
            upload(uploads, f"{model}-{number}.png", picture(person(1), person(50 + number)), parent_model=model)
    night(workspace, uploads)
    assert of_model(workspace, "known")[0] == "suspected"
    assert of_model(workspace, "unknown")[0] == "likeness_model"


def test_a_model_that_is_listed_after_its_pictures_is_judged_by_its_owner_from_then_on(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    for number in range(2):
        shown = picture(person(1), person(50 + number))
        upload(uploads, f"{number}.png", shown, parent_model="late", uploader="owner")
    night(workspace, uploads)
    assert of_model(workspace, "late")[0] == "suspected"
    upload(uploads, "late", model_file({}), kind="model", uploader="owner")
    night(workspace, uploads)
    assert of_model(workspace, "late")[0] == "likeness_model"


# --- What was not sent falls with its evidence ---


def planted_block(workspace: Workspace, subject: str, model: str, *, state: str) -> None:
    """A block that earlier rules wrote on a stranger's evidence."""
    with workspace.database.write() as tx:
        values: dict[str, Any] = {
            "message_id": f"msg-{model}",
            "key": model.encode().hex().ljust(64, "0"),
            "action": "generator.block",
            "item_id": model,
            "content_key": "",
            "subject_id": subject,
            "policy_version": workspace.policy.version,
            "due_at": workspace.now(),
            "body": "{}",
            "state": state,
            "attempts": int(state == "done"),
            "created_at": workspace.now(),
            "next_attempt_at": workspace.now(),
            "priority": 0,
            "decided_by": "automated",
        }
        tx.execute(sa.insert(outbox).values(**values))


@pytest.mark.parametrize(("state", "then"), [("pending", "withdrawn"), ("held", "withdrawn"), ("done", "done")])
def test_a_block_whose_only_picture_is_deleted_is_taken_back_before_it_is_sent(
    workspace: Workspace, uploads: Path, state: str, then: str
) -> None:
    subject = enrol(workspace, person(1))
    own_model(uploads, "style", pictures=2)
    upload(uploads, "mine.png", picture(person(1)), parent_model="style", uploader="stranger")
    night(workspace, uploads)
    planted_block(workspace, subject, "style", state=state)
    upload(uploads, "mine.png", picture(person(1)), parent_model="style", uploader="stranger", deleted=True)
    night(workspace, uploads)
    assert messages(workspace) == [("generator.block", "style", then)]


def test_an_unsent_takedown_falls_with_the_picture_that_corroborated_it_and_comes_back_with_it(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    for name, deleted in (("a.png", False), ("b.png", False)):
        upload(uploads, name, picture(person(1), person(ord(name[0]))), parent_model="m", deleted=deleted)
    night(workspace, uploads)
    assert [state for _, _, state in messages(workspace)] == ["pending"] * 3
    upload(uploads, "b.png", picture(person(1), person(ord("b"))), parent_model="m", deleted=True)
    night(workspace, uploads)
    assert {state for _, _, state in messages(workspace)} == {"withdrawn"}
    assert verdict_of(workspace, "a.png") == ("review", "strong_face_uncorroborated")
    assert of_model(workspace, "m")[0] == "suspected"
    upload(uploads, "b.png", picture(person(1), person(ord("b"))), parent_model="m")
    night(workspace, uploads)
    assert sorted(state for action, _, state in messages(workspace) if action == "takedown") == [
        *("pending", "pending"),
        *("withdrawn", "withdrawn"),
    ]


def test_i12_a_takedown_that_removed_the_other_picture_leaves_the_one_that_waits(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    for name in ("a.png", "b.png"):
        upload(uploads, name, picture(person(1), person(ord(name[0]))), parent_model="m")
    night(workspace, uploads)
    with workspace.database.write() as tx:
        sent = sa.update(outbox).where(outbox.c.item_id == "b.png")
        tx.execute(sent.values(state="done", attempts=1))
    upload(uploads, "b.png", picture(person(1), person(ord("b"))), parent_model="m", deleted=True)
    night(workspace, uploads)
    assert messages(workspace) == [
        ("generator.block", "m", "pending"),
        ("takedown", "a.png", "pending"),
        ("takedown", "b.png", "done"),
    ]


# --- A confirmation takes the place of what is held, whatever the message is keyed by ---


def test_confirming_a_name_replaces_the_takedown_that_was_held_while_there_was_no_content(
    workspace: Workspace, uploads: Path
) -> None:
    enrol(workspace, person(1))
    settings = workspace.policy.settings
    asked = replace(settings, bounty=replace(settings.bounty, named="takedown"))
    limited = replace(asked, breakers=replace(asked.breakers, run=1, day=1))
    workspace.policy = replace(workspace.policy, settings=limited, version="limited")
    for name in ("bounty", "other"):
        upload(uploads, name, b"", kind="bounty", title=f"a LoRA of {NAME}, please", uploader=name)
    night(workspace, uploads)
    assert messages(workspace) == [("takedown", "bounty", "held"), ("takedown", "other", "held")]
    with workspace.database.write() as tx:  # as they are written while an item has no content that could be read
        text = sa.select(tables.items.c.text_digest).where(tables.items.c.item_id == outbox.c.item_id)
        tx.execute(sa.update(outbox).values(content_key=text.scalar_subquery(), key="of text " + outbox.c.item_id))
    say(workspace, "bounty", reason="named_person")
    assert messages(workspace) == [
        ("takedown", "bounty", "pending"),
        ("takedown", "bounty", "withdrawn"),
        ("takedown", "other", "held"),
    ]


def test_a_takedown_of_content_that_an_item_has_no_more_is_not_sent(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    for name in ("a.png", "b.png"):
        upload(uploads, name, picture(person(1), person(ord(name[0]))), parent_model="m")
    night(workspace, uploads)
    with workspace.database.write() as tx:
        tx.execute(sa.update(outbox).where(outbox.c.item_id == "a.png").values(content_key="0d" * 32, key="before"))
        tx.execute(sa.update(tables.hits).values(judged_at=None))
    judge_pending(workspace)
    states = [state for action, item, state in messages(workspace) if item == "a.png"]
    assert states == ["pending", "withdrawn"]
