"""A picture whose own texts could not be read this time is tried again, counted meanwhile, and loses nothing by it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import UnscannableError
from embeddings.faults import DECODER_TIMEOUT
from embeddings.infotext.fields import InfotextLimits
from embeddings.infotext.read import Infotext, read_infotext
from pipelines.database.tables import picture_texts
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.report.collect import read_partial
from pipelines.report.words import looked_at_in_part
from pipelines.runs.backfill import backfill
from pipelines.runs.status import read_status
from tests.embeddings.infotext_files import png_of
from tests.pipelines.matching.test_examine import found, join
from tests.platform_actions import night, upload

NAMED = {"parameters": "photo of Jane Doe\nSteps: 2"}


class SlowReader:
    """Reads in time or does not."""

    def __init__(self, *, slow: bool) -> None:
        self.slow = slow

    def __call__(self, data: bytes, *, limits: InfotextLimits) -> Infotext:
        if self.slow:
            raise UnscannableError(DECODER_TIMEOUT)
        return read_infotext(data, limits=limits)


@pytest.fixture
def reader(workspace: Workspace) -> SlowReader:
    reader = SlowReader(slow=True)
    workspace.infotext_reader = reader  # type: ignore[misc]
    return reader


def test_i1_a_passing_fault_of_the_reader_leaves_a_picture_unread_until_it_passes(
    workspace: Workspace, uploads: Path, reader: SlowReader
) -> None:
    jane = join(workspace, "Jane Doe")
    upload(uploads, "a.png", png_of(NAMED))
    night(workspace, uploads)
    status = read_status(workspace)
    assert (status.pictures_unread, status.damaged) == (1, {f"texts:{DECODER_TIMEOUT}": 1})
    assert backfill(workspace, actor="tester").pictures_read == 0
    with workspace.database.read() as connection:
        (said,) = looked_at_in_part(read_partial(connection, Scope(None, None)))
    assert "texts: decoder timeout 1" in said
    reader.slow = False
    assert backfill(workspace, actor="tester").pictures_read == 1
    status = read_status(workspace)
    assert (status.pictures_unread, status.damaged) == (0, {})
    assert found(workspace) == {("a.png", jane, "infotext:prompt", "full_name")}


def test_a_passing_fault_replaces_no_reading(workspace: Workspace, uploads: Path, reader: SlowReader) -> None:
    join(workspace, "Jane Doe")
    upload(uploads, "a.png", png_of(NAMED))
    reader.slow = False
    night(workspace, uploads)
    before = found(workspace)
    with workspace.database.write() as tx:  # as an earlier reader left it
        tx.execute(sa.update(picture_texts).values(reader=0))
    reader.slow = True
    upload(uploads, "b.png", png_of(NAMED))
    night(workspace, uploads)
    with workspace.database.read() as connection:
        row = connection.execute(sa.select(picture_texts)).one()
    assert (row.reader, row.status) == (0, "read")
    assert row.sealed_texts is not None
    assert before <= found(workspace)
    assert read_status(workspace).pictures_unread == 2
