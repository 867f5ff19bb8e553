"""That a consent is over is read off the clock and written nowhere: a clock that is right again, or a renewal, finds
everything as it was, and has compared what it missed (I12, I2)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from embeddings.errors import EnrolmentError, InputError, StateError
from pipelines.cases.ending import erase, withdraw
from pipelines.database import tables
from pipelines.database.tables import examined
from pipelines.decisions.decide import decide
from pipelines.hits.listing import list_hits
from pipelines.hits.statuses import statuses_now
from pipelines.hits.verdicts import list_model_verdicts, list_verdicts
from pipelines.home import audit
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.matching import comparison
from pipelines.matching.coverage import unexamined_count
from pipelines.registry.renewal import renew
from pipelines.registry.subjects import list_subjects
from pipelines.runs.compaction import compact
from pipelines.runs.delivery import deliver
from pipelines.runs.rescan import rescan, wanted_rescans
from pipelines.runs.restore import compare
from pipelines.runs.sweep import measure_coverage, sweep
from pipelines.takedown.receiver import Receiver
from tests.conftest import START, Clock, believe_the_clock
from tests.examples import examples
from tests.fakes import person, picture
from tests.pipelines.runs.test_interleavings import platform_in
from tests.pipelines.takedown.delivering import SECRET
from tests.platform_actions import agree, ask_for_removal, enrol, source_of, upload
from tests.platform_facts import failing

LONG = 5000
"""Days of a consent that no test sees the end of."""


def set_clock(workspace: Workspace, clock: Clock, days: float) -> None:
    """The clock jumps, and somebody says that it is right."""
    clock.forward(days=days)
    believe_the_clock(workspace)


def state_of(workspace: Workspace) -> dict[str, Any]:
    """What an operator and the takedown service see: hits, verdicts, statuses, messages, people."""
    with workspace.database.read() as connection:
        messages = connection.execute(
            sa.select(*(tables.outbox.c[name] for name in ("action", "item_id", "subject_id", "state")))
        )
        return {
            "hits": {hit.hit_id for hit in list_hits(connection)},
            "verdicts": {(one.item_id, one.subject_id, one.verdict) for one in list_verdicts(connection)},
            "models": {(one.model, one.subject_id, one.verdict) for one in list_model_verdicts(connection)},
            "statuses": statuses_now(connection, Scope(None, None)),
            "messages": sorted(tuple(row) for row in messages),
            "subjects": {row.subject_id: row.state for row in list_subjects(connection)},
        }


def stored(workspace: Workspace) -> dict[str, str]:
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(tables.items.c.item_id, tables.items.c.status).where(tables.items.c.live))
        return {row.item_id: row.status for row in rows}


def version_of(workspace: Workspace, subject_id: str) -> int:
    with workspace.database.read() as connection:
        return next(row.version for row in list_subjects(connection) if row.subject_id == subject_id)


@pytest.fixture
def swept(workspace: Workspace, uploads: Path) -> Workspace:
    """One person whose consent ends in 30 days, and one whose does not; pictures of a model, a name, and messages."""
    enrol(workspace, person(1))
    enrol(workspace, person(2), name="Wholly Otherwise", days=LONG)
    for number in (1, 2):
        upload(uploads, f"{number}.png", picture(person(1), person(40 + number)), parent_model="m")
    upload(uploads, "other.png", picture(person(2)))
    upload(uploads, "named.png", picture(person(50)), title="by Testina Examplesdaughter")
    sweep(workspace, source_of(uploads), day=None)
    return workspace


def people(connection: Connection) -> list[str]:
    """Who is registered, the first to end first: several have been at one moment."""
    return [row.subject_id for row in sorted(list_subjects(connection), key=lambda row: row.expires_at)]


def who(workspace: Workspace, number: int = 0) -> str:
    with workspace.database.read() as connection:
        return people(connection)[number]


def test_i12_a_sweep_under_a_clock_far_ahead_changes_nothing_for_good(
    swept: Workspace, uploads: Path, clock: Clock
) -> None:
    before = state_of(swept)
    assert len(before["hits"]) == 4
    assert before["messages"]
    set_clock(swept, clock, 400)
    sweep(swept, source_of(uploads), day=None)
    rescan(swept)
    compact(swept, purge=True)
    ended = state_of(swept)
    assert ended["subjects"] == {who(swept): "expired", who(swept, 1): "active"}
    assert len(ended["hits"]) == 1
    assert {subject_id for _, subject_id, _ in ended["verdicts"] | ended["models"]} == {who(swept, 1)}
    assert ended["messages"] == before["messages"], "they rest"
    assert ended["statuses"] == {"clean": 3, "hit": 1}
    assert failing(swept) == set()
    set_clock(swept, clock, -400)
    assert state_of(swept) == before, "at once, before anything has run"
    sweep(swept, source_of(uploads), day=None)
    rescan(swept)
    assert state_of(swept) == before
    assert set(stored(swept).values()) == {"hit"}
    assert failing(swept) == set()


def test_i12_what_is_shown_says_the_same_before_a_run_has_taken_notice(swept: Workspace, clock: Clock) -> None:
    set_clock(swept, clock, 31)
    found = state_of(swept)
    assert (len(found["hits"]), found["statuses"]) == (1, {"clean": 3, "hit": 1})
    with swept.database.read() as connection:
        assert connection.execute(sa.select(tables.subjects.c.state).distinct()).scalars().all() == ["active"]


def test_i2_what_was_swept_while_a_consent_was_over_is_compared_when_it_is_not(
    swept: Workspace, uploads: Path, clock: Clock
) -> None:
    subject_id = who(swept)
    set_clock(swept, clock, 400)
    upload(uploads, "late.png", picture(person(1)))
    upload(uploads, "late_name.png", picture(person(51)), title="Testina Examplesdaughter again")
    sweep(swept, source_of(uploads), day=None)
    assert {stored(swept)[name] for name in ("late.png", "late_name.png")} == {"clean"}
    set_clock(swept, clock, -400)
    with swept.database.read() as connection:
        assert measure_coverage(connection, swept, Scope(None, None)).fraction < 1.0
        assert unexamined_count(connection, swept) == 6
    assert len(wanted_rescans(swept).keys) == 1
    rescan(swept)
    with swept.database.read() as connection:
        found = {hit.item_id for hit in list_hits(connection, subject_id=subject_id)}
        assert measure_coverage(connection, swept, Scope(None, None)).fraction == 1.0
        assert unexamined_count(connection, swept) == 0
    assert found >= {"late.png", "late_name.png"}
    assert wanted_rescans(swept).keys == ()
    assert failing(swept) == set()


def test_i2_a_copy_of_what_was_confirmed_that_came_in_meanwhile_is_found(
    swept: Workspace, uploads: Path, clock: Clock
) -> None:
    subject_id = who(swept)
    with swept.database.read() as connection:
        hit = next(hit for hit in list_hits(connection, item_id="1.png") if hit.tier == "face")
    decide(swept, [hit.hit_id], decision="confirm", reason="same_person", actor="tester")
    rescan(swept)
    set_clock(swept, clock, 400)
    upload(uploads, "copy.png", (uploads / "1.png").read_bytes())
    sweep(swept, source_of(uploads), day=None)
    set_clock(swept, clock, -400)
    sweep(swept, source_of(uploads), day=None)
    rescan(swept)
    with swept.database.read() as connection:
        assert {hit.tier for hit in list_hits(connection, item_id="copy.png", subject_id=subject_id)} >= {
            "face",
            "exact",
        }


@pytest.mark.parametrize("how", ["renewed", "the clock was wrong"])
def test_i2_an_end_in_the_middle_of_a_comparison_is_not_covered_by_it(
    how: str, swept: Workspace, uploads: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(uploads, "late.png", picture(person(1)), title="Testina Examplesdaughter")
    clock.forward(days=29)
    compare = comparison.compare_kept

    def late(*arguments: Any, **options: Any) -> Any:
        compared = compare(*arguments, **options)
        clock.forward(days=2)
        return compared

    monkeypatch.setattr("pipelines.matching.comparison.compare_kept", late)
    sweep(swept, source_of(uploads), day=None)
    monkeypatch.undo()
    assert {status for name, status in stored(swept).items() if name != "other.png"} == {"clean"}
    if how == "renewed":
        renew(swept, who(swept), expires_at=clock() + timedelta(days=30), actor="tester")
    else:  # and nothing has run since
        set_clock(swept, clock, -2)
        sweep(swept, source_of(uploads), day=None)
    rescan(swept)
    with swept.database.read() as connection:
        assert {hit.tier for hit in list_hits(connection, item_id="late.png")} == {"face", "text"}


def test_i12_nothing_is_sent_while_a_consent_is_over(swept: Workspace, clock: Clock) -> None:
    with Receiver("127.0.0.1", 0, [SECRET], log_path=None, now=clock) as receiver:
        swept.environment = point_at(swept, receiver.url)
        set_clock(swept, clock, 31)
        assert deliver(swept).sent == 0
        assert receiver.cases() == []
        set_clock(swept, clock, -31)
        assert deliver(swept).sent > 0
        assert receiver.cases()


def point_at(workspace: Workspace, url: str) -> Any:
    from dataclasses import replace

    return replace(workspace.environment, takedown_url=url, takedown_secrets=(SECRET,))


# Renewing


def test_a_renewal_before_the_end_changes_nothing_that_is_compared(swept: Workspace, clock: Clock) -> None:
    subject_id, before = who(swept), state_of(swept)
    version = version_of(swept, subject_id)
    assert not renew(swept, subject_id, expires_at=clock() + timedelta(days=60), actor="tester")
    assert version_of(swept, subject_id) == version
    assert wanted_rescans(swept).keys == ()
    clock.forward(days=29)
    rescan(swept)
    clock.forward(days=2)
    assert state_of(swept) == before
    assert failing(swept) == set()


def test_i12_a_renewal_after_the_end_brings_everything_back_and_asks_for_a_rescan(
    swept: Workspace, uploads: Path, clock: Clock
) -> None:
    subject_id, before = who(swept), state_of(swept)
    version = version_of(swept, subject_id)
    set_clock(swept, clock, 31)
    upload(uploads, "late.png", picture(person(1)))
    sweep(swept, source_of(uploads), day=None)
    assert renew(swept, subject_id, expires_at=clock() + timedelta(days=60), actor="tester", consent="consent-2")
    after = state_of(swept)
    assert after["hits"] == before["hits"]
    assert after["messages"] == before["messages"]
    assert version_of(swept, subject_id) > version
    assert len(wanted_rescans(swept).keys) == 1
    rescan(swept)
    with swept.database.read() as connection:
        assert [hit.item_id for hit in list_hits(connection, item_id="late.png")] == ["late.png"]
    assert failing(swept) == set()


def test_an_opt_out_that_an_older_version_ended_stays_over_until_it_is_renewed(
    swept: Workspace, uploads: Path, clock: Clock
) -> None:
    subject_id, before = who(swept), state_of(swept)
    with swept.database.write() as tx:  # what a home of before has
        own = sa.update(tables.subjects).where(tables.subjects.c.subject_id == subject_id)
        tx.execute(own.values(state="expired", ended_at=clock()))
        waiting = sa.and_(tables.outbox.c.subject_id == subject_id, tables.outbox.c.state == "pending")
        tx.execute(sa.update(tables.outbox).where(waiting).values(state="withdrawn", finished_at=clock()))
        audit.append(tx, swept.sealer, actor="expiry", action="subject.expired", now=clock(), subject_id=subject_id)
    rescan(swept)
    assert len(state_of(swept)["hits"]) == 1
    assert failing(swept) == set()
    assert renew(swept, subject_id, expires_at=clock() + timedelta(days=60), actor="tester")
    rescan(swept)
    after = state_of(swept)
    assert after["hits"] == before["hits"]
    assert [row for row in after["messages"] if row[3] != "withdrawn"] == before["messages"], "written anew"
    assert failing(swept) == set()
    assert compare(swept).agrees, "the witness remembers no end that a renewal undoes"


@pytest.mark.parametrize("ended", [withdraw, erase])
def test_what_somebody_ended_is_not_renewed(ended: Callable[..., None], swept: Workspace, clock: Clock) -> None:
    ended(swept, who(swept), actor="tester")
    with pytest.raises(StateError, match="added anew"):
        renew(swept, who(swept), expires_at=clock() + timedelta(days=60), actor="tester")
    with pytest.raises(StateError, match="no such subject"):
        renew(swept, "sub_none", expires_at=clock() + timedelta(days=60), actor="tester")


def test_a_renewal_names_a_later_day_within_the_limit(swept: Workspace, clock: Clock) -> None:
    for days, error in ((-1, InputError), (29, InputError), (40_000, EnrolmentError)):
        with pytest.raises(error):
            renew(swept, who(swept), expires_at=clock() + timedelta(days=days), actor="tester")


@pytest.mark.parametrize("end", [withdraw, erase])
def test_who_lapsed_may_still_withdraw(end: Callable[..., None], swept: Workspace, clock: Clock) -> None:
    set_clock(swept, clock, 31)
    rescan(swept)
    end(swept, who(swept), actor="tester")
    messages = {row[3] for row in state_of(swept)["messages"] if row[2] == who(swept)}
    assert messages == {"withdrawn"}
    assert failing(swept) == set()


def test_i12_a_request_whose_subject_lapsed_waits_for_the_renewal(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    enrol(workspace, person(2), days=LONG)
    upload(uploads, "a.png", picture(person(1)))
    sweep(workspace, source_of(uploads), day=None)
    request = ask_for_removal(workspace, person(1))
    set_clock(workspace, clock, 400)
    with pytest.raises(StateError, match="renew"):
        agree(workspace, request.request_id, "tester")
    renew(workspace, request.subject_id, expires_at=clock() + timedelta(days=30), actor="tester")
    assert state_of(workspace)["subjects"][request.subject_id] == "pending"
    agree(workspace, request.request_id, "tester")
    set_clock(workspace, clock, 31)
    rescan(workspace)
    assert wanted_rescans(workspace).keys == ()
    with pytest.raises(StateError, match="consent is over"):
        rescan(workspace, request_id=request.request_id)
    renew(workspace, request.subject_id, expires_at=clock() + timedelta(days=30), actor="tester")
    assert len(wanted_rescans(workspace).keys) == 1
    rescan(workspace)
    assert len(state_of(workspace)["hits"]) == 1
    assert failing(workspace) == set()


def test_every_reader_of_hits_says_whether_the_time_matters() -> None:
    """``live_hits`` is for what is judged and stored. What shows hits, or acts on them, asks for those in force."""
    asking = {
        path.as_posix()
        for path in Path(__file__).parents[3].joinpath("pipelines").rglob("*.py")
        if re.search(r"\blive_hits\(", path.read_text(encoding="utf-8"))
    }
    asking = {path.partition("/pipelines/")[2] for path in asking}
    assert asking <= {
        *("hits/counting.py", "judging/evidence.py", "judging/retractions.py"),
        "judging/request_progress.py",  # leaves out whom the time is over for by itself
        "cases/leaving.py",  # what an end takes away, whatever the time
        "evidence/kept.py",  # what is deleted for good
        "reviewing/notes.py",  # what is deleted for good
    }


def test_only_one_place_compares_a_consent_with_the_time() -> None:
    comparing = re.compile(r"expires_at\s*(<|>|<=|>=)\s*(now|workspace|moment)|state\s*==\s*\"active\"")
    found = {
        path.as_posix().partition("/pipelines/")[2]
        for path in Path(__file__).parents[3].joinpath("pipelines").rglob("*.py")
        if comparing.search(path.read_text(encoding="utf-8"))
    }
    assert found <= ALLOWED, "ask pipelines.database.in_force"


ALLOWED = {
    "database/in_force.py",
    "registry/endings.py",  # who ends soon
    "registry/subjects.py",  # of one who is added or accepted; and who was not noticed yet
    "registry/renewal.py",
    "cases/approval.py",
    "hits/statuses.py",  # whom no run has settled
    "runs/compaction.py",  # carries over what coverage says, whatever the time
    "runs/verify.py",  # active subjects have templates, whatever the time
    "judging/retractions.py",  # what is stored
}


# Random jumps

STEPS = ("ahead", "back", "sweep", "sweep", "rescan", "upload", "name", "delete", "compact", "renew")


def told(workspace: Workspace) -> dict[str, Any]:
    """What is true in the end, by what was uploaded and who was enrolled, not by ids that chance makes."""
    with workspace.database.read() as connection:
        order = {subject_id: number for number, subject_id in enumerate(people(connection))}
        messages = connection.execute(sa.select(tables.outbox)).all()
        return {
            "hits": {(hit.item_id, order[hit.subject_id], hit.tier) for hit in list_hits(connection)},
            "statuses": stored(workspace),
            "verdicts": {(one.item_id, order[one.subject_id], one.verdict) for one in list_verdicts(connection)},
            "messages": sorted(
                (row.action, row.item_id, order[row.subject_id], row.state)
                for row in messages
                if row.state != "withdrawn"  # of what was deleted: whether it was ever written depends on the order
            ),
            "subjects": {order[row.subject_id]: row.state for row in list_subjects(connection)},
            "examined": connection.execute(sa.select(sa.func.count()).select_from(examined)).scalar_one(),
        }


@settings(max_examples=examples(25))
@given(steps=st.lists(st.sampled_from(STEPS), max_size=8))
def test_i12_any_jumps_of_the_clock_end_where_an_undisturbed_platform_does(steps: list[str]) -> None:
    results = []
    for jumping in (True, False):
        with tempfile.TemporaryDirectory() as folder, platform_in(Path(folder)) as platform:
            workspace, clock = platform.workspace, platform.clock
            first = enrol(workspace, person(1))
            enrol(workspace, person(2), name="Wholly Otherwise", days=LONG)
            enrol(workspace, person(3), name="Thirdly Another", days=60)
            for number in range(3):
                upload(platform.folder, f"{number}.png", picture(person(number + 1)), parent_model="m")
            away = 0
            for number, step in enumerate(steps):
                if step in ("ahead", "back") and jumping:
                    jump = 45 if step == "ahead" else -away
                    away += jump
                    set_clock(workspace, clock, jump)
                elif step == "upload":
                    upload(platform.folder, f"late{number}.png", picture(person(1), person(3)), parent_model="m")
                elif step == "name":
                    upload(platform.folder, f"named{number}.png", picture(person(60)), title="Testina Examplesdaughter")
                elif step == "delete":
                    data = (platform.folder / "0.png").read_bytes()
                    upload(platform.folder, "0.png", data, parent_model="m", deleted=True)
                elif step == "renew":
                    renew(workspace, first, expires_at=START + timedelta(days=900 + number), actor="tester")
                elif step == "compact":
                    compact(workspace, purge=True)
                elif step in ("sweep", "rescan"):
                    (platform.sweep if step == "sweep" else platform.rescan)()
            if away:
                set_clock(workspace, clock, -away)
            platform.sweep()
            platform.rescan()
            assert failing(workspace) == set()
            results.append(told(workspace))
    assert results[0] == results[1]
