"""The content stage: every scannable content rated once, CLIP gaps recorded and filled later."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from embeddings.errors import CorruptionError, WeightsError
from embeddings.types import vectors_of
from pipelines.corpus.clip_manifest import clip_vectors, list_content_shards
from pipelines.database.tables import content_shards, contents, items
from pipelines.home.content_models import ContentModels
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.runs.status import read_status
from pipelines.runs.sweep import SweepSummary, list_source, sweep
from pipelines.runs.verify import verify
from pipelines.scan.content_coverage import measure_content
from pipelines.scan.describe import describe_pending, describer_for
from pipelines.scan.faces import scan_pending
from pipelines.sources.directory import DirectorySource
from pipelines.sources.item import Item
from tests.conftest import Clock
from tests.fakes import DIMENSION, WHITE, FakeContentModels, person, picture, vectors_of_colours
from tests.searching import in_clear

EVERYTHING = Scope(None, None)
CLIP = FakeContentModels("clip-1")
NOTHING = FakeContentModels()
NOTHING.rating_model_id = None


def use(workspace: Workspace, models: object) -> Workspace:
    workspace.content_models = models  # type: ignore[assignment, misc]
    return workspace


def scanned(workspace: Workspace, uploads: Path, *, then: object) -> Workspace:
    """Scanned while there was no content model; ``then`` they are there."""
    list_source(workspace, f"directory:{uploads}", day=None)
    scan_pending(use(workspace, NOTHING), EVERYTHING)
    return use(workspace, then)


def swept(workspace: Workspace, uploads: Path) -> SweepSummary:
    workspace.config = replace(workspace.config, sweep=replace(workspace.config.sweep, allow_empty_registry=True))
    return sweep(workspace, f"directory:{uploads}", day=None)


def rows(workspace: Workspace) -> dict[str, sa.Row[tuple[object, ...]]]:
    with workspace.database.read() as connection:
        return {row.content_sha256: row for row in connection.execute(sa.select(contents))}


def stored(workspace: Workspace) -> dict[str, bytes]:
    """Content digest -> its vector, over all listed shards."""
    with workspace.database.read() as connection:
        listed = list_content_shards(connection, workspace.sealer)
    tables = [clip_vectors(workspace, entry) for entry in listed]
    return {
        digest.hex(): vector
        for table in tables
        for digest, vector in zip(table["content_sha256"].to_pylist(), table["vector"].to_pylist(), strict=True)
    }


def upload(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def test_every_scannable_content_is_rated_and_encoded_once(workspace: Workspace, uploads: Path) -> None:
    first = upload(uploads, "a.png", picture(person(1)))
    upload(uploads, "again.png", picture(person(1)))
    white = upload(uploads, "b.png", picture(WHITE))
    upload(uploads, "c.png", b"not a picture")
    summary = swept(use(workspace, CLIP), uploads)
    assert (summary.rated, summary.clip_embedded, summary.clip_missing) == (2, 2, 0)
    known = rows(workspace)
    assert set(known) == {first, white}
    assert known[white].nsfw_score == pytest.approx(1.0)
    assert known[white].rating_model_id == "mean-1"
    assert stored(workspace)[first] == vectors_of_colours([person(1)])[0].tobytes()
    again = describe_pending(workspace, EVERYTHING)
    assert (again.contents, again.rated, again.clip_embedded) == (0, 0, 0)


def test_new_content_is_described_from_the_bytes_that_the_scan_has(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        upload(uploads, f"{number}.png", picture(person(number)))
    fetched: list[str] = []
    fetch = DirectorySource.fetch

    def counted(self: DirectorySource, item: Item, *, max_bytes: int) -> bytes:
        fetched.append(item.item_id)
        return fetch(self, item, max_bytes=max_bytes)

    monkeypatch.setattr(DirectorySource, "fetch", counted)
    summary = swept(use(workspace, CLIP), uploads)
    assert (summary.rated, summary.clip_embedded) == (3, 3)
    assert len(fetched) == len(set(fetched)) == 3


def test_what_a_scan_describes_is_what_the_stage_describes(workspace: Workspace, uploads: Path) -> None:
    for number in range(3):
        upload(uploads, f"{number}.png", picture(person(number)))
    swept(use(workspace, CLIP), uploads)
    scores, vectors = {digest: row.nsfw_score for digest, row in rows(workspace).items()}, stored(workspace)
    with workspace.database.write() as tx:
        tx.execute(sa.delete(contents))
    assert describe_pending(workspace, EVERYTHING).rated == 3
    assert {digest: row.nsfw_score for digest, row in rows(workspace).items()} == scores
    assert stored(workspace) == vectors


def test_i6_what_a_scan_could_not_enter_is_described_later(
    workspace: Workspace, open_again: Callable[[], Workspace], uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(uploads, "a.png", picture(person(1)))
    list_source(use(workspace, CLIP), f"directory:{uploads}", day=None)

    def stop(name: str) -> None:
        if name == "after_manifest_commit":
            raise KeyboardInterrupt

    monkeypatch.setattr(workspace.failpoints, "pass_by", stop)
    with pytest.raises(KeyboardInterrupt):
        scan_pending(workspace, EVERYTHING)
    other = use(open_again(), CLIP)
    assert rows(other) == {}
    counts = describe_pending(other, EVERYTHING)
    assert (counts.rated, counts.clip_embedded) == (1, 1)


def test_i1_missing_clip_vectors_are_counted_and_filled_by_a_later_run(workspace: Workspace, uploads: Path) -> None:
    for number in range(10):
        upload(uploads, f"{number}.png", picture(person(number)))
    summary = swept(use(workspace, FakeContentModels(clip_wanted=True)), uploads)
    assert (summary.rated, summary.clip_embedded, summary.clip_missing) == (10, 0, 10)
    assert read_status(workspace).content.clip_missing == 10
    rated = {digest: row.nsfw_score for digest, row in rows(workspace).items()}
    later = swept(use(workspace, CLIP), uploads)
    assert (later.rated, later.clip_embedded, later.clip_missing) == (10, 10, 0)
    assert {digest: row.nsfw_score for digest, row in rows(workspace).items()} == rated
    assert set(stored(workspace)) == set(rated)


def test_with_clip_off_nothing_is_missing(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.png", picture(person(1)))
    assert swept(workspace, uploads).clip_missing == 0
    assert not stored(workspace)


def test_i4_another_clip_model_replaces_the_vectors_and_the_old_shard_goes(workspace: Workspace, uploads: Path) -> None:
    digest = upload(uploads, "a.png", picture(person(1)))
    for model_id in ("clip-1", "clip-2", "clip-1", "clip-1"):
        swept(use(workspace, FakeContentModels(model_id)), uploads)
        assert rows(workspace)[digest].clip_model_id == model_id
    describe_pending(workspace, EVERYTHING)
    with workspace.database.read() as connection:
        (entry,) = list_content_shards(connection, workspace.sealer)
    assert workspace.content_corpus.unlisted({entry.path}) == []
    assert all(finding.ok for finding in verify(workspace) if finding.check == "content shards")


@pytest.mark.parametrize(
    "point", ["before_shard_rename", "after_shard_rename", "before_content_commit", "after_content_commit"]
)
def test_i6_a_batch_that_is_cut_off_is_done_again(
    workspace: Workspace,
    open_again: Callable[[], Workspace],
    uploads: Path,
    point: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(6):
        upload(uploads, f"{number}.png", picture(person(number)))
    scanned(workspace, uploads, then=CLIP)

    def stop(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    monkeypatch.setattr(workspace.failpoints, "pass_by", stop)
    with pytest.raises(KeyboardInterrupt):
        describe_pending(workspace, EVERYTHING)
    other = use(open_again(), CLIP)
    describe_pending(other, EVERYTHING)
    with other.database.read() as connection:
        (entry,) = list_content_shards(connection, other.sealer)
        assert measure_content(connection, other, EVERYTHING).clip_missing == 0
    assert other.content_corpus.unlisted({entry.path}) == []
    assert len(stored(other)) == 6


def test_content_that_changed_or_went_after_the_scan_costs_itself_alone(workspace: Workspace, uploads: Path) -> None:
    kept = upload(uploads, "kept.png", picture(person(1)))
    changed = upload(uploads, "changed.png", picture(person(2)))
    gone = upload(uploads, "gone.png", picture(person(3)))
    scanned(workspace, uploads, then=CLIP)
    (uploads / "changed.png").write_bytes(picture(person(4)))
    (uploads / "gone.png").unlink()
    counts = describe_pending(workspace, EVERYTHING)
    assert (counts.contents, counts.rated, counts.content_failed) == (3, 1, 2)
    known = rows(workspace)
    assert known[kept].status == "described"
    assert known[changed].status.startswith("fetch_failed:")
    assert known[gone].status.startswith("fetch_failed:")
    assert known[gone].nsfw_score is None


def test_failed_fetches_are_tried_over_the_whole_span_and_then_no_more(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    upload(uploads, "gone.png", picture(person(3)))
    scanned(workspace, uploads, then=FakeContentModels())
    (uploads / "gone.png").unlink()
    tries, start = [], clock()
    for hour in (0, 0.9, 1, 5.9, 6, 23, 24, 25, 71, 72, 200):
        clock.time = start + timedelta(hours=hour)
        tries += [hour] * sum(describe_pending(workspace, EVERYTHING).contents for _ in range(2))
    assert tries == [0, *workspace.config.sweep.retry_hours]


def test_i7_a_lost_or_altered_manifest_row_is_a_loud_error(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.png", picture(person(1)))
    swept(use(workspace, CLIP), uploads)
    with workspace.database.write() as tx:
        tx.execute(sa.update(content_shards).values(bytes=content_shards.c.bytes + 1))
    with workspace.database.read() as connection, pytest.raises(CorruptionError, match="not what was written"):
        list_content_shards(connection, workspace.sealer)
    with workspace.database.write() as tx:
        tx.execute(sa.delete(content_shards))
    with workspace.database.read() as connection, pytest.raises(CorruptionError, match="does not list"):
        list_content_shards(connection, workspace.sealer)


def test_i8_neither_vectors_nor_digests_can_be_read_off_a_shard(workspace: Workspace, uploads: Path) -> None:
    digest = upload(uploads, "a.png", picture(person(1)))
    swept(use(workspace, CLIP), uploads)
    (file,) = (path for path in workspace.content_corpus.folder.iterdir())
    data = file.read_bytes()
    assert not in_clear(bytes.fromhex(digest), data)
    assert not in_clear(vectors_of_colours([person(1)]).tobytes(), data)
    with workspace.database.read() as connection:
        (entry,) = list_content_shards(connection, workspace.sealer)
    vectors_of(clip_vectors(workspace, entry)["vector"], DIMENSION)


def test_without_weights_auto_says_so_once_and_required_fails(
    workspace: Workspace, uploads: Path, caplog: pytest.LogCaptureFixture
) -> None:
    upload(uploads, "a.png", picture(person(1)))
    models = ContentModels(workspace.config.content, home=workspace.home)
    summary = swept(use(workspace, models), uploads)
    swept(workspace, uploads)
    assert summary.clip_missing == 1
    assert sum("no weights for CLIP" in record.message for record in caplog.records) == 1
    required = replace(workspace.config.content, clip="required")
    with pytest.raises(WeightsError, match="clip_checkpoint"):
        swept(use(workspace, ContentModels(required, home=workspace.home)), uploads)
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(items)).scalar_one() == 1


def test_without_weights_torch_is_never_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipelines.settings.config import ContentConfig; "
        "from pipelines.home.content_models import ContentModels; import pipelines.cli; "
        f"models = ContentModels(ContentConfig(), home=Path({str(tmp_path)!r})); models.require_clip(); "
        "assert models.clip_model_id is None; assert not {'torch', 'open_clip'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no weights for CLIP" in done.stderr


def test_contents_that_were_described_need_no_model_when_they_are_scanned_again(
    workspace: Workspace, uploads: Path
) -> None:
    digest = bytes.fromhex(upload(uploads, "a.png", picture(person(1))))
    swept(use(workspace, CLIP), uploads)
    assert describer_for(workspace, [digest]) is None
    describer = describer_for(workspace, [digest, bytes(32)])
    assert describer is not None
    assert describer.known == {digest}
