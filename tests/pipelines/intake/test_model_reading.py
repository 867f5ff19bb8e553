"""What is known of a model file whatever its header does to whoever reads it, and how often it is read."""

from __future__ import annotations

import hashlib
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import UnscannableError
from embeddings.faults import DECODER_TIMEOUT
from embeddings.headers.reading import ReadHeader, ReadingLimits
from pipelines.database.tables import model_files
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope, count_outdated
from pipelines.intake.model_reading import READER, FoundContent, KnownFile, read_again, read_model
from pipelines.runs.backfill import backfill
from pipelines.runs.sweep import sweep
from pipelines.settings.config import ModelFilesConfig
from pipelines.sources.reading import BytesReading
from tests.embeddings.model_files import model_file
from tests.fakes import person
from tests.platform_actions import enrol, source_of, upload

CONFIG = ModelFilesConfig()
GGUF = struct.pack("<4sIQQ", b"GGUF", 3, 0, 0)
PICKLED = pickle.dumps({"name": "a style"}, protocol=2)


def slow_reader(data: bytes, *, file_bytes: int | None, limits: ReadingLimits) -> ReadHeader:
    raise UnscannableError(DECODER_TIMEOUT)


def read_slowly(data: bytes) -> FoundContent:
    return read_model(BytesReading(data), config=CONFIG, max_image_bytes=1 << 20, header_reader=slow_reader)


@pytest.mark.parametrize("data", [GGUF, PICKLED], ids=["GGUF", "pickle"])
def test_a_file_over_which_the_reader_fails_has_its_digest_and_the_reason(data: bytes) -> None:
    file = read_slowly(data).model_file
    assert file is not None
    status = f"unscannable:{DECODER_TIMEOUT}"
    assert (file.identity, file.status, file.item_status) == (hashlib.sha256(data).digest(), status, status)
    assert (file.texts, file.header_sha256) == ((), None)


def stored(workspace: Workspace) -> sa.Row:
    with workspace.database.read() as connection:
        return connection.execute(sa.select(model_files)).one()


def outdated(workspace: Workspace) -> int:
    with workspace.database.read() as connection:
        return count_outdated(connection, Scope(None, None), model_id=workspace.model_id)


@pytest.fixture
def read_before(workspace: Workspace, uploads: Path) -> sa.Row:
    """A pickle that an earlier version of the reader read."""
    enrol(workspace, person(1))
    upload(uploads, "a.pt", PICKLED, kind="model")
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.write() as tx:
        tx.execute(sa.update(model_files).values(reader=1))
    return stored(workspace)


def test_a_file_that_may_not_be_read_again_is_asked_for_once(workspace: Workspace, read_before: sa.Row) -> None:
    workspace.config = replace(workspace.config, model_files=replace(workspace.config.model_files, payload="off"))
    assert outdated(workspace) == 1
    backfill(workspace, actor="tester")
    assert outdated(workspace) == 0
    assert stored(workspace)._mapping == {**read_before._mapping, "reader": READER}
    assert backfill(workspace, actor="tester").items == 0


def test_a_passing_fault_replaces_no_reading_and_settles_none(workspace: Workspace, read_before: sa.Row) -> None:
    workspace.header_reader = slow_reader  # type: ignore[misc]
    backfill(workspace, actor="tester")
    assert stored(workspace) == read_before
    assert outdated(workspace) == 1


def test_a_file_that_is_out_of_reach_is_asked_for_again(
    workspace: Workspace, uploads: Path, read_before: sa.Row
) -> None:
    (uploads / "a.pt").unlink()
    backfill(workspace, actor="tester")
    assert stored(workspace) == read_before
    assert outdated(workspace) == 1


def test_a_gguf_file_is_known_again_by_its_beginning() -> None:
    before = read_model(BytesReading(GGUF), config=CONFIG, max_image_bytes=1 << 20).model_file
    assert before is not None
    assert before.header_sha256 is not None
    known = KnownFile(before.identity, before.header_sha256)
    found = read_again(BytesReading(GGUF), known, config=CONFIG)
    assert found is not None
    assert found.model_file == replace(before, again=True)
    assert read_again(BytesReading(GGUF + b"x"), known, config=CONFIG) is None
    assert read_again(BytesReading(model_file()), known, config=CONFIG) is None


def test_a_gguf_file_is_opened_once_to_be_read_again(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(workspace, person(1))
    upload(uploads, "a.gguf", GGUF, kind="model")
    sweep(workspace, source_of(uploads), day=None)
    before = stored(workspace)
    with workspace.database.write() as tx:
        tx.execute(sa.update(model_files).values(reader=1))
    monkeypatch.setattr("pipelines.intake.fetch.read_model", None)  # nothing is read to its end a second time
    backfill(workspace, actor="tester")
    after = stored(workspace)
    assert (after.reader, after.status, after.content_sha256) == (READER, "read", before.content_sha256)
    assert outdated(workspace) == 0
