"""Where a home's uploads are decoded, who says so, and what a sweep makes of an upload that its decoder dies of."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from embeddings.headers.reading import read_header
from embeddings.images.decode import decode
from embeddings.sandbox.confinement import MEASURES
from embeddings.sandbox.decoding import SandboxedDecoder
from embeddings.sandbox.headers import SandboxedHeaderReader
from embeddings.sandbox.pool import DecodingPool
from pipelines.home.sandbox import decoder_for, header_reader_for, sandbox_status
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.runs.status import read_status
from pipelines.runs.sweep import require_complete, sweep
from pipelines.settings.config import Config
from pipelines.settings.scanning import DecodeConfig
from tests.embeddings.model_files import model_file
from tests.embeddings.stand_ins import deed
from tests.embeddings.test_sandbox import ACTING, REASONS
from tests.fakes import person, picture
from tests.platform_actions import enrol, source_of, upload
from tests.platform_facts import statuses
from tests.source_code import nodes_of

pytestmark = pytest.mark.any_database
ROOT = Path(__file__).parent.parent.parent.parent
OFF = replace(Config(), decode=DecodeConfig(sandbox="off"))
DECODING = ("embed_shard", "find_faces", "describe_contents", "make_canary", "read_references", "examine_references")
"""What decodes in the calling process unless it is given a decoder."""
READING = ("read_model", "read_again", "read_bytes")


@pytest.fixture
def acting(workspace: Workspace) -> Iterator[Workspace]:
    """A home whose decoders do what a file says."""
    pool = DecodingPool(ACTING)
    workspace.decoder = SandboxedDecoder(pool)  # type: ignore[misc]
    workspace.header_reader = SandboxedHeaderReader(pool)  # type: ignore[misc]
    yield workspace
    pool.close()


def test_i9_a_sweep_over_uploads_that_their_decoders_die_of_settles_every_item(
    acting: Workspace, uploads: Path
) -> None:
    enrol(acting, person(1))
    upload(uploads, "hit.png", picture(person(1)))
    upload(uploads, "clean.png", picture(person(2)))
    upload(uploads, "model.safetensors", model_file({"ss_output_name": "something"}), kind="model")
    for what in REASONS:
        upload(uploads, f"{what}.gif", deed(what))
    summary = sweep(acting, source_of(uploads), day=None)
    now = statuses(acting)
    assert {name: now.pop(name) for name in ("hit.png", "clean.png", "model.safetensors")} == {
        "hit.png": "hit",
        "clean.png": "clean",
        "model.safetensors": "no_face",
    }
    assert now == {f"{what}.gif": f"unscannable:{reason}" for what, reason in REASONS.items()}
    assert summary.scanner_faults == len(REASONS)
    require_complete(acting, Scope(None, None))


def test_uploads_are_decoded_in_processes_unless_settings_say_otherwise(workspace: Workspace) -> None:
    assert isinstance(workspace.decoder, SandboxedDecoder)
    assert isinstance(workspace.header_reader, SandboxedHeaderReader)
    assert workspace.decoder.pool is workspace.header_reader.pool
    assert decoder_for(OFF) is decode
    assert header_reader_for(OFF) is read_header


def test_homes_under_the_same_settings_share_the_processes() -> None:
    one, other = (decoder_for(Config()) for _ in range(2))
    assert isinstance(one, SandboxedDecoder)
    assert isinstance(other, SandboxedDecoder)
    assert one.pool is other.pool


def test_i11_the_status_says_what_confines_a_decoder_here_and_what_does_not(workspace: Workspace) -> None:
    on, off = sandbox_status(Config()), sandbox_status(OFF)
    assert (on.mode, off.mode) == ("processes", "off")
    assert sorted(on.active + on.missing) == sorted(MEASURES)
    assert (off.active, off.missing) == ((), MEASURES)
    held = decoder_for(Config()).pool.confinement()  # type: ignore[attr-defined]
    assert (held.active, held.missing) == (on.active, on.missing)
    assert read_status(workspace).decoding == on


@pytest.mark.parametrize("names", [DECODING, READING])
def test_i9_nothing_in_pipelines_decodes_uploads_in_its_own_process(names: tuple[str, ...]) -> None:
    """Every call that could is given what to decode with, and nobody calls the decoder itself."""
    wanted = "decoder" if names is DECODING else "header_reader"
    found = 0
    for path in sorted((ROOT / "pipelines").rglob("*.py")):
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("decode", "read_header", "parse_header"), f"{path}:{node.lineno}"
                if node.func.id in names:
                    found += 1
                    assert wanted in {one.arg for one in node.keywords}, f"{path}:{node.lineno}"
    assert found >= 3
