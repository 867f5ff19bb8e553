"""Search by what pictures show: brute force over all stored vectors is the oracle, and nothing searched for is kept."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from PIL import Image

from embeddings.errors import ConfigError, CorruptionError, UnscannableError, WeightsError
from embeddings.types import vectors_of
from indexes.corpus import ShardEntry
from indexes.join import pair_scores
from pipelines.cli import main
from pipelines.corpus.clip_manifest import clip_vectors, insert_content_shard, list_content_shards, remove_superseded
from pipelines.database import tables
from pipelines.database.tables import content_shards, contents, items
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.scan import search
from pipelines.scan.search import SearchResult, search_image, search_text
from tests.conftest import KEY
from tests.embeddings.test_clip import folder
from tests.fakes import person, picture, vectors_of_colours
from tests.pipelines.scan.listing import use_clip, use_list
from tests.pipelines.scan.test_concepts import swept
from tests.platform_actions import upload
from tests.searching import in_clear

__all__ = ["folder"]  # a fixture: a small model with seeded random weights, as open_clip publishes them


def film(*people: int) -> bytes:
    frames = [Image.new("RGB", (64, 64), person(number)) for number in people]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="WEBP", save_all=True, append_images=frames[1:], lossless=True)
    return buffer.getvalue()


@pytest.fixture
def filled(workspace: Workspace, uploads: Path) -> Workspace:
    """Twenty pictures in shards of four, one of them twice, a film, a file that is no picture, a deleted picture."""
    workspace.config = replace(workspace.config, sweep=replace(workspace.config.sweep, shard_items=4))
    use_clip(use_list(workspace))
    for number in range(20):
        upload(uploads, f"{number:02}.png", picture(person(number)), parent_model=f"model-{number % 3}")
    upload(uploads, "again.png", picture(person(7)), nsfw_level="X")
    upload(uploads, "film.webp", film(30, 31, 7))
    upload(uploads, "broken.png", b"no picture")
    upload(uploads, "gone.png", picture(person(50)))
    swept(workspace, uploads)
    upload(uploads, "gone.png", picture(person(50)), deleted=True)
    swept(workspace, uploads)
    return workspace


def by_brute_force(workspace: Workspace, query: np.ndarray, limit: int) -> list[tuple[str, float]]:
    """(item, score) of the ``limit`` best contents, from every stored vector."""
    best: dict[str, float] = {}
    with workspace.database.read() as connection:
        listed = list_content_shards(connection, workspace.sealer)
        live = connection.execute(sa.select(items.c.item_id, items.c.content_sha256).where(items.c.live)).all()
    for entry in listed:
        rows = clip_vectors(workspace, entry)
        vectors = vectors_of(rows["vector"], entry.dimension)
        scores = pair_scores(vectors, np.repeat(query[None], len(vectors), axis=0))
        for digest, score in zip(rows["content_sha256"].to_pylist(), scores.tolist(), strict=True):
            best[digest.hex()] = max(score, best.get(digest.hex(), -2.0))
    alive = {row.content_sha256 for row in live}
    nearest = sorted((digest for digest in best if digest in alive), key=lambda one: (-best[one], one))[:limit]
    return [
        (item_id, best[digest])
        for digest in nearest
        for item_id in sorted(row.item_id for row in live if row.content_sha256 == digest)
    ]


def text(workspace: Workspace, words: str = "person 7", limit: int = 5) -> SearchResult:
    return search_text(workspace, words, limit=limit, actor="analyst")


def pairs(result: SearchResult) -> list[tuple[str, float]]:
    return [(one.item_id, one.score) for one in result.found]


def test_i3_results_are_those_of_brute_force_over_all_vectors(filled: Workspace) -> None:
    for words in ("person 7", "person 31", "something that nobody drew"):
        query = filled.content_models.text_encoder.encode_texts([words])[0]
        for limit in (1, 2, 5, 21, 100):
            assert pairs(text(filled, words, limit)) == by_brute_force(filled, query, limit), (words, limit)


def test_every_live_item_of_a_content_is_named_with_what_is_known_of_it(filled: Workspace) -> None:
    result = text(filled, limit=2)
    assert {one.item_id for one in result.found} == {"07.png", "again.png", "film.webp"}
    by_id = {one.item_id: one for one in result.found}
    assert (by_id["07.png"].kind, by_id["07.png"].parent_model) == ("image", "model-1")
    assert (by_id["07.png"].rating, by_id["again.png"].rating) == ("mature", "explicit")
    assert (by_id["film.webp"].frame, by_id["07.png"].frame) == (2, 0)
    assert result.found[0].score == pytest.approx(1.0)


def test_what_is_deleted_is_not_found_although_its_vector_is_still_stored(filled: Workspace) -> None:
    result = text(filled, "person 50", limit=100)
    assert "gone.png" not in {one.item_id for one in result.found}
    assert max(one.score for one in result.found) < 0.9
    assert result.contents_searched == 21


def test_i1_contents_without_vectors_are_counted_and_not_passed_over(filled: Workspace, uploads: Path) -> None:
    assert text(filled).contents_missing == 0
    use_clip(filled, None)
    upload(uploads, "new.png", picture(person(60)))
    swept(filled, uploads)
    use_clip(filled)
    assert text(filled).contents_missing == 1


def test_a_picture_is_searched_by_the_nearest_of_its_frames(filled: Workspace) -> None:
    found = search_image(filled, picture(person(7)), limit=2, actor="analyst")
    assert pairs(found) == by_brute_force(filled, vectors_of_colours([person(7)])[0], 2)
    two = search_image(filled, film(3, 12), limit=2, actor="analyst")
    assert {one.item_id for one in two.found} == {"03.png", "12.png"}


def test_i9_bytes_that_are_no_picture_cannot_be_searched_by(filled: Workspace) -> None:
    with pytest.raises(UnscannableError, match="format"):
        search_image(filled, b"no picture", limit=2, actor="analyst")


def test_i4_vectors_of_other_weights_are_not_compared(filled: Workspace) -> None:
    use_clip(filled, "clip-2")
    result = text(filled)
    assert (result.contents_searched, result.contents_missing, result.found) == (0, 21, ())


def test_without_weights_a_search_says_what_to_do(filled: Workspace) -> None:
    use_clip(filled, None)
    for attempt in (lambda: text(filled), lambda: search_image(filled, picture(person(1)), limit=1, actor="analyst")):
        with pytest.raises(WeightsError, match="likeness models pull clip"):
            attempt()


@pytest.mark.parametrize("words", ["", "  \n"])
def test_an_empty_text_is_refused(filled: Workspace, words: str) -> None:
    with pytest.raises(ConfigError, match="empty"):
        text(filled, words)


def test_a_shard_that_is_described_anew_meanwhile_is_read_in_its_new_place(
    filled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its contents move to a shard that was not there when the search began."""
    wanted = pairs(text(filled, limit=100))
    with filled.database.read() as connection:
        victim = list_content_shards(connection, filled.sealer)[-1]
    rows = clip_vectors(filled, victim)
    read = search.clip_vectors

    def moving(workspace: Workspace, entry: ShardEntry) -> pa.Table:
        if entry == victim:
            move(workspace, rows, victim)
        return read(workspace, entry)

    monkeypatch.setattr(search, "clip_vectors", moving)
    assert pairs(text(filled, limit=100)) == wanted


def move(workspace: Workspace, rows: pa.Table, victim: ShardEntry) -> None:
    entry = workspace.content_corpus.write(
        rows,
        shard_id="f" * 32,
        model_id="clip-1",
        dimension=victim.dimension,
        key=workspace.sealer.shard_key("f" * 32),
        before_rename=lambda: None,
    )
    with workspace.database.write() as tx:
        insert_content_shard(tx, workspace.sealer, entry, now=workspace.now())
        named = contents.c.clip_shard_id == victim.shard_id
        tx.execute(sa.update(contents).where(named).values(clip_shard_id="f" * 32))
    remove_superseded(workspace)


def test_i7_a_listed_shard_that_cannot_be_read_ends_the_search(filled: Workspace) -> None:
    with filled.database.read() as connection:
        name = connection.execute(sa.select(content_shards.c.path)).scalars().first()
    (filled.content_corpus.folder / str(name)).unlink()
    with pytest.raises(CorruptionError):
        text(filled)


def everything_kept(workspace: Workspace) -> Iterator[bytes]:
    """All rows of the database, and all bytes under the home folder."""
    with workspace.database.read() as connection:
        for table in tables.metadata.sorted_tables:
            for row in connection.execute(sa.select(table)):
                yield repr(tuple(row)).encode()
    for path in workspace.home.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def test_i8_a_search_is_an_audit_row_and_what_was_searched_for_is_kept_nowhere(
    filled: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    words = "Zdenicka Vymyslena standing on a beach"
    query = filled.content_models.text_encoder.encode_texts([words])[0]
    text(filled, words)
    search_image(filled, picture(person(199)), limit=1, actor="analyst")
    needles = (b"Zdenicka", b"Vymyslena", query.tobytes()[:16], vectors_of_colours([person(199)])[0].tobytes()[:16])
    kept = list(everything_kept(filled))
    assert not any(in_clear(needle, part) for needle in needles for part in kept)
    assert "Zdenicka" not in caplog.text
    with filled.database.read() as connection:
        audit.verify(connection, filled.sealer)
        query_rows = sa.select(tables.audit).where(tables.audit.c.action == "content.search").order_by("seq")
        rows = connection.execute(query_rows).all()
    assert [json.loads(row.facts)["query"] for row in rows] == ["text", "image"]
    assert {row.actor for row in rows} == {"analyst"}


def test_the_command_searches_with_real_towers(
    workspace: Workspace, uploads: Path, folder: Path, tmp_path: Path
) -> None:
    upload(uploads, "a.png", picture(person(1)))
    upload(uploads, "b.png", picture(person(190)))
    (workspace.home / "likeness.toml").write_text(
        f"[content]\nrating = false\nclip_checkpoint = {json.dumps(str(folder))}\n"
        "[sweep]\nallow_empty_registry = true\n",
        encoding="utf-8",
    )
    (tmp_path / "query.png").write_bytes(picture(person(190)))
    url = workspace.database.url.render_as_string(hide_password=False)

    def run(*arguments: str, given: str | None = None) -> Result:
        environment = {"LIKENESS_KEY": KEY, "LIKENESS_HOME": str(workspace.home), "LIKENESS_DATABASE_URL": url}
        return CliRunner().invoke(main, list(arguments), env=environment, input=given)

    assert run("sweep", "--source", f"directory:{uploads}", "--json").exit_code == 0
    found = json.loads(run("search", "--image", str(tmp_path / "query.png"), "--json").stdout)
    assert [row["item_id"] for row in found["found"]] == ["b.png", "a.png"]
    assert found["found"][0]["score"] == pytest.approx(1.0, abs=1e-3)
    first, second = (run("search", *words, "--json", given="a rocket\n") for words in (["a rocket\n"], ["-"]))
    assert (first.exit_code, first.stdout) == (0, second.stdout)
    assert run("search").exit_code == run("search", "x", "--image", str(tmp_path / "query.png")).exit_code == 2
    assert run("search", "--image", str(tmp_path / "none.png")).exit_code == 1
    (workspace.home / "likeness.toml").write_text('[content]\nclip = "off"\n', encoding="utf-8")
    missing = run("search", "a rocket")
    assert missing.exit_code == 1
    assert "needs the CLIP weights" in missing.stderr
    assert "rocket" not in missing.stderr
