"""Nothing biometric or personal lies anywhere in clear, and erasing leaves nothing at all: proved by byte search (I8).

Real models, a real portrait, the real command line. Then every byte under the home, the report, the receiver's cases,
everything printed and everything logged is searched for names, vectors, crops and the photographs themselves, in the
forms in which they might have got there.
"""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus

import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from PIL import Image, ImageOps
from skimage import data

from embeddings.errors import StateError
from pipelines.cases.ending import erase
from pipelines.cli import main
from pipelines.database import tables
from pipelines.home.workspace import Workspace, create_workspace, open_workspace
from pipelines.registry.references import read_references
from pipelines.takedown.receiver import Receiver
from tests.conftest import KEY, environment_for, use_fakes
from tests.fakes import person
from tests.pipelines.takedown.delivering import SECRET
from tests.platform_actions import DAY, enrol, upload
from tests.searching import everything_under, in_clear

NAME, ALIAS = "Zdeňka Vymyšlená-Testová", "Fiktivní Zdenička"
CONSENT, CONTACT = "Consent-Sheet-of-Zdenicka-4711", "Contact-Of-Zdenicka-8822"
Needles = dict[str, bytes]


def forms_of_text(label: str, text: str) -> Needles:
    """The text as it would look in files, in JSON, in URLs, in databases and in base64 at any alignment."""
    spellings = {text, text.lower(), text.upper(), *(word for word in text.replace("-", " ").split() if len(word) > 7)}
    needles: Needles = {}
    for spelling in spellings:
        plain = spelling.encode()
        needles |= {
            f"{label} utf-8 {spelling}": plain,
            f"{label} utf-16-le {spelling}": spelling.encode("utf-16-le"),
            f"{label} utf-16-be {spelling}": spelling.encode("utf-16-be"),
            f"{label} json {spelling}": json.dumps(spelling)[1:-1].encode(),
            f"{label} percent {spelling}": quote(spelling, safe="").encode(),
            f"{label} form {spelling}": quote_plus(spelling).encode(),
            f"{label} hex {spelling}": plain.hex().encode(),
        }
        needles |= {f"{label} base64+{n} {spelling}": part for n, part in enumerate(base64_at_any_place(plain))}
    return needles


def base64_at_any_place(part: bytes) -> Iterator[bytes]:
    """What of ``part`` is the same in every base64 text that contains it, for the three places it can begin at."""
    for offset in range(3):
        encoded = base64.b64encode(b"\x00" * offset + part)
        yield encoded[(offset * 8 + 5) // 6 : (offset + len(part)) * 8 // 6]


def forms_of_vector(label: str, vector: np.ndarray, *, beside: Sequence[np.ndarray] = ()) -> Needles:
    """The vector in each number format, in pieces so small that any 32 bytes of it contain one; and as text.

    ``beside``: vectors that it may have been quantised together with, so that one of them decided the scale.
    """
    scales = [np.abs(one).max() / np.float32(127) for one in (vector, *beside)]
    formats = {
        "float32": vector.astype("<f4").tobytes(),
        "float64": vector.astype("<f8").tobytes(),
        "float16": vector.astype("<f2").tobytes(),
    }
    codes = [np.round(vector / scale) for scale in scales if scale >= scales[0]]
    formats |= {f"int8 {number}": code.astype(np.int8).tobytes() for number, code in enumerate(codes)}
    needles: Needles = {}
    for name, raw in formats.items():
        needles |= {f"{label} {name} at {at}": raw[at : at + 12] for at in range(0, len(raw) - 11, 12)}
        needles[f"{label} {name} hex"] = raw.hex()[:64].encode()
        needles |= {f"{label} {name} base64+{n}": part for n, part in enumerate(base64_at_any_place(raw[:48]))}
    needles |= {f"{label} text {at}": repr(float(vector[at])).encode()[:12] for at in range(4)}
    return needles


def forms_of_picture(label: str, raw: bytes) -> Needles:
    """Pieces of the bytes that are rich enough to be nobody else's."""
    pieces = [(at, raw[at : at + 24]) for at in range(0, len(raw) - 24, max(24, len(raw) // 60))]
    return {f"{label} at {at}": piece for at, piece in pieces if len(set(piece)) > 12}


class Searched:
    """Everything that was written anywhere. Files that were there before anybody enrolled are known to be clean."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._before = {path: path.read_bytes() for path in self._files() if "models" in path.parts}
        self.printed: list[str] = []

    def _files(self) -> list[Path]:
        return sorted(path for folder in self._folders for path in folder.rglob("*") if path.is_file())

    def find(self, needles: Needles) -> list[str]:
        """Where a needle is, by the needle's label: needles never reach an assertion's text."""
        found = []
        texts = {"printed or logged": "\n".join(self.printed).encode()}
        for path in self._files():
            content = path.read_bytes()
            if self._before.get(path) != content:
                texts[path.name] = content
        for place, content in texts.items():
            names = place.encode()
            found += [
                f"{label} in {place}"
                for label, needle in needles.items()
                if in_clear(needle, content) or needle in names
            ]
        return found


def jpeg(pixels: np.ndarray | Image.Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def test_i8_names_vectors_and_crops_are_nowhere_in_clear_and_an_erased_key_is_nowhere_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    home, uploads, outside = tmp_path / "home", tmp_path / "uploads", tmp_path / "outside"
    uploads.mkdir()
    outside.mkdir()
    portrait = Image.fromarray(data.astronaut())
    photograph, second = jpeg(portrait.crop((100, 0, 356, 256))), jpeg(ImageOps.mirror(portrait), 95)
    (tmp_path / "reference.jpg").write_bytes(photograph)
    (tmp_path / "second.jpg").write_bytes(second)
    words = {"title": f"a picture of {NAME}", "prompt": f"{ALIAS}, portrait", "tags": [NAME, ALIAS]}
    upload(uploads, "1.jpg", jpeg(portrait), received=DAY, parent_model="m", **words)
    upload(uploads, "2.jpg", jpeg(ImageOps.mirror(portrait.crop((60, 0, 400, 300)))), parent_model="m", **words)
    upload(uploads, "3.jpg", jpeg(data.coffee()), **words)
    upload(uploads, "4.jpg", jpeg(portrait)[:200], **words)

    with Receiver("127.0.0.1", 0, [SECRET], log_path=outside / "cases.jsonl") as receiver:
        for name, value in {
            "LIKENESS_HOME": str(home),
            "LIKENESS_KEY": KEY,
            "LIKENESS_TAKEDOWN_URL": receiver.url,
            "LIKENESS_TAKEDOWN_SECRET": SECRET,
        }.items():
            monkeypatch.setenv(name, value)
        searched: Searched | None = None
        printed: list[str] = []

        def likeness(*arguments: str) -> str:
            result = CliRunner().invoke(main, list(arguments))
            assert result.exit_code == 0, result.exit_code
            printed.append(result.output + result.stderr)
            return result.stdout

        likeness("init")
        searched = Searched(home, outside)
        names = ("--name", NAME, "--alias", ALIAS)
        added = json.loads(
            likeness(
                *(
                    "subject",
                    "add",
                    *names,
                    "--reference",
                    str(tmp_path / "reference.jpg"),
                    "--consent",
                    CONSENT,
                    "--json",
                )
            )
        )
        opened = json.loads(
            likeness(
                *("request", "open", *names, "--reference", str(tmp_path / "second.jpg")),
                *("--contact", CONTACT, "--consent", CONSENT, "--json"),
            )
        )
        likeness("request", "accept", opened["request_id"])
        first = json.loads(likeness("sweep", "--source", f"directory:{uploads}", "--json"))
        likeness("rescan", "--pending")
        likeness("dispatch")
        likeness("report", "--out", str(outside / "report"))
        for command in ("hits", "status", "verify"):
            likeness(command)
            likeness(command, "--json")
        likeness("subject", "list")
        likeness("request", "list", "--json")
        # Two people in two pictures, a name in the text of a third, and one model that shows both people.
        assert (first["hit"], first["takedowns"], len(receiver.cases())) == (3, 4, 6)

        subject_ids = (added["subject_id"], opened["subject_id"])
        with open_workspace(environment_for(home)) as workspace:
            needles = {
                **forms_of_text("name", NAME),
                **forms_of_text("alias", ALIAS),
                **forms_of_text("consent", CONSENT),
                **forms_of_text("contact", CONTACT),
                **forms_of_picture("photograph", photograph),
                **forms_of_picture("second photograph", second),
                **biometric_needles(workspace, [photograph, second]),
            }
            sealed = sealed_needles(workspace, subject_ids)
            searched.printed = [*printed, caplog.text]
            assert_finds_what_is_planted(searched, home, needles | sealed)
            assert searched.find(needles) == []
            assert searched.find(sealed) != []  # they are there: losing them is what erasing has to do

            for subject_id in subject_ids:
                erase(workspace, subject_id, actor="tester")  # the database stays open, its log and all
            likeness("dispatch")
            likeness("report", "--out", str(outside / "report"))
            searched.printed = [*printed, caplog.text]
            assert searched.find(needles | sealed) == []
        assert searched.find(needles | sealed) == []


def biometric_needles(workspace: Workspace, photographs: list[bytes]) -> Needles:
    """What the pipeline made of the photographs, computed anew."""
    needles: Needles = {}
    made = read_references(
        photographs,
        workspace.models,
        limits=workspace.limits,
        config=workspace.config.registry,
        agreement=workspace.thresholds.review,
    )
    for number, reference in enumerate(made):
        needles |= forms_of_vector(f"template {number}", reference.vector)
        needles |= forms_of_picture(f"crop {number}", reference.crop.tobytes())
    return needles


def sealed_needles(workspace: Workspace, subject_ids: tuple[str, ...]) -> Needles:
    """The wrapped keys and everything sealed under them, as the database holds it now."""
    needles: Needles = {}
    with workspace.database.read() as connection:
        for subject_id in subject_ids:
            wrapped = connection.execute(
                sa.select(tables.subject_keys.c.wrapped_key).where(tables.subject_keys.c.subject_id == subject_id)
            ).scalar_one()
            identity = connection.execute(
                sa.select(tables.subjects.c.sealed_identity).where(tables.subjects.c.subject_id == subject_id)
            ).scalar_one()
            needles |= {f"wrapped key of {subject_id}": wrapped, f"identity of {subject_id}": identity[:40]}
            columns = (tables.templates.c.sealed_vector, tables.templates.c.sealed_crop)
            for vector, crop in connection.execute(
                sa.select(*columns).where(tables.templates.c.subject_id == subject_id)
            ):
                needles |= {f"sealed vector of {subject_id}": vector[:40], f"sealed crop of {subject_id}": crop[:40]}
                needles[f"end of the sealed crop of {subject_id}"] = crop[-40:]
    return needles


def assert_finds_what_is_planted(searched: Searched, home: Path, needles: Needles) -> None:
    """A search that finds nothing proves nothing, unless it finds what is there."""
    planted = home / "corpus" / "planted.bin"
    assert len(needles) > 500
    for part in (list(needles.items())[start::7] for start in range(7)):
        planted.write_bytes(b"\x00some bytes before\x01".join(needle for _, needle in part))
        found = set(searched.find(dict(part)))
        assert {f"{label} in planted.bin" for label, _ in part} <= found
    planted.unlink()


def wrapped_keys(workspace: Workspace) -> dict[str, bytes]:
    with workspace.database.read() as connection:
        return {row.subject_id: row.wrapped_key for row in connection.execute(sa.select(tables.subject_keys))}


def test_i8_erasing_leaves_no_copy_in_pages_that_were_split_or_freed(tmp_path: Path) -> None:
    with use_fakes(create_workspace(environment_for(tmp_path / "home"))) as workspace:
        subject_ids = [enrol(workspace, person(number % 6)) for number in range(120)]
        keys = wrapped_keys(workspace)
        assert all(key in everything_under(workspace.home) for key in keys.values())
        for subject_id in subject_ids[::2]:
            erase(workspace, subject_id, actor="tester")
        left = everything_under(workspace.home)
        assert [subject_id for subject_id in subject_ids if keys[subject_id] in left] == subject_ids[1::2]


def test_i8_erasing_says_so_when_a_reader_keeps_the_bytes_on_disk_and_can_be_repeated(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "likeness.toml").write_text("[database]\nbusy_timeout_seconds = 0.1\n", encoding="utf-8")
    with (
        use_fakes(create_workspace(environment_for(home))) as workspace,
        use_fakes(open_workspace(environment_for(home))) as reader,
    ):
        subject_id = enrol(workspace, person(1))
        ((_, key),) = wrapped_keys(workspace).items()
        with reader.database.read() as connection:
            connection.execute(sa.select(tables.state)).all()
            with pytest.raises(StateError, match="another process is reading"):
                erase(workspace, subject_id, actor="tester")
        assert wrapped_keys(workspace) == {}
        erase(workspace, subject_id, actor="tester")
        assert key not in everything_under(home)
