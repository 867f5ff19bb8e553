"""Damaged files: scanned as far as viewers show them, with a note that is counted wherever statuses are."""

from __future__ import annotations

import io
from pathlib import Path

import sqlalchemy as sa
from PIL import Image

from pipelines.database.tables import hits, items
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.report.collect import read_partial
from pipelines.report.words import looked_at_in_part
from pipelines.runs.status import read_status
from tests.embeddings.model_files import model_file
from tests.fakes import person, picture
from tests.platform_actions import enrol, night, upload


def test_a_file_without_its_end_is_a_hit_with_a_note(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "cut.png", picture(person(1))[:-12])
    upload(uploads, "whole.png", picture(person(1), person(2)))
    upload(uploads, "nothing.png", picture(person(3))[:40])
    summary = night(workspace, uploads)
    assert summary.damaged == {"damaged:no_end": 1}
    assert summary.statuses == {"hit": 2, "unscannable:truncated": 1}
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(items.c.item_id, items.c.damage)).all()
        partial = read_partial(connection, Scope(None, None))
    assert {row.item_id: row.damage for row in rows} == {"cut.png": "no_end", "whole.png": None, "nothing.png": None}
    assert read_status(workspace).damaged == {"damaged:no_end": 1}
    assert "Damaged or odd files that were scanned as far as others read them: no end 1." in looked_at_in_part(partial)


def test_the_note_goes_with_the_content_to_its_next_item(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    upload(uploads, "one.png", picture(person(1))[:-12])
    night(workspace, uploads)
    upload(uploads, "two.png", picture(person(1))[:-12])
    assert night(workspace, uploads).damaged == {"damaged:no_end": 2}


def test_a_hit_in_an_animation_carries_its_time(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    frames = [Image.open(io.BytesIO(picture(person(number)))).convert("RGB") for number in (2, 3, 1)]
    file = io.BytesIO()
    frames[0].save(file, format="WEBP", save_all=True, append_images=frames[1:], duration=500, lossless=True)
    upload(uploads, "moving.webp", file.getvalue())
    upload(uploads, "still.png", picture(person(1)))
    night(workspace, uploads)
    with workspace.database.read() as connection:
        found = connection.execute(sa.select(hits.c.item_id, hits.c.frame, hits.c.seconds).order_by(hits.c.item_id))
        assert [tuple(row) for row in found] == [("moving.webp", 2, 1.0), ("still.png", 0, None)]


def test_what_is_odd_about_a_header_is_counted_beside_it(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1))
    twice = b'{"__metadata__":{"a":"one","a":"two"}}'
    upload(uploads, "twice.safetensors", len(twice).to_bytes(8, "little") + twice)
    upload(uploads, "null.safetensors", len(b'{"__metadata__":null}').to_bytes(8, "little") + b'{"__metadata__":null}')
    upload(uploads, "plain.safetensors", model_file({"ss_output_name": "a style"}))
    night(workspace, uploads)
    odd = {"odd_header:no_metadata": 1, "odd_header:repeated_key": 1}
    assert read_status(workspace).damaged == odd
    with workspace.database.read() as connection:
        (said,) = looked_at_in_part(read_partial(connection, Scope(None, None)))
    assert "header: no metadata 1, header: repeated key 1" in said
