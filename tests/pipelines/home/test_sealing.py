"""Keys, sealed bytes and the audit chain."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import ConfigError, CorruptionError
from pipelines.database import Database, tables
from pipelines.home import audit
from pipelines.home.sealing import KeyFileWarning, Sealer, associated_data, load_master_key, seal, unseal
from pipelines.home.workspace import create_workspace, open_workspace
from pipelines.settings.environment import read_environment
from tests.conftest import Clock, environment_for
from tests.searching import in_clear

KEY = bytes(range(32))


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_what_is_sealed_opens_again_and_only_with_the_same_name(plaintext: bytes, aad: bytes) -> None:
    sealed = seal(KEY, plaintext, aad)
    assert unseal(KEY, sealed, aad) == plaintext
    assert len(plaintext) < 8 or not in_clear(plaintext, sealed)
    with pytest.raises(CorruptionError):
        unseal(KEY, sealed, aad + b"x")


@given(st.integers(0, 10_000))
def test_any_flipped_bit_is_noticed(position: int) -> None:
    sealed = bytearray(seal(KEY, b"a template", b"t"))
    sealed[position % len(sealed)] ^= 1 << position % 8
    with pytest.raises(CorruptionError):
        unseal(KEY, bytes(sealed), b"t")


def test_bytes_too_short_to_be_sealed_are_a_typed_error() -> None:
    with pytest.raises(CorruptionError):
        unseal(KEY, b"short", b"")


def test_associated_data_of_different_parts_never_coincide() -> None:
    assert associated_data("a", "bc") != associated_data("ab", "c")


def test_each_purpose_and_each_shard_has_a_key_of_its_own() -> None:
    sealer = Sealer(KEY)
    assert sealer.shard_key("a") != sealer.shard_key("b")
    record = sealer.seal_record({"title": "t"}, "item-1")
    assert sealer.unseal_record(record, "item-1") == {"title": "t"}
    with pytest.raises(CorruptionError):
        sealer.unseal_record(record, "item-2")


def test_a_key_file_is_made_once_private_and_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "likeness.key"
    with pytest.warns(KeyFileWarning, match="in production"):
        key = load_master_key(None, path, create=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_master_key(None, path, create=True) == key
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_key_nothing_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LIKENESS_KEY"):
        load_master_key(None, tmp_path / "likeness.key", create=False)
    (tmp_path / "likeness.key").write_text("too short")
    with pytest.raises(CorruptionError):
        load_master_key(None, tmp_path / "likeness.key", create=False)


@pytest.mark.parametrize("value", ["short", "!" * 44, base64.b64encode(bytes(31)).decode()])
def test_a_malformed_key_in_the_environment_is_refused_without_echoing_it(value: str) -> None:
    with pytest.raises(ConfigError, match="32 bytes") as caught:
        read_environment({"LIKENESS_KEY": value})
    assert value not in str(caught.value)


def test_another_key_does_not_open_the_home(tmp_path: Path) -> None:
    create_workspace(environment_for(tmp_path / "home")).close()
    other = environment_for(tmp_path / "home", LIKENESS_KEY=base64.b64encode(bytes(32)).decode())
    with pytest.raises(ConfigError, match="not the one"):
        open_workspace(other)


def test_secrets_do_not_show_in_the_environments_repr(tmp_path: Path) -> None:
    environment = environment_for(tmp_path, LIKENESS_TAKEDOWN_SECRET="whsec_abc", LIKENESS_TAKEDOWN_URL="http://u:p@h")
    assert "whsec" not in repr(environment)
    assert "u:p" not in repr(environment)
    assert base64.b64encode(KEY).decode() not in repr(environment)


def grown_chain(database: Database, clock: Clock) -> Sealer:
    sealer = Sealer(KEY)
    for number in range(5):
        with database.write() as tx:
            audit.append(tx, sealer, actor="a", action="test", now=clock(), number=number)
    return sealer


def test_an_untouched_audit_chain_verifies(database: Database, clock: Clock) -> None:
    sealer = grown_chain(database, clock)
    with database.read() as connection:
        assert audit.verify(connection, sealer) == 5


@pytest.mark.parametrize(
    "damage",
    [
        sa.update(tables.audit).where(tables.audit.c.seq == 2).values(actor="someone else"),
        sa.delete(tables.audit).where(tables.audit.c.seq == 3),
        sa.delete(tables.audit).where(tables.audit.c.seq == 5),
        sa.delete(tables.audit),
        sa.update(tables.state).where(tables.state.c.name == "audit_head").values(value="4:x"),
    ],
    ids=["altered", "removed", "cut off", "emptied", "head altered"],
)
def test_a_damaged_audit_chain_is_noticed(database: Database, clock: Clock, damage: sa.Executable) -> None:
    sealer = grown_chain(database, clock)
    with database.write() as tx:
        tx.execute(damage)
    with pytest.raises(CorruptionError), database.read() as connection:
        audit.verify(connection, sealer)
