"""Numbers, dates, texts and files beyond all measure are errors that name what is wrong, and never a crash."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from embeddings.errors import ConfigError, EnrolmentError, InputError, LikenessError, WeightsError
from embeddings.models.local_pack import read_local_pack
from embeddings.strict_toml import MOST_BYTES, parse_toml
from pipelines.cases.requests import reject_request
from pipelines.decisions.decide import MOST_NOTE, Answer
from pipelines.home.workspace import Workspace
from pipelines.policy import load_policy
from pipelines.policy.concept_list import load_concepts
from pipelines.policy.schema import PolicyFile
from pipelines.registry.identities import require_short
from pipelines.registry.subjects import Identity, insert_subject
from pipelines.report.transparency import summarise_period
from pipelines.settings.config import Config, load_config
from pipelines.settings.environment import Environment

ABSURD = ("nan", "inf", "-inf", "1e400", "-1", "9223372036854775808", "1" + "0" * 4000, '"many"')


def numbers(section: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Table and name of every number in a tree of settings."""
    for one in fields(section):
        value = getattr(section, one.name)
        if is_dataclass(value):
            yield from numbers(value, f"{prefix}.{one.name}" if prefix else one.name)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix, one.name


def refused(read: Callable[[], object], key: str) -> None:
    """Whether reading is a ``ConfigError`` that names the key and repeats no value."""
    with pytest.raises(ConfigError) as found:
        read()
    assert key in str(found.value)
    assert len(str(found.value)) < 1000


@pytest.mark.parametrize("value", ABSURD)
def test_every_number_of_the_settings_has_bounds(value: str, tmp_path: Path) -> None:
    file = tmp_path / "likeness.toml"
    for table, name in numbers(Config()):
        file.write_text(f"[{table}]\n{name} = {value}\n" if table else f"{name} = {value}\n", encoding="utf-8")
        refused(lambda: load_config(Environment(home=tmp_path)), f"{table}.{name}")


def test_the_bounds_hold_what_time_and_sockets_take() -> None:
    for now in (datetime(2026, 3, 1, tzinfo=UTC), datetime(2126, 3, 1, tzinfo=UTC)):
        assert now - timedelta(days=36_525) < now + timedelta(days=36_525)
    assert timedelta(days=20).total_seconds() * 1000 < 2**31


@pytest.mark.parametrize("value", ABSURD)
def test_every_number_of_a_policy_has_bounds(value: str, tmp_path: Path) -> None:
    packaged = (Path(__file__).parents[3] / "pipelines/policy/default.toml").read_text(encoding="utf-8")
    file = tmp_path / "policy.toml"
    settings = load_policy(None).settings
    assert isinstance(settings, PolicyFile)
    for table, name in numbers(settings):
        lines, inside = [], False
        for line in packaged.splitlines():
            inside = line.strip() == f"[{table}]" if line.startswith("[") else inside
            lines.append(f"{name} = {value}" if inside and line.partition("=")[0].strip() == name else line)
        file.write_text("\n".join(lines), encoding="utf-8")
        refused(lambda: load_policy(file), f"{table}.{name}")


DEEP = b"x = " + b"[" * 100_000
MANY_DIGITS = b"x = " + b"1" * 5_000
NUL = b'x = "a\\u0000b"'
LATIN = b'x = "\xe9"'
LONG = b"#" * (MOST_BYTES + 1)


@pytest.mark.parametrize("data", [DEEP, MANY_DIGITS, NUL, LATIN, LONG, b"x = ", b"\xef\xbb\xbfx = 1"])
def test_a_file_that_is_no_sane_toml_is_one_kind_of_error(data: bytes, tmp_path: Path) -> None:
    for name in ("likeness.toml", "policy.toml", "pack.toml"):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(Environment(home=tmp_path))
    for read in (load_policy, load_concepts):
        with pytest.raises(ConfigError, match="not valid TOML"):
            read(tmp_path / "policy.toml")
    with pytest.raises(WeightsError, match="not valid TOML"):
        read_local_pack(tmp_path, known={})


def test_a_fifo_or_a_device_is_no_settings_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "policy.toml")
    for path in (tmp_path / "policy.toml", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="no regular file"):
            load_policy(path)


def test_a_nul_is_found_wherever_it_stands() -> None:
    for text in ('a.b = ["x", {c = "\\u0000"}]', '"\\u0000" = 1', '[[t]]\nk = "\\u0000"'):
        with pytest.raises(ValueError, match="NUL"):
            parse_toml(text.encode())


def test_texts_longer_than_is_kept_are_refused_without_repeating_them(workspace: Workspace) -> None:
    long = "secret " * 1000
    with pytest.raises(InputError, match="at most"):
        Answer("confirm", "same_person", "alice", "n" * (MOST_NOTE + 1))
    with pytest.raises(InputError, match="the reason has 7,000 characters") as found:
        reject_request(workspace, "req_x", reason=long, actor="alice")
    assert "secret" not in str(found.value)
    require_short(None, "nothing", most=1)


@pytest.mark.parametrize(
    ("consent", "contact", "error", "words"),
    [("c" * 1001, None, InputError, "consent"), ("c", "k" * 1001, InputError, "contact")],
)
def test_a_person_is_not_enrolled_with_references_too_long_to_keep(
    workspace: Workspace, consent: str, contact: str | None, error: type[LikenessError], words: str
) -> None:
    identity = Identity(("Testina Examplesdaughter",), consent=consent, contact=contact)
    with pytest.raises(error, match=words):
        enrol(workspace, identity, workspace.now() + timedelta(days=1))


@pytest.mark.parametrize("expires", [datetime.max.replace(tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)])
def test_a_consent_that_never_ends_is_refused(workspace: Workspace, expires: datetime) -> None:
    identity = Identity(("Testina Examplesdaughter",), consent="c", contact=None)
    with pytest.raises(EnrolmentError, match="expiry"):
        enrol(workspace, identity, expires)


def enrol(workspace: Workspace, identity: Identity, expires_at: datetime) -> None:
    with workspace.database.write() as tx:
        insert_subject(
            tx, workspace, identity=identity, references=[], expires_at=expires_at, active=False, actor="alice"
        )


def test_a_period_may_reach_to_both_ends_of_the_calendar(workspace: Workspace) -> None:
    with workspace.database.read() as connection:
        whole = summarise_period(connection, first_day=date.min, last_day=date.max)
    assert whole.removals == 0


def test_a_setting_may_go_by_its_earlier_name_which_is_told_but_not_by_both(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "likeness.toml"
    file.write_text("[sweep]\nhit_rate_items = 7\nmax_hit_rate = 0.25\n", encoding="utf-8")
    sweep = load_config(Environment(home=tmp_path)).sweep
    assert (sweep.min_items_for_rates, sweep.max_hit_rate) == (7, 0.25)
    assert "sweep.min_items_for_rates" in caplog.text
    file.write_text("[sweep]\nhit_rate_items = 7\nmin_items_for_rates = 7\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="one setting"):
        load_config(Environment(home=tmp_path))
