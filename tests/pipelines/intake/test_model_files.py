"""Model files, end to end: what their headers say is kept, their thumbnails are looked at, their tensors are hashed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from PIL import Image
from skimage import data

from embeddings.errors import CorruptionError
from embeddings.models.load import load_models
from pipelines.database import tables
from pipelines.database.tables import model_files
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.intake.model_files import HeaderText, header_texts
from pipelines.intake.model_reading import READER, read_model
from pipelines.runs.backfill import backfill
from pipelines.runs.compaction import compact
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import list_source, sweep
from pipelines.scan.content_coverage import measure_content
from pipelines.scan.faces import scan_pending
from pipelines.settings.config import Config, FetchConfig, ModelFilesConfig
from pipelines.sources.reading import BytesReading
from tests.embeddings.infotext_files import png_of
from tests.embeddings.model_files import assemble, data_url, model_file
from tests.fakes import WHITE, fake_canary, fake_models, person, picture
from tests.pipelines.intake.model_server import ModelServer
from tests.platform_actions import agree, ask_for_removal, enrol, source_of, upload
from tests.searching import in_clear

NAME = "Zdenicka Vymyslena"


def rows(workspace: Workspace) -> dict[str, sa.Row]:
    with workspace.database.read() as connection:
        return {row.item_id: row for row in connection.execute(sa.select(tables.items))}


def files(workspace: Workspace) -> dict[str, sa.Row]:
    with workspace.database.read() as connection:
        return {row.content_sha256: row for row in connection.execute(sa.select(model_files))}


def texts(workspace: Workspace, item_id: str) -> tuple[HeaderText, ...]:
    content = rows(workspace)[item_id].content_sha256
    with workspace.database.read() as connection:
        return header_texts(connection, workspace.sealer, {content, "f" * 64}).get(content, ())


def scan(workspace: Workspace, uploads: Path) -> dict[str, str]:
    enrol(workspace, person(1))
    sweep(workspace, source_of(uploads), day=None)
    return {item_id: row.status for item_id, row in rows(workspace).items()}


def configure(workspace: Workspace, **settings: object) -> None:
    workspace.config = replace(workspace.config, model_files=replace(workspace.config.model_files, **settings))


def sha256(part: bytes) -> str:
    return hashlib.sha256(part).hexdigest()


def with_thumbnail(image: bytes, **metadata: str) -> bytes:
    return model_file({"modelspec.thumbnail": data_url(image), **metadata})


def test_a_header_is_read_and_its_file_and_tensors_hashed(workspace: Workspace, uploads: Path) -> None:
    content = model_file({"ss_output_name": NAME}, payload=b"tensors!")
    upload(uploads, "a.safetensors", content)
    assert scan(workspace, uploads) == {"a.safetensors": "no_face"}
    item, (file,) = rows(workspace)["a.safetensors"], files(workspace).values()
    assert (item.content_sha256, item.faces, item.shard_id) == (sha256(content), 0, None)
    assert (file.content_sha256, file.status, file.format) == (sha256(content), "read", "safetensors")
    assert (file.payload_sha256, file.tensors) == (sha256(b"tensors!"), 1)
    assert file.header_bytes == len(content) - 8 - len(b"tensors!")
    assert texts(workspace, "a.safetensors") == (HeaderText("header:ss_output_name", NAME),)


def test_a_face_in_the_thumbnail_is_a_hit_on_the_model_file(workspace: Workspace, uploads: Path) -> None:
    content = with_thumbnail(picture(person(1)))
    upload(uploads, "a.safetensors", content)
    upload(uploads, "b.safetensors", with_thumbnail(picture(person(2))))
    upload(uploads, "c.safetensors", with_thumbnail(picture(WHITE)))
    assert scan(workspace, uploads) == {"a.safetensors": "hit", "b.safetensors": "clean", "c.safetensors": "no_face"}
    with workspace.database.read() as connection:
        (hit,) = connection.execute(sa.select(tables.hits)).all()
        described = connection.execute(sa.select(tables.contents.c.content_sha256)).scalars().all()
    assert (hit.item_id, hit.content_key, hit.tier) == ("a.safetensors", sha256(content), "face")
    assert sha256(content) in described
    item = rows(workspace)["a.safetensors"]
    assert (item.format, item.width) == ("png", 64)


def test_a_name_in_the_header_is_a_hit_on_the_model_file(workspace: Workspace, uploads: Path) -> None:
    subject = enrol(workspace, person(1), name=NAME)
    folders = json.dumps({f"10_{NAME.lower()}": {"img_count": 3}})
    upload(uploads, "a.safetensors", model_file({"ss_dataset_dirs": folders}))
    upload(uploads, "b.safetensors", model_file({"ss_output_name": "scenery"}))
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        (hit,) = connection.execute(sa.select(tables.hits)).all()
    assert (hit.item_id, hit.subject_id, hit.tier, hit.place) == (
        "a.safetensors",
        subject,
        "header",
        "header:ss_dataset_dirs",
    )
    assert {item_id: row.status for item_id, row in rows(workspace).items()} == {
        "a.safetensors": "hit",
        "b.safetensors": "no_face",
    }


def test_a_photograph_in_a_header_is_found_by_the_real_models(workspace: Workspace, uploads: Path) -> None:
    config = workspace.config
    workspace.models = load_models(  # type: ignore[misc]
        config.embedding.pack, cache_dir=workspace.home / "models", settings=config.embedding.faces()
    )
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()[:256, 100:356]).save(buffer, format="JPEG")
    upload(uploads, "a.safetensors", with_thumbnail(buffer.getvalue()))
    list_source(workspace, source_of(uploads), day=None)
    counts = scan_pending(workspace, Scope(None, None))
    item = rows(workspace)["a.safetensors"]
    assert (counts.faces, item.faces, item.pdq is not None) == (1, 1, True)


def test_i1_a_thumbnail_that_cannot_be_read_is_said_and_the_header_still_counts(
    workspace: Workspace, uploads: Path
) -> None:
    bad = model_file({"modelspec.thumbnail": "data:image/png;base64,!!", "modelspec.title": NAME})
    upload(uploads, "a.safetensors", bad)
    upload(uploads, "b.safetensors", with_thumbnail(picture(person(1))[:60], ss_output_name=NAME))
    assert scan(workspace, uploads) == {
        "a.safetensors": "unscannable:thumbnail",
        "b.safetensors": "unscannable:truncated",
    }
    assert [one.text for name in ("a", "b") for one in texts(workspace, f"{name}.safetensors")] == [NAME, NAME]


def test_i9_other_formats_are_hashed_and_nothing_in_them_is_unpickled(workspace: Workspace, uploads: Path) -> None:
    contents = {
        "pickle.ckpt": (b"\x80\x02cos\nsystem\n(S'false'\ntR.", "pickle"),
        "zip.pt": (b"PK\x03\x04" + bytes(40), "zip"),
        "earlier.gguf": (b"GGUF" + bytes(40), "gguf"),
        "what.bin": (b"nobody knows what this is", None),
    }
    for name, (content, _) in contents.items():
        upload(uploads, name, content)
    assert set(scan(workspace, uploads).values()) == {"unscannable:format"}
    for name, (content, kind) in contents.items():
        assert rows(workspace)[name].content_sha256 == sha256(content)
        file = files(workspace)[sha256(content)]
        assert (file.status, file.format) == ("unscannable:format", kind)
    assert texts(workspace, "pickle.ckpt") == (HeaderText("header:pickled", "false"),)
    assert texts(workspace, "zip.pt") == texts(workspace, "what.bin") == ()


def test_the_header_of_a_gguf_file_is_read(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1), name=NAME)
    name = NAME.encode()
    entry = struct.pack("<Q", 12) + b"general.name" + struct.pack("<IQ", 8, len(name)) + name
    upload(uploads, "a.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry)
    sweep(workspace, source_of(uploads), day=None)
    (file,) = files(workspace).values()
    assert (file.status, file.format, file.reader, rows(workspace)["a.gguf"].status) == ("read", "gguf", READER, "hit")
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(tables.hits.c.place)).scalars().all() == ["header:general.name"]


def test_cover_images_are_pictures_of_the_model_file(workspace: Workspace, uploads: Path) -> None:
    images = [picture(person(2)), picture(person(1))]
    covers = {"ssmd_cover_images": json.dumps([base64.b64encode(image).decode() for image in images])}
    upload(uploads, "a.safetensors", model_file(covers))
    assert scan(workspace, uploads) == {"a.safetensors": "hit"}
    with workspace.database.read() as connection:
        (hit,) = connection.execute(sa.select(tables.hits)).all()
    assert (hit.tier, hit.frame) == ("face", 1)
    item = rows(workspace)["a.safetensors"]
    assert (item.frames, item.frames_total, item.faces) == (2, 2, 2)


def test_a_header_that_an_earlier_version_read_is_read_again_by_a_backfill(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1), name=NAME)
    covers = {"ssmd_cover_images": json.dumps([base64.b64encode(picture(person(1))).decode()]), "anything": NAME}
    content = model_file(covers, payload=b"tensors!")
    upload(uploads, "a.safetensors", content)
    sweep(workspace, source_of(uploads), day=None)
    before = {**{row.place: row.tier for row in all_hits(workspace)}}
    with workspace.database.write() as tx:  # as the first version left it
        empty = {"header_sha256": known_header(content), "texts": []}
        sealed = workspace.sealer.seal_header(empty, sha256(content))
        tx.execute(sa.update(model_files).values(reader=None, sealed_header=sealed))
        tx.execute(sa.delete(tables.hits))
        own = {"status": "no_face", "shard_id": None, "faces": 0}
        tx.execute(sa.update(tables.items).values(**own))
        tx.execute(sa.delete(tables.coverage))
        tx.execute(sa.update(tables.examined).values(examined_at=workspace.now() - timedelta(days=1)))
    assert backfill(workspace, actor="test").outcome == "complete"
    (file,) = files(workspace).values()
    assert (file.reader, file.payload_sha256) == (READER, sha256(b"tensors!"))
    assert {**{row.place: row.tier for row in all_hits(workspace)}} == before
    assert rows(workspace)["a.safetensors"].status == "hit"
    assert backfill(workspace, actor="test").items == 0


def all_hits(workspace: Workspace) -> Sequence[sa.Row]:
    with workspace.database.read() as connection:
        return connection.execute(sa.select(tables.hits)).all()


def known_header(content: bytes) -> str:
    """The digest by which a header is known again."""
    reading = BytesReading(content)
    config = ModelFilesConfig()
    found = read_model(reading, config=config, max_image_bytes=1 << 20).model_file
    assert found is not None
    assert found.header_sha256 is not None
    return found.header_sha256.hex()


def test_each_broken_header_costs_its_own_file(workspace: Workspace, uploads: Path) -> None:
    sound = with_thumbnail(picture(person(1)))
    upload(uploads, "cut-header.safetensors", sound[:50])
    upload(uploads, "cut-tensors.safetensors", sound[:-1])
    upload(uploads, "longer.safetensors", sound + b"x")
    upload(uploads, "empty.safetensors", b"")
    upload(uploads, "nested.safetensors", assemble('{"a":' + "[" * 9000))
    upload(uploads, "sound.safetensors", sound)
    assert scan(workspace, uploads) == {
        "cut-header.safetensors": "unscannable:truncated",
        "cut-tensors.safetensors": "unscannable:truncated",
        "longer.safetensors": "unscannable:corrupt",
        "empty.safetensors": "unscannable:empty",
        "nested.safetensors": "unscannable:too_complex",
        "sound.safetensors": "hit",
    }


def test_an_edited_header_leaves_the_payload_what_it_was(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.safetensors", model_file({"ss_output_name": NAME}, payload=b"the same tensors"))
    upload(uploads, "b.safetensors", model_file(None, payload=b"the same tensors"))
    scan(workspace, uploads)
    assert len(files(workspace)) == 2
    assert {file.payload_sha256 for file in files(workspace).values()} == {sha256(b"the same tensors")}


def test_a_picture_listed_as_a_model_is_scanned_like_any_picture(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.safetensors", picture(person(1)))
    upload(uploads, "b.png", picture(person(1)))
    assert scan(workspace, uploads) == {"a.safetensors": "hit", "b.png": "hit"}
    assert len({row.content_sha256 for row in rows(workspace).values()}) == 1
    assert files(workspace) == {}


@pytest.mark.parametrize("kinds", [("image", "model"), ("model", "image")])
def test_i3_a_model_file_hides_nothing_by_being_listed_as_an_image_too(
    workspace: Workspace, uploads: Path, kinds: tuple[str, str]
) -> None:
    content = with_thumbnail(picture(person(1)))
    upload(uploads, "a.safetensors", content, kind=kinds[0])
    assert scan(workspace, uploads) == {"a.safetensors": "hit"}
    upload(uploads, "b.safetensors", content, kind=kinds[1])
    sweep(workspace, source_of(uploads), day=None)
    assert {row.status for row in rows(workspace).values()} == {"hit"}


def test_without_payloads_a_file_is_known_by_its_header_and_size(workspace: Workspace, uploads: Path) -> None:
    configure(workspace, payload="off")
    image = with_thumbnail(picture(person(1)))
    upload(uploads, "a.safetensors", image)
    upload(uploads, "b.safetensors", image[:-1] + b"!")  # other tensors below the same header
    upload(uploads, "c.ckpt", b"\x80\x02" + bytes(100))
    assert scan(workspace, uploads) == {"a.safetensors": "hit", "b.safetensors": "hit", "c.ckpt": "unscannable:format"}
    (file,) = files(workspace).values()
    assert file.payload_sha256 is None
    assert file.content_sha256 not in (sha256(image), None)
    assert rows(workspace)["c.ckpt"].content_sha256 is None


def test_large_files_are_read_whole_and_held_never(workspace: Workspace, uploads: Path) -> None:
    size = 64 << 20
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}})
    content = assemble(header)
    upload(uploads, "a.safetensors", content)
    os.truncate(uploads / "a.safetensors", len(content) + size)  # zeros, without writing them
    workspace.config = replace(workspace.config, images=replace(workspace.config.images, max_bytes=1 << 20))
    tracemalloc.start()
    assert scan(workspace, uploads) == {"a.safetensors": "no_face"}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (file,) = files(workspace).values()
    assert file.payload_sha256 == sha256(bytes(size))
    assert peak < size // 3


def test_a_payload_beyond_the_limit_is_not_read(workspace: Workspace, uploads: Path) -> None:
    configure(workspace, max_payload_bytes=3)
    upload(uploads, "a.safetensors", model_file({"modelspec.title": NAME}))
    upload(uploads, "b.bin", b"more than three bytes")
    assert scan(workspace, uploads) == {"a.safetensors": "no_face", "b.bin": "unscannable:format"}
    assert [file.payload_sha256 for file in files(workspace).values()] == [None]
    assert len(texts(workspace, "a.safetensors")) == 1


def test_i4_a_backfill_knows_a_model_file_by_its_header(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(uploads, "a.safetensors", with_thumbnail(picture(person(1)), ss_output_name=NAME))
    upload(uploads, "b.safetensors", model_file({"ss_output_name": NAME}))
    scan(workspace, uploads)
    before = files(workspace)
    workspace.models = fake_models("fake-2")  # type: ignore[misc]
    workspace.canary = fake_canary("fake-2")  # type: ignore[misc]
    monkeypatch.setattr("pipelines.intake.fetch.read_model", None)  # nothing is read to its end a second time
    backfill(workspace, actor="tester")
    found = rows(workspace)
    assert {item_id: (row.status, row.model_id) for item_id, row in found.items()} == {
        "a.safetensors": ("hit", "fake-2"),
        "b.safetensors": ("no_face", "fake-2"),
    }
    assert files(workspace) == before
    assert {row.content_sha256 for row in found.values()} == set(before)


def test_a_rescan_that_embeds_again_comes_to_the_same_thumbnail(workspace: Workspace, uploads: Path) -> None:
    workspace.config = replace(workspace.config, corpus=replace(workspace.config.corpus, mode="none"))
    upload(uploads, "a.safetensors", with_thumbnail(picture(person(2))))
    upload(uploads, "b.safetensors", with_thumbnail(picture(person(2), person(3))))
    assert scan(workspace, uploads) == {"a.safetensors": "clean", "b.safetensors": "clean"}
    sweep(workspace, source_of(uploads), day=None)  # lets go of the vectors
    (uploads / "b.safetensors").write_bytes(model_file())  # no thumbnail any more, before it is listed anew
    request = ask_for_removal(workspace, person(2))
    for actor in ("tester", "another"):  # what is not stored cannot be previewed, so it takes two
        agree(workspace, request.request_id, actor)
    rescan(workspace)
    assert {item_id: row.status for item_id, row in rows(workspace).items()} == {
        "a.safetensors": "hit",
        "b.safetensors": "pending",
    }


def test_the_content_stage_finds_thumbnails_and_asks_for_no_others(workspace: Workspace, uploads: Path) -> None:
    workspace.content_models.rating_model_id = None  # type: ignore[assignment]
    upload(uploads, "a.safetensors", with_thumbnail(picture(person(2))))
    upload(uploads, "b.safetensors", model_file())
    scan(workspace, uploads)
    workspace.content_models.rating_model_id = "mean-1"
    sweep(workspace, source_of(uploads), day=None)
    with workspace.database.read() as connection:
        coverage = measure_content(connection, workspace, Scope(None, None))
        described = connection.execute(sa.select(tables.contents.c.content_sha256, tables.contents.c.status)).all()
    assert (coverage.contents, coverage.rated) == (1, 1)
    assert described == [(rows(workspace)["a.safetensors"].content_sha256, "described")]


def test_i6_the_header_is_entered_with_the_item_or_not_at_all(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(uploads, "a.safetensors", with_thumbnail(picture(person(1)), ss_output_name=NAME))

    def die(name: str) -> None:
        if name == "before_manifest_commit":
            raise KeyboardInterrupt

    monkeypatch.setattr(workspace.failpoints, "pass_by", die)
    with pytest.raises(KeyboardInterrupt):
        scan(workspace, uploads)
    assert (rows(workspace)["a.safetensors"].status, files(workspace)) == ("pending", {})
    monkeypatch.setattr(workspace.failpoints, "pass_by", lambda name: None)
    sweep(workspace, source_of(uploads), day=None)
    assert rows(workspace)["a.safetensors"].status == "hit"
    assert len(texts(workspace, "a.safetensors")) == 1


def test_a_changed_file_is_read_anew_and_a_deleted_one_forgotten(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.safetensors", model_file({"ss_output_name": "first"}))
    scan(workspace, uploads)
    upload(uploads, "a.safetensors", model_file({"ss_output_name": "second!"}))
    sweep(workspace, source_of(uploads), day=None)
    assert [one.text for one in texts(workspace, "a.safetensors")] == ["second!"]
    compact(workspace)
    assert set(files(workspace)) == {rows(workspace)["a.safetensors"].content_sha256}
    upload(uploads, "a.safetensors", model_file({"ss_output_name": "second!"}), deleted=True)
    sweep(workspace, source_of(uploads), day=None)
    compact(workspace)
    assert files(workspace) == {}


def test_i8_what_headers_say_is_nowhere_in_clear(
    workspace: Workspace, uploads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = {"ss_output_name": NAME, "ss_dataset_dirs": json.dumps({f"10_{NAME}": {}})}
    upload(uploads, "a.safetensors", with_thumbnail(picture(person(1)), **metadata))
    upload(uploads, "b.safetensors", model_file({"ss_output_name": NAME})[:-1])
    scan(workspace, uploads)
    assert len(texts(workspace, "a.safetensors")) == 2
    written = b"".join(path.read_bytes() for path in workspace.home.rglob("*") if path.is_file())
    with workspace.database.read() as connection:
        for table in (model_files, tables.items, tables.audit, tables.runs):
            written += repr([tuple(row) for row in connection.execute(sa.select(table))]).encode()
    printed = capsys.readouterr()
    for word in NAME.split():
        assert not in_clear(word.encode(), written)
        assert word not in printed.out + printed.err


def test_a_sealed_header_opens_for_its_own_content_alone(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.safetensors", model_file({"ss_output_name": "first"}))
    upload(uploads, "b.safetensors", model_file({"ss_output_name": "second"}))
    scan(workspace, uploads)
    first, second = (rows(workspace)[f"{name}.safetensors"].content_sha256 for name in "ab")
    with workspace.database.write() as tx:
        stolen = tx.execute(sa.select(model_files.c.sealed_header).where(model_files.c.content_sha256 == second))
        values = {"sealed_header": stolen.scalar_one()}
        tx.execute(sa.update(model_files).where(model_files.c.content_sha256 == first).values(values))
    with pytest.raises(CorruptionError), workspace.database.read() as connection:
        header_texts(connection, workspace.sealer, [first])


@pytest.fixture
def listing(workspace: Workspace, server: ModelServer, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Sweeps a manifest of URLs; returns the statuses by path."""
    workspace.config = Config(
        fetch=FetchConfig(timeout_seconds=5.0, allowed_hosts=(server.host,), allow_private_addresses=True),
        database=workspace.config.database,
    )
    enrol(workspace, person(1))

    def sweep_urls(*paths: str, **settings: object) -> dict[str, str]:
        configure(workspace, **settings)
        lines = [
            {"id": path, "kind": "model", "url": f"http://{server.host}/{path}", "received_at": "2026-02-27"}
            for path in paths
        ]
        manifest = tmp_path / "urls.jsonl"
        manifest.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
        sweep(workspace, f"manifest:{manifest}", day=None)
        return {item_id: row.status for item_id, row in rows(workspace).items()}

    return sweep_urls


HEADED = with_thumbnail(picture(person(1)), ss_output_name=NAME)


def test_a_url_is_streamed_once_for_all_digests(
    workspace: Workspace, server: ModelServer, listing: Callable[..., dict[str, str]]
) -> None:
    server.content = HEADED
    assert listing("whole") == {"whole": "hit"}
    (file,) = files(workspace).values()
    assert (file.content_sha256, file.payload_sha256) == (sha256(HEADED), sha256(b"\x01\x02\x03\x04"))
    assert server.asked == [("whole", None)]


def test_without_payloads_two_ranges_of_a_url_are_enough(
    workspace: Workspace, server: ModelServer, listing: Callable[..., dict[str, str]]
) -> None:
    server.content = HEADED
    assert listing("ranges", payload="off") == {"ranges": "hit"}
    end = len(HEADED) - 4
    assert server.asked == [("ranges", "bytes=0-15"), ("ranges", f"bytes=16-{end - 1}")]
    assert [file.payload_sha256 for file in files(workspace).values()] == [None]


def test_a_server_that_knows_no_ranges_is_read_from_the_beginning(
    server: ModelServer, listing: Callable[..., dict[str, str]]
) -> None:
    server.content = HEADED
    assert listing("plain", payload="off") == {"plain": "hit"}
    assert [path for path, _ in server.asked] == ["plain"]


def test_a_picture_and_an_empty_file_behind_urls(server: ModelServer, listing: Callable[..., dict[str, str]]) -> None:
    server.content = picture(person(1))
    assert listing("ranges", "whole", payload="off") == {"ranges": "hit", "whole": "hit"}
    server.content = b""
    assert listing("ranges?2", payload="off")["ranges?2"] == "unscannable:empty"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("shifted", "fetch_failed:range"),
        ("longer", "fetch_failed:range"),
        ("nosize", "fetch_failed:range"),
        ("multipart", "fetch_failed:range"),
        ("overlong", "fetch_failed:range"),
        ("turncoat", "fetch_failed:range"),
        ("changing", "fetch_failed:changed"),
        ("growing", "fetch_failed:changed"),
        ("short", "fetch_failed:connection"),
        ("redirect", "fetch_failed:redirect"),
        ("gone", "fetch_failed:missing"),
        ("unsatisfied", "fetch_failed:http_status"),
        ("packed", "fetch_failed:encoding"),
    ],
)
def test_i9_each_way_to_answer_a_range_wrongly_has_its_word(
    path: str, status: str, server: ModelServer, listing: Callable[..., dict[str, str]]
) -> None:
    server.content = HEADED
    assert listing(path, payload="off") == {path: status}


def test_a_cut_stream_is_tried_again_and_a_file_without_length_is_measured(
    workspace: Workspace, server: ModelServer, listing: Callable[..., dict[str, str]]
) -> None:
    server.content = HEADED
    assert listing("cut", "chunked") == {"cut": "fetch_failed:connection", "chunked": "hit"}
    assert rows(workspace)["cut"].attempts == 1
    server.content = HEADED[:-2]
    assert listing("chunked?2")["chunked?2"] == "unscannable:truncated"


def test_tensors_that_come_too_slowly_cost_only_their_digest(
    workspace: Workspace, server: ModelServer, listing: Callable[..., dict[str, str]]
) -> None:
    server.content = HEADED
    assert listing("slow", payload_timeout_seconds=0.2) == {"slow": "hit"}
    (file,) = files(workspace).values()
    assert (file.status, file.payload_sha256) == ("read", None)


def test_the_defaults_are_those_that_are_written_down() -> None:
    config = ModelFilesConfig()
    assert (config.max_header_bytes, config.max_tensors, config.payload) == (16 * 2**20, 100_000, "stream")


def test_i1_what_the_pictures_in_a_header_say_of_their_making_is_read(workspace: Workspace, uploads: Path) -> None:
    enrol(workspace, person(1), name=NAME)
    images = [png_of({"parameters": f"photo of {name}\nSteps: 2"}) for name in ("nobody", NAME)]
    covers = {"ssmd_cover_images": json.dumps([base64.b64encode(image).decode() for image in images])}
    upload(uploads, "a.safetensors", model_file(covers))
    sweep(workspace, source_of(uploads), day=None)
    assert {row.place for row in all_hits(workspace)} == {"infotext:prompt"}
