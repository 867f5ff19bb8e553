"""Packs: downloads over a bad network, licences that must be accepted, folders of one's own."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.inputs.insightface_networks import SMALL_DETECTOR, SMALL_RECOGNISER, arcface_like, scrfd_like
from embeddings.errors import WeightsError
from embeddings.models.packs import AURAFACE, BUFFALO_L, DownloadedFile, find_pack, packs
from embeddings.models.weights import Pack, model_id
from pipelines.cli import main
from pipelines.home.audit import verify
from pipelines.home.downloads import PullLimits, missing, pull
from pipelines.home.licences import accept, is_accepted, require_accepted
from pipelines.home.workspace import Workspace, create_workspace
from pipelines.settings.config import EmbeddingConfig, ExchangeConfig
from tests.conftest import environment_for

pytestmark = pytest.mark.any_database

CONTENT = bytes(range(256)) * 4096
LIMITS = PullLimits(
    attempts=3,
    timeout_seconds=5,
    min_bytes_per_second=1,
    max_redirects=2,
    max_bytes=1 << 24,
    head=ExchangeConfig(),
)


class Publisher:
    """A server on the loopback whose faults are switched on by hand."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut_after: int | None = None  # bytes after which the connection breaks
        self.cuts_left = 0
        self.ranges = True
        self.pause: threading.Event | None = None  # after a thousand bytes nothing comes until this is set
        self.elsewhere: dict[str, str] = {}  # path -> where it redirects to
        self.asked: list[str | None] = []
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        if handler.path in self.elsewhere:
            handler.send_response(302)
            handler.send_header("Location", self.elsewhere[handler.path])
            handler.end_headers()
            return
        data = self.files.get(handler.path)
        if data is None:
            handler.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0  # type: ignore[index]
        if start >= len(data):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        body = data[start:]
        if self.cut_after is not None and self.cuts_left:
            self.cuts_left -= 1
            body = body[: self.cut_after]
        if self.pause is not None and not self.pause.is_set():
            handler.wfile.write(body[:1000])
            handler.wfile.flush()
            self.pause.wait()
            return
        handler.wfile.write(body)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    opened = Publisher()
    thread = threading.Thread(target=opened.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield opened
    opened.server.shutdown()
    thread.join()
    opened.server.server_close()


def pack_of(url: str, data: bytes = CONTENT, member: str | None = None) -> Pack:
    digest = hashlib.sha256(data).hexdigest()
    source = DownloadedFile(url, digest, "auraface", member)
    return replace(AURAFACE, recognizer=replace(AURAFACE.recognizer, source=source, sha256=digest))


def test_a_file_arrives_once_and_only_whole(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files["/r.onnx"] = CONTENT
    pack = pack_of(f"{publisher.url}/r.onnx")
    with pytest.raises(WeightsError, match="models pull auraface"):
        pack.recognizer.read(tmp_path)
    assert pull(pack, folder=tmp_path, limits=LIMITS).fetched == 1
    assert pack.recognizer.read(tmp_path) == CONTENT
    assert pull(pack, folder=tmp_path, limits=LIMITS).present == 1
    assert len(publisher.asked) == 1
    assert len(list((tmp_path / "downloads").iterdir())) == 1  # no part is left


def test_a_cut_download_goes_on_where_it_stopped(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files["/r.onnx"] = CONTENT
    publisher.cut_after, publisher.cuts_left = 300_000, 2
    pack = pack_of(f"{publisher.url}/r.onnx")
    pull(pack, folder=tmp_path, limits=LIMITS)
    assert pack.recognizer.read(tmp_path) == CONTENT
    assert publisher.asked == [None, "bytes=300000-", "bytes=600000-"]


def test_a_download_given_up_is_resumed_by_the_next_command(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files["/r.onnx"] = CONTENT
    publisher.cut_after, publisher.cuts_left = 100_000, 3
    pack = pack_of(f"{publisher.url}/r.onnx")
    with pytest.raises(WeightsError, match="run the same command again"):
        pull(pack, folder=tmp_path, limits=LIMITS)
    pull(pack, folder=tmp_path, limits=LIMITS)
    assert pack.recognizer.read(tmp_path) == CONTENT
    assert publisher.asked[-1] == "bytes=300000-"


def test_a_server_without_ranges_is_asked_for_everything_again(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files["/r.onnx"] = CONTENT
    publisher.cut_after, publisher.cuts_left, publisher.ranges = 300_000, 1, False
    pack = pack_of(f"{publisher.url}/r.onnx")
    pull(pack, folder=tmp_path, limits=LIMITS)
    assert pack.recognizer.read(tmp_path) == CONTENT


def test_another_file_than_the_pinned_one_is_never_used(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files["/r.onnx"] = CONTENT[::-1]
    pack = pack_of(f"{publisher.url}/r.onnx")
    with pytest.raises(WeightsError, match="not the file"):
        pull(pack, folder=tmp_path, limits=LIMITS)
    assert list((tmp_path / "downloads").iterdir()) == []
    publisher.files["/r.onnx"] = CONTENT
    assert pull(pack, folder=tmp_path, limits=LIMITS).fetched == 1


def test_a_part_of_something_else_is_found_by_its_digest(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files["/r.onnx"] = CONTENT
    publisher.cut_after, publisher.cuts_left = 300_000, 3
    pack = pack_of(f"{publisher.url}/r.onnx")
    with pytest.raises(WeightsError):
        pull(pack, folder=tmp_path, limits=replace(LIMITS, attempts=1))
    (part,) = (tmp_path / "downloads").iterdir()
    part.write_bytes(b"x" * (len(CONTENT) + 10))  # larger than the file: the server answers 416
    with pytest.raises(WeightsError, match="not the file"):
        pull(pack, folder=tmp_path, limits=LIMITS)
    publisher.cuts_left = 0
    assert pull(pack, folder=tmp_path, limits=LIMITS).fetched == 1


def test_a_missing_or_oversized_file_says_so(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="404"):
        pull(pack_of(f"{publisher.url}/none.onnx"), folder=tmp_path, limits=LIMITS)
    publisher.files["/r.onnx"] = CONTENT
    with pytest.raises(WeightsError, match="larger"):
        pull(pack_of(f"{publisher.url}/r.onnx"), folder=tmp_path, limits=replace(LIMITS, max_bytes=1000))


def test_a_connection_that_brings_less_than_the_least_counts_as_cut(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files["/r.onnx"] = CONTENT
    fast = replace(LIMITS, timeout_seconds=0.2, min_bytes_per_second=10**12, attempts=2)
    publisher.pause = threading.Event()
    with pytest.raises(WeightsError, match="bytes per second"):
        pull(pack_of(f"{publisher.url}/r.onnx"), folder=tmp_path, limits=fast)
    publisher.pause.set()
    assert publisher.asked[1:] == ["bytes=1000-"]  # the first thousand bytes were kept
    pull(pack_of(f"{publisher.url}/r.onnx"), folder=tmp_path, limits=LIMITS)


def test_redirects_are_followed_so_many_times_and_to_nothing_unusable(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files["/r.onnx"] = CONTENT
    publisher.elsewhere = {
        "/a": "/b",
        "/b": f"{publisher.url}/r.onnx",
        "/c": "/a",
        "/d": "file:///etc/passwd",
        "/e": "",
    }
    assert pull(pack_of(f"{publisher.url}/a"), folder=tmp_path, limits=LIMITS).fetched == 1
    for path in ("c", "d", "e"):
        with pytest.raises(WeightsError, match="redirects"):
            pull(pack_of(f"{publisher.url}/{path}"), folder=tmp_path / path, limits=LIMITS)


def test_two_files_of_one_archive_are_fetched_once_and_the_rest_is_left(publisher: Publisher, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("pack/det.onnx", CONTENT)
        archive.writestr("pack/rec.onnx", CONTENT[::-1])
        archive.writestr("pack/other.onnx", b"unwanted")
    publisher.files["/pack.zip"] = buffer.getvalue()
    pack = pack_of(f"{publisher.url}/pack.zip", CONTENT, "det.onnx")
    other = pack_of(f"{publisher.url}/pack.zip", CONTENT[::-1], "rec.onnx")
    both = replace(pack, detector=other.recognizer)
    assert pull(both, folder=tmp_path, limits=LIMITS).fetched == 2
    assert len(publisher.asked) == 1
    assert len(list((tmp_path / "downloads").iterdir())) == 2
    assert missing(both, folder=tmp_path) == []
    publisher.files["/pack.zip"] = b"no archive"
    with pytest.raises(WeightsError, match="not an archive"):
        pull(both, folder=tmp_path / "again", limits=LIMITS)


def test_a_non_commercial_pack_is_refused_until_its_terms_are_accepted(workspace: Workspace) -> None:
    with workspace.database.read() as connection:
        before = verify(connection, workspace.sealer)
        with pytest.raises(WeightsError, match="licence buffalo_l"):
            require_accepted(connection, BUFFALO_L)
    for _ in range(2):
        with workspace.database.write() as tx:
            accept(tx, workspace.sealer, BUFFALO_L, actor="tester", now=workspace.now())
    with workspace.database.read() as connection:
        require_accepted(connection, BUFFALO_L)
        assert is_accepted(connection, AURAFACE)  # needs none
        assert not is_accepted(connection, replace(BUFFALO_L, terms="other terms"))
        assert verify(connection, workspace.sealer) == before + 1


def test_the_command_line_shows_refuses_and_records(tmp_path: Path) -> None:
    home = tmp_path / "home"
    create_workspace(environment_for(home)).close()
    environment = {"LIKENESS_KEY": environment_key(), "LIKENESS_HOME": str(home)}

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["models", *arguments], env=environment)
        return result.exit_code, result.output

    rows = json.loads(run("list", "--json")[1])
    assert {row["pack"] for row in rows} == {*packs(), "clip"}
    assert [row["pack"] for row in rows if row["configured"]] == ["opencv-zoo", "clip"]
    code, output = run("pull", "buffalo_s")
    assert code == 1
    assert "likeness models licence buffalo_s" in output
    assert not json.loads(run("licence", "buffalo_s", "--json")[1])["accepted"]
    assert json.loads(run("licence", "buffalo_s", "--accept", "--json")[1])["accepted"]
    (home / "likeness.toml").write_text('[embedding]\npack = "buffalo_l"\n')
    with create_workspace(environment_for(home)) as opened, pytest.raises(WeightsError, match="licence buffalo_l"):
        _ = opened.models


def environment_key() -> str:
    from tests.conftest import KEY

    return KEY


PACK_TOML = """
name = "ours"
dimension = 512
licence = "our own"
non_commercial = false
[detector]
kind = "scrfd"
file = "d.onnx"
[recognizer]
kind = "arcface"
file = "r.onnx"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pack.toml").write_text(PACK_TOML)
    (tmp_path / "d.onnx").write_bytes(scrfd_like(SMALL_DETECTOR, seed=1, score_bias=-7.0))
    (tmp_path / "r.onnx").write_bytes(arcface_like(SMALL_RECOGNISER, seed=2))
    return tmp_path


def test_a_folder_of_ones_own_is_a_pack_named_by_its_bytes(folder: Path) -> None:
    from embeddings.models.load import load_models

    settings = EmbeddingConfig().faces()
    pack = find_pack(f"local:{folder}")
    loaded = load_models(f"local:{folder}", cache_dir=folder / "graphs", settings=settings)
    assert loaded.model_id == model_id(pack, settings)
    loaded.close()
    (folder / "r.onnx").write_bytes(arcface_like(SMALL_RECOGNISER, seed=3))
    assert model_id(find_pack(f"local:{folder}"), settings) != model_id(pack, settings)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "ours"', 'name = "opencv-zoo"', "cannot be called"),
        ("dimension", "size", "size"),
        ('file = "r.onnx"', 'file = "../r.onnx"', "recognizer.file"),
        ('file = "r.onnx"', 'file = "x.onnx"', "x.onnx cannot be read"),
        ('kind = "scrfd"\nfile = "d.onnx"', 'kind = "scrfd"', "detector.file"),
        ("name =", "name", "not valid TOML"),
    ],
)
def test_a_wrong_pack_file_says_what_is_wrong(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "pack.toml").write_text(PACK_TOML.replace(old, new))
    with pytest.raises(WeightsError, match=message):
        find_pack(f"local:{folder}")


def test_a_stated_digest_must_match(folder: Path) -> None:
    (folder / "pack.toml").write_text(PACK_TOML + f'sha256 = "{"0" * 64}"\n')
    with pytest.raises(WeightsError, match="SHA-256"):
        find_pack(f"local:{folder}").recognizer.read()
