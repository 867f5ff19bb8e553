"""An opt-out is changed within the limits of an enrolment; what finds more is compared, what finds less falls."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from embeddings.errors import EnrolmentError, InputError, StateError
from pipelines.cases.ending import withdraw
from pipelines.cases.losing import Lost
from pipelines.cases.subject_update import Change, Updated, preview_update, update_subject
from pipelines.database import tables
from pipelines.decisions.decide import decide
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.matching import comparison
from pipelines.registry.renewal import renew
from pipelines.registry.subjects import show_identity
from pipelines.registry.templates import list_references
from pipelines.runs.rescan import rescan, wanted_rescans
from pipelines.runs.sweep import sweep
from tests.conftest import Clock
from tests.fakes import person, picture
from tests.platform_actions import NAME, ask_for_removal, enrol, references, source_of, upload
from tests.platform_facts import failing, messages_of, statuses

OTHER = "Zelda Quagmire"
"""An alias that nothing else resembles."""


def update(workspace: Workspace, subject_id: str, change: Change, actor: str = "ann", **more: Any) -> Updated:
    return update_subject(workspace, subject_id, change, actor=actor, **more)


def hits_of(workspace: Workspace) -> set[tuple[str, str]]:
    with workspace.database.read() as connection:
        return {(hit.item_id, hit.tier) for hit in list_hits(connection)}


def reference_ids(workspace: Workspace, subject_id: str) -> list[str]:
    with workspace.database.read() as connection:
        return [row.reference_id for row in list_references(connection, subject_id)]


@pytest.fixture
def subject(workspace: Workspace, uploads: Path) -> str:
    """One person, found by face and by name; others, who are not."""
    subject_id = enrol(workspace, person(1))
    upload(uploads, "face.png", picture(person(1)), parent_model="m")
    upload(uploads, "face2.png", picture(person(1), person(41)), parent_model="m")
    upload(uploads, "other.png", picture(person(2)))
    upload(uploads, "named.png", picture(person(50)), title=f"by {NAME}")
    upload(uploads, "alias.png", picture(person(51)), title=f"by {OTHER}")
    sweep(workspace, source_of(uploads), day=None)
    return subject_id


def test_i2_a_new_alias_is_looked_for_in_everything_there_is(workspace: Workspace, subject: str) -> None:
    done = update(workspace, subject, Change(add_aliases=(OTHER,)))
    assert (done.in_force, done.rescan, done.approvals) == (True, True, "one")
    assert ("alias.png", "text") not in hits_of(workspace)
    assert len(wanted_rescans(workspace).keys) == 1
    rescan(workspace)
    assert ("alias.png", "text") in hits_of(workspace)
    assert wanted_rescans(workspace).keys == ()
    assert failing(workspace) == set()


def test_i2_a_new_reference_is_compared_with_every_face(workspace: Workspace, uploads: Path) -> None:
    seen, added, reached = person(3), person(19), person(22)  # one person by the first two, found by the second alone
    subject_id = enrol(workspace, seen)
    upload(uploads, "before.png", picture(reached))
    sweep(workspace, source_of(uploads), day=None)
    assert hits_of(workspace) == set()
    done = update(workspace, subject_id, Change(add_references=tuple(references(workspace, added))))
    assert set(done.reference_ids) < set(reference_ids(workspace, subject_id))
    rescan(workspace)
    upload(uploads, "after.png", picture(reached))
    sweep(workspace, source_of(uploads), day=None)
    assert hits_of(workspace) == {("before.png", "face"), ("after.png", "face")}
    assert failing(workspace) == set()


def test_what_a_removed_alias_found_falls_at_once_with_its_message_and_comes_back_with_it(
    workspace: Workspace, subject: str
) -> None:
    before = (hits_of(workspace), statuses(workspace), messages_of(workspace))
    update(workspace, subject, Change(add_aliases=(OTHER,)))
    rescan(workspace)
    done = update(workspace, subject, Change(remove_aliases=(f"  {OTHER.upper()} ",)))
    assert done.hits_dropped == 1
    assert (hits_of(workspace), statuses(workspace), messages_of(workspace)) == before
    rescan(workspace)
    assert (hits_of(workspace), statuses(workspace), messages_of(workspace)) == before
    assert failing(workspace) == set()
    update(workspace, subject, Change(add_aliases=(OTHER,)))
    rescan(workspace)
    assert ("alias.png", "text") in hits_of(workspace)
    assert failing(workspace) == set()


def test_what_a_change_takes_along_is_told_before_by_doing_it_and_rolling_it_back(
    workspace: Workspace, uploads: Path, subject: str
) -> None:
    update(workspace, subject, Change(add_aliases=(OTHER,)))
    rescan(workspace)
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection, item_id="alias.png")
    decide(workspace, [hit.hit_id], decision="confirm", reason="named_person", actor="bob")
    before = (hits_of(workspace), statuses(workspace), messages_of(workspace))
    shown = preview_update(workspace, subject, Change(remove_aliases=(OTHER,)), actor="ann")
    assert shown.lost == Lost(hits=1, items=1, confirmed=1, takedowns=1, reviews=0, messages=0), (
        "what a person decided stands"
    )
    assert (hits_of(workspace), statuses(workspace), messages_of(workspace)) == before
    upload(uploads, "alias2.png", picture(person(53)), title=f"by {OTHER}")
    sweep(workspace, source_of(uploads), day=None)
    with pytest.raises(StateError, match="not what the preview showed"):
        update(workspace, subject, Change(remove_aliases=(OTHER,)), seen=shown.digest)
    assert before[0] < hits_of(workspace), "and nothing was changed"
    shown = preview_update(workspace, subject, Change(remove_aliases=(OTHER,)), actor="ann")
    done = update(workspace, subject, Change(remove_aliases=(OTHER,)), seen=shown.digest)
    assert done.lost == shown.lost == Lost(hits=2, items=2, confirmed=1, takedowns=1, reviews=1, messages=0)
    assert failing(workspace) == set()


def test_messages_of_a_machine_that_rested_on_a_wrong_reference_are_taken_back(
    workspace: Workspace, subject: str
) -> None:
    (wrong,) = reference_ids(workspace, subject)
    change = Change(remove_references=(wrong,), add_references=tuple(references(workspace, person(60))), keep_all=True)
    shown = preview_update(workspace, subject, change, actor="ann")
    assert shown.lost is not None
    assert (shown.lost.hits, shown.lost.items, shown.lost.takedowns, shown.lost.messages) == (2, 2, 2, 3)
    update(workspace, subject, change, seen=shown.digest)
    assert {item_id for item_id, state in messages_of(workspace) if state != "withdrawn"} == set()


def test_what_finds_more_alone_takes_nothing_along(workspace: Workspace, subject: str) -> None:
    assert preview_update(workspace, subject, Change(add_aliases=(OTHER,)), actor="ann").lost is None


def test_a_name_that_another_name_finds_in_the_same_place_stays_and_says_by_which(
    workspace: Workspace, uploads: Path, subject: str
) -> None:
    upload(uploads, "both.png", picture(person(52)), title=f"{OTHER} who is {NAME}")
    update(workspace, subject, Change(add_aliases=(OTHER,)))
    sweep(workspace, source_of(uploads), day=None)
    rescan(workspace)
    assert ("both.png", "text") in hits_of(workspace)
    update(workspace, subject, Change(remove_aliases=(OTHER,)))
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection, item_id="both.png")
    assert hit.match == "full_name"
    rescan(workspace)
    assert ("both.png", "text") in hits_of(workspace)
    assert failing(workspace) == set()


def test_an_exclusion_drops_what_it_explains_and_its_removal_finds_it_again(workspace: Workspace, subject: str) -> None:
    phrase = f"by {NAME}"
    assert update(workspace, subject, Change(add_exclusions=(phrase,))).hits_dropped == 1
    assert ("named.png", "text") not in hits_of(workspace)
    assert statuses(workspace)["named.png"] == "clean"
    update(workspace, subject, Change(remove_exclusions=(phrase,)))
    rescan(workspace)
    assert ("named.png", "text") in hits_of(workspace)
    assert failing(workspace) == set()


def test_two_references_of_one_photograph_go_together(workspace: Workspace, subject: str) -> None:
    (first,) = reference_ids(workspace, subject)
    update(workspace, subject, Change(add_references=tuple(references(workspace, person(1)))))
    assert len(reference_ids(workspace, subject)) == 2
    with pytest.raises(InputError, match="at least one reference has to stay"):
        update(workspace, subject, Change(remove_references=(first,)))


def test_a_removed_reference_is_gone_with_its_hits_until_the_rescan_finds_them_by_the_other(
    workspace: Workspace, subject: str, uploads: Path
) -> None:
    (first,) = reference_ids(workspace, subject)
    (added,) = references(workspace, person(1))
    added.crop[0, 0, 0] ^= 1  # another photograph
    done = update(workspace, subject, Change(add_references=(added,)))
    rescan(workspace)
    found = hits_of(workspace)
    removed = update(workspace, subject, Change(remove_references=(first,)))
    assert removed.hits_dropped == 2
    assert reference_ids(workspace, subject) == list(done.reference_ids)
    assert hits_of(workspace) == {pair for pair in found if pair[1] != "face"}
    assert {state for _, state in messages_of(workspace)} <= {"withdrawn"}, "nothing that it carried is sent"
    rescan(workspace)
    assert hits_of(workspace) == found
    with workspace.database.read() as connection:
        assert {hit.reference_id for hit in list_hits(connection, tier="face")} == set(done.reference_ids)
    assert failing(workspace) == set()


def test_a_comparison_that_was_under_way_enters_nothing_by_a_removed_reference(
    workspace: Workspace, subject: str, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = reference_ids(workspace, subject)
    (added,) = references(workspace, person(1))
    added.crop[0, 0, 0] ^= 1
    upload(uploads, "late.png", picture(person(1)), title=NAME)
    compare, waiting = comparison.compare_kept, [Change(add_references=(added,), remove_references=(first,))]

    def late(*arguments: Any, **options: Any) -> Any:
        compared = compare(*arguments, **options)
        if waiting:
            update(workspace, subject, waiting.pop())
        return compared

    monkeypatch.setattr("pipelines.matching.comparison.compare_kept", late)
    sweep(workspace, source_of(uploads), day=None)
    monkeypatch.undo()
    assert waiting == []
    with workspace.database.read() as connection:
        assert first not in {hit.reference_id for hit in list_hits(connection)}
    rescan(workspace)
    assert {("late.png", "face"), ("late.png", "text")} <= hits_of(workspace)
    assert failing(workspace) == set()


def test_what_a_person_confirmed_stands_though_its_name_is_looked_for_no_more(
    workspace: Workspace, subject: str
) -> None:
    update(workspace, subject, Change(add_aliases=(OTHER,)))
    rescan(workspace)
    with workspace.database.read() as connection:
        (hit,) = list_hits(connection, item_id="alias.png")
    decide(workspace, [hit.hit_id], decision="confirm", reason="named_person", actor="ann")
    assert ("alias.png", "pending") in messages_of(workspace)
    update(workspace, subject, Change(remove_aliases=(OTHER,)))
    assert ("alias.png", "pending") in messages_of(workspace)
    assert ("alias.png", "text") not in hits_of(workspace)
    with pytest.raises(StateError, match="not in force"):
        decide(workspace, [hit.hit_id], decision="reject", reason="other_person", actor="ann")


def test_case_contact_and_consent_change_nothing_that_is_compared(workspace: Workspace, subject: str) -> None:
    change = Change(case_reference="C-17", contact="case-9", consent="consent-2")
    done = update(workspace, subject, change)
    assert (done.rescan, done.hits_dropped, done.impact) == (False, 0, None)
    assert wanted_rescans(workspace).keys == ()
    identity = show_identity(workspace, subject, actor="ann")
    assert (identity.case_reference, identity.contact, identity.consent) == ("C-17", "case-9", "consent-2")
    again = update(workspace, subject, Change(case_reference="C-17", add_aliases=(NAME,)))
    assert (again.in_force, again.rescan) == (True, False), "what is so already is no fault"


# The limits of an enrolment


@pytest.fixture
def crowded(workspace: Workspace, uploads: Path) -> str:
    """A person of whom nothing is there, on a platform with forty items of which ten name somebody."""
    subject_id = enrol(workspace, person(1))
    for number in range(40):
        title = f"by {OTHER}" if number < 10 else "a landscape"
        upload(uploads, f"{number}.png", picture(person(60 + number)), title=title, uploader=f"u{number}")
    sweep(workspace, source_of(uploads), day=None)
    settings = workspace.policy.settings
    limits = replace(settings.enrolment, min_items=20, second_approval_share=0.1, refuse_share=0.5)
    workspace.policy = replace(workspace.policy, settings=replace(settings, enrolment=limits))  # type: ignore[misc]
    return subject_id


def test_an_update_is_no_way_around_the_two_people_who_have_to_agree(workspace: Workspace, crowded: str) -> None:
    change = Change(add_aliases=(OTHER,))
    shown = preview_update(workspace, crowded, change, actor="ann")
    assert (shown.approvals, shown.impact and shown.impact.items) == ("two", 10)
    with pytest.raises(StateError, match="two people have to agree"):
        update(workspace, crowded, change)
    assert not update(workspace, crowded, change, seen=shown.digest).in_force
    with pytest.raises(StateError, match="you approved it already"):
        update(workspace, crowded, change, seen=shown.digest)
    assert OTHER not in show_identity(workspace, crowded, actor="ann").names
    other = Change(add_aliases=(OTHER, "Somebody Entirelyelse"))
    digest = preview_update(workspace, crowded, other, actor="bob").digest
    assert not update(workspace, crowded, other, "bob", seen=digest).in_force, "another change is another approval"
    digest = preview_update(workspace, crowded, change, actor="ann").digest
    assert not update(workspace, crowded, change, "ann", seen=digest).in_force
    digest = preview_update(workspace, crowded, change, actor="bob").digest
    assert update(workspace, crowded, change, "bob", seen=digest).in_force
    assert OTHER in show_identity(workspace, crowded, actor="ann").names


def test_an_update_that_would_hit_too_much_is_refused_to_everybody(workspace: Workspace, crowded: str) -> None:
    change = Change(add_aliases=("Landscape",))
    shown = preview_update(workspace, crowded, change, actor="ann")
    assert shown.approvals == "refused"
    with pytest.raises(EnrolmentError, match="refused"):
        update(workspace, crowded, change, seen=shown.digest)


def test_an_approval_is_of_what_was_seen_and_of_nothing_that_came_since(
    workspace: Workspace, crowded: str, uploads: Path
) -> None:
    change = Change(add_aliases=(OTHER,))
    shown = preview_update(workspace, crowded, change, actor="ann")
    for number in range(40, 44):
        upload(uploads, f"{number}.png", picture(person(60 + number)), title=f"by {OTHER}")
    sweep(workspace, source_of(uploads), day=None)
    with pytest.raises(StateError, match="not what the preview showed"):
        update(workspace, crowded, change, seen=shown.digest)


def test_an_approval_on_record_does_not_say_which_name(workspace: Workspace, crowded: str) -> None:
    change = Change(add_aliases=(OTHER,))
    shown = preview_update(workspace, crowded, change, actor="ann")
    update(workspace, crowded, change, seen=shown.digest)
    with workspace.database.read() as connection:
        kept = connection.execute(sa.select(tables.subjects.c.update_approval)).scalar_one()
        facts = connection.execute(sa.select(tables.audit.c.facts)).scalars().all()
    assert json.loads(kept)["actor"] == "ann"
    assert not [text for text in (kept, *facts) if "Zelda" in text or "Quagmire" in text]


# What cannot be


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(), "what is to be changed"),
        (Change(remove_aliases=("Nobody Known",)), "none of this person's"),
        (Change(remove_aliases=(NAME,)), "full name, which stays"),
        (Change(remove_exclusions=("hush",)), "none of this person's"),
        (Change(remove_references=("ref_none",)), "none of this person's"),
        (Change(case_reference="x" * 1001), "case reference has 1,001 characters"),
    ],
)
def test_a_change_that_cannot_be_made_says_why_and_repeats_nothing(
    change: Change, words: str, workspace: Workspace, subject: str
) -> None:
    with pytest.raises(InputError, match=words) as error:
        update(workspace, subject, change)
    assert not any(text in str(error.value) for text in ("Testina", "Nobody", "hush", "xxx"))


def test_a_reference_of_somebody_else_is_refused_with_its_score(workspace: Workspace, subject: str) -> None:
    with pytest.raises(EnrolmentError, match=r"disagree: reference 1 .*similarity -?[0-9.]+, needed") as error:
        update(workspace, subject, Change(add_references=tuple(references(workspace, person(2)))))
    assert error.value.positions == (1,)


def test_the_last_reference_stays(workspace: Workspace, subject: str) -> None:
    (only,) = reference_ids(workspace, subject)
    with pytest.raises(InputError, match="at least one"):
        update(workspace, subject, Change(remove_references=(only,)))


def test_only_who_takes_part_is_updated(workspace: Workspace, subject: str) -> None:
    change = Change(case_reference="C-1")
    request = ask_for_removal(workspace, person(3))
    with pytest.raises(StateError, match="not accepted yet"):
        update(workspace, request.subject_id, change)
    withdraw(workspace, subject, actor="ann")
    with pytest.raises(StateError, match="withdrawn"):
        update(workspace, subject, change)


def test_i12_an_update_while_the_consent_is_over_is_compared_once_it_is_renewed(
    workspace: Workspace, subject: str, uploads: Path, clock: Clock
) -> None:
    enrol(workspace, person(2), name="Wholly Otherwise", days=500)
    clock.forward(days=29)
    rescan(workspace)
    clock.forward(days=2)
    update(workspace, subject, Change(add_aliases=(OTHER,)))
    rescan(workspace)
    assert ("alias.png", "text") not in hits_of(workspace)
    renew(workspace, subject, expires_at=clock() + timedelta(days=30), actor="ann")
    rescan(workspace)
    assert {("alias.png", "text"), ("named.png", "text"), ("face.png", "face")} <= hits_of(workspace)
    assert failing(workspace) == set()
