"""What a candidate would hit is known before anything is compared, exactly, and more people decide where it is much."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import CorruptionError, EnrolmentError, StateError
from pipelines.cases.approval import approvals_needed, enrol_subject, names_of_candidate, preview_subject
from pipelines.cases.impact import Impact, measure_impact
from pipelines.cases.requests import (
    accept_request,
    get_request,
    open_request,
    preview_request,
    reject_request,
    seen_digest,
)
from pipelines.cli import main
from pipelines.database import tables
from pipelines.database.tables import metadata
from pipelines.hits.listing import list_hits
from pipelines.home import actors, audit
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.matching.galleries import candidate_gallery
from pipelines.policy.schema import EnrolmentSettings
from pipelines.registry.references import Reference
from pipelines.registry.subjects import Identity, list_subjects
from pipelines.runs.compaction import compact
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import sweep
from pipelines.runs.verify import verify
from tests.conftest import KEY, Clock, use_fakes
from tests.embeddings.model_files import model_file
from tests.fakes import WHITE, person, picture, vectors_of_colours
from tests.pipelines.corpus.test_compaction import cut
from tests.pipelines.matching.pooling_scene import drawn, post, see_drawings
from tests.platform_actions import NAME, agree, ask_for_removal, enrol, references, source_of, upload

LIMITS = EnrolmentSettings(min_items=200, second_approval_items=1000, second_approval_share=0.01, refuse_share=0.05)
CANDIDATES = ("Nora Nullname", "Ada Firstname", "Bela Secondname", "Cora Thirdname", "Dina Fourthname")
NOTHING = Impact(0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, measured=True)


def limit(workspace: Workspace, **values: Any) -> None:
    """Put these limits of the policy in force; shares count from the first item on unless ``min_items`` is given."""
    settings = replace(LIMITS, **{"min_items": 1, **values})
    file = replace(workspace.policy.settings, enrolment=settings)
    workspace.policy = replace(workspace.policy, settings=file)  # type: ignore[misc]


def measure(workspace: Workspace, read: Sequence[Reference], *names: str) -> Impact:
    with workspace.database.read() as connection:
        gallery = candidate_gallery(workspace, connection, read)
    return measure_impact(workspace, gallery, names=names_of_candidate(names) if names else None)


def average(*numbers: int) -> list[Reference]:
    """A poisoned reference: the mean of several people's vectors, which is near to each of them."""
    mean = vectors_of_colours([person(number) for number in numbers]).mean(axis=0)
    (one,) = [mean / np.linalg.norm(mean)]
    return [Reference(vector=one.astype(np.float32), crop=np.zeros((112, 112, 3), np.uint8), detector_score=0.9)]


def fill(workspace: Workspace, uploads: Path, *, items: int = 12, persons: int = 4) -> None:
    """Item ``n`` shows person ``n % persons``, one uploader each."""
    for number in range(items):
        upload(uploads, f"{number:03}.png", picture(person(number % persons)), uploader=f"user-{number % persons}")
    enrol(workspace, person(150))
    sweep(workspace, source_of(uploads), day=None)


def fill_at_random(workspace: Workspace, uploads: Path, seed: int) -> None:
    """Pictures of several people, of a few uploaders and models; in several shards; some gone, changed or not seen."""
    random = np.random.default_rng(seed)
    enrol(workspace, person(0), days=400)
    cut(workspace)
    for part in range(3):
        for number in range(8):
            shown = [
                WHITE if one == 5 else person(int(one)) for one in random.integers(0, 6, size=random.integers(1, 5))
            ]
            more: dict[str, Any] = {"uploader": f"user-{random.integers(4)}"} if random.random() < 0.8 else {}
            more |= {"parent_model": f"model-{random.integers(3)}"} if random.random() < 0.7 else {}
            more |= {"prompt": f"a portrait of {random.choice(CANDIDATES)}"} if random.random() < 0.3 else {}
            upload(uploads, f"{part}-{number}.png", picture(*shown), **more)
        sweep(workspace, source_of(uploads), day=None)
    for number in range(2):
        upload(uploads, f"0-{number}.png", picture(person(1)), deleted=bool(number))
    (uploads / "1-0.png").write_bytes(picture(person(int(random.integers(0, 3)))))
    sweep(workspace, source_of(uploads), day=None)
    if seed % 2:
        compact(workspace)
    upload(uploads, "late.png", picture(person(1), person(2)))


def what_is_hit(workspace: Workspace, subject_id: str) -> dict[str, int]:
    """The counts of an impact, from the hits that stand."""
    with workspace.database.read() as connection:
        found = list_hits(connection, subject_id=subject_id)
        uploaders = {row.item_id: row.uploader for row in connection.execute(sa.select(tables.items))}
    return {
        "items": len({hit.item_id for hit in found}),
        "faces": sum(hit.tier == "face" for hit in found),
        "uploaders": len({uploaders[hit.item_id] for hit in found} - {None}),
        "models": len({hit.parent_model for hit in found} - {None}),
    }


def largest_share(workspace: Workspace, subject_id: str, *, scannable: int) -> float:
    """By face, by text, and by either, from the hits that stand; of sets too small to say anything, of any size."""
    with workspace.database.read() as connection:
        found = list_hits(connection, subject_id=subject_id)
        live = connection.execute(sa.select(tables.items).where(tables.items.c.live)).all()
    texts = sum(row.text_digest is not None for row in live)
    by = {tier: len({hit.item_id for hit in found if hit.tier == tier}) for tier in ("face", "text")}
    either = len({hit.item_id for hit in found}) / scannable
    return max(by["face"] / scannable, by["text"] / texts if texts else 0.0, either)


def counts_of(impact: Impact) -> dict[str, int]:
    return {name: getattr(impact, name) for name in ("items", "faces", "uploaders", "models")}


def everything(workspace: Workspace) -> dict[str, list[Any]]:
    with workspace.database.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table)).all()))
            for table in metadata.sorted_tables
        }


def audit_rows(workspace: Workspace, action: str) -> list[dict[str, Any]]:
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(tables.audit).where(tables.audit.c.action == action))
        return [{"actor": row.actor, **json.loads(row.facts)} for row in rows]


@pytest.mark.fewer_on_postgresql(seed=2)  # one that is compacted, one that is not
@pytest.mark.parametrize("seed", range(4))
def test_a_preview_counts_exactly_what_the_rescan_then_finds(workspace: Workspace, uploads: Path, seed: int) -> None:
    fill_at_random(workspace, uploads, seed)
    seen = []
    for candidate in range(1, 5):
        request = ask_for_removal(workspace, person(candidate), name=CANDIDATES[candidate])
        impact, approvals = preview_request(workspace, request.request_id, actor="tester")
        assert impact == measure(workspace, references(workspace, person(candidate)), CANDIDATES[candidate])
        assert (approvals, impact.measured, impact.unseen) == ("one", True, 0)
        accepted = accept_request(workspace, request.request_id, actor="tester")
        assert accepted.impact == impact
        rescan(workspace)
        assert counts_of(impact) == what_is_hit(workspace, request.subject_id)
        assert impact.share == largest_share(workspace, request.subject_id, scannable=impact.scannable)
        seen.append(impact.items)
    assert sum(seen) > 10


def test_a_preview_counts_what_pictures_show_together_as_the_rescan_finds_it(
    workspace: Workspace, uploads: Path
) -> None:
    see_drawings(workspace)
    enrol(workspace, person(150))
    for number in range(3):
        post(uploads, f"together-{number}", drawn(1, number))
        post(uploads, f"others-{number}", drawn(7, number), model="n")
    for number in range(2):
        post(uploads, f"too-few-{number}", drawn(1, 10 + number), model="o")
    sweep(workspace, source_of(uploads), day=None)
    request = ask_for_removal(workspace, person(1))
    impact, approvals = preview_request(workspace, request.request_id, actor="tester")
    assert (impact.items, impact.together, impact.faces, approvals) == (3, 3, 0, "one")
    assert (impact.share, impact.models, impact.uploaders) == (3 / 8, 1, 1)
    accept_request(workspace, request.request_id, actor="tester")
    rescan(workspace)
    assert counts_of(impact) == what_is_hit(workspace, request.subject_id)
    limit(workspace, refuse_share=0.3)
    assert approvals_needed(impact, workspace.policy.settings.enrolment) == "refused", "3 of 8 items"


def test_a_preview_counts_no_pool_that_lost_a_picture_and_embeds_nothing_again(
    workspace: Workspace, uploads: Path, clock: Clock
) -> None:
    cut(workspace, max_age_days=30)
    see_drawings(workspace)
    enrol(workspace, person(150))
    for number in range(3):
        post(uploads, f"{number}", drawn(1, number))
    sweep(workspace, source_of(uploads), day=None)
    assert measure(workspace, references(workspace, person(1))).together == 3
    with workspace.database.write() as tx:  # as a listing does, before anything is pooled again
        tx.execute(sa.update(tables.items).where(tables.items.c.item_id == "2.png").values(live=False))
    assert measure(workspace, references(workspace, person(1))).together == 0
    with workspace.database.write() as tx:
        tx.execute(sa.update(tables.items).values(live=True))
    clock.forward(days=31)
    assert measure(workspace, references(workspace, person(1))).together == 0


def test_several_references_are_searched_together_and_a_face_counts_once(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    one = measure(workspace, references(workspace, person(1)))
    both = measure(workspace, references(workspace, person(1), person(1)))
    assert one == both
    assert counts_of(one) == {"items": 3, "faces": 3, "uploaders": 1, "models": 0}
    assert (one.scannable, one.share, one.largest_uploader_share) == (12, 0.25, 1.0)


def test_a_name_that_half_the_platform_says_is_measured_like_a_face(workspace: Workspace, uploads: Path) -> None:
    for number in range(6):
        upload(uploads, f"prompt-{number}.png", picture(person(90)), prompt="masterpiece, best quality", uploader="one")
    fill(workspace, uploads, items=6)
    upload(uploads, "broken.png", b"not a picture", prompt="Best Quality render")
    sweep(workspace, source_of(uploads), day=None)
    impact = measure(workspace, references(workspace, person(80)), "Best Quality")
    assert (impact.items, impact.faces, impact.scannable, impact.share, impact.compared) == (7, 0, 12, 1.0, 7)
    limit(workspace, refuse_share=0.5, min_items=12)
    impact = measure(workspace, references(workspace, person(80)), "Best Quality")
    assert (impact.share, impact.compared) == (7 / 13, 13), "of seven texts a share says nothing, of everything it does"
    assert approvals_needed(impact, workspace.policy.settings.enrolment) == "refused"


def test_a_name_that_is_a_common_phrase_is_refused_although_no_picture_can_be_scanned(
    workspace: Workspace, uploads: Path
) -> None:
    for number in range(20):
        asks = "a LoRA of a quiet village in the rain" if number else "a LoRA of a castle"
        upload(uploads, f"bounty-{number:02}", b"text", kind="bounty", title=asks, uploader=f"user-{number}")
    upload(uploads, "scenery.png", picture(person(90)))
    enrol(workspace, person(150))
    sweep(workspace, source_of(uploads), day=None)
    limit(workspace, min_items=20, refuse_share=0.2)
    impact = measure(workspace, references(workspace, person(80)), "Quiet Village")
    assert (impact.items, impact.scannable, impact.share, impact.compared) == (
        19,
        1,
        19 / 21,
        21,
    )  # a file's name is a text
    assert approvals_needed(impact, workspace.policy.settings.enrolment) == "refused"
    with pytest.raises(EnrolmentError, match="refused"):
        enrol_subject(
            workspace,
            identity=Identity(("Quiet Village",), "c", None),
            references=references(workspace, person(80)),
            expires_at=workspace.now().replace(year=2027),
            actor="tester",
        )


def test_a_name_that_fills_the_headers_of_model_files_is_measured_among_them(
    workspace: Workspace, uploads: Path
) -> None:
    for number in range(10):
        header = {"ss_output_name": "quiet village" if number < 5 else "castle"}
        upload(uploads, f"{number}.safetensors", model_file(header, payload=bytes([number])), title=f"upload {number}")
    for number in range(30):
        upload(uploads, f"{number}.png", picture(person(90)), prompt=f"picture {number}")
    enrol(workspace, person(150))
    sweep(workspace, source_of(uploads), day=None)
    limit(workspace, min_items=10)
    impact = measure(workspace, references(workspace, person(80)), "Quiet Village")
    assert (impact.items, impact.share, impact.compared) == (5, 0.5, 10)


def test_a_picture_of_the_canary_is_nobodys_hit(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    before = measure(workspace, references(workspace, person(1)))
    upload(uploads, "canary.png", picture((255, 0, 255)))
    sweep(workspace, source_of(uploads), day=None)
    after = measure(workspace, references(workspace, person(1)))
    assert (after.items, after.scannable) == (before.items, before.scannable + 1)


def test_a_platform_without_items_is_measured_and_holds_nothing(workspace: Workspace) -> None:
    assert measure(workspace, references(workspace, person(1))) == replace(NOTHING, share_of=0, together=0)


def test_measuring_writes_nothing(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    before, files = everything(workspace), sorted(workspace.corpus.folder.iterdir())
    measure(workspace, references(workspace, person(1)))
    assert everything(workspace) == before
    assert sorted(workspace.corpus.folder.iterdir()) == files


def test_i8_a_preview_leaves_one_audit_row_of_counts_and_no_trace_of_the_person(
    workspace: Workspace, uploads: Path
) -> None:
    fill(workspace, uploads)
    before = everything(workspace)
    preview_subject(workspace, references(workspace, person(1)), names=names_of_candidate([NAME]), actor="curious")
    after = everything(workspace)
    assert {name for name in before if before[name] != after[name]} == {"audit", "state"}
    (row,) = audit_rows(workspace, "subject.preview")
    assert (row["actor"], row["items"], row["scannable"], row["needed"]) == ("curious", 3, 12, "one")
    assert NAME not in repr(after)


def test_i7_a_damaged_shard_stops_the_preview_instead_of_counting_less(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    for path in workspace.corpus.folder.iterdir():
        path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    with pytest.raises(CorruptionError):
        measure(workspace, references(workspace, person(1)))


def test_a_compaction_meanwhile_changes_no_count(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_at_random(workspace, uploads, seed=2)
    expected = measure(workspace, references(workspace, person(1)))
    calls = Counter[str]()

    def compact_after_the_first(stage: str, done: int, total: int, detail: str = "") -> None:
        calls[stage] += 1
        if calls[stage] == 1:
            compact(workspace)

    with workspace.database.read() as connection:
        gallery = candidate_gallery(workspace, connection, references(workspace, person(1)))
    assert measure_impact(workspace, gallery, progress=compact_after_the_first) == expected
    assert calls["preview"] > 1


def test_an_average_of_many_faces_is_refused_and_stored_nowhere(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    limit(workspace, second_approval_share=0.3, refuse_share=0.5)
    identity = Identity((NAME,), "c", None)
    expires_at = workspace.now().replace(year=2027)
    with pytest.raises(EnrolmentError, match="12 items, 100 % of the 12") as caught:
        enrol_subject(
            workspace, identity=identity, references=average(0, 1, 2, 3), expires_at=expires_at, actor="tester"
        )
    assert caught.value.reason == "refused"
    assert NAME not in str(caught.value)
    with workspace.database.read() as connection:
        assert len(list_subjects(connection)) == 1  # the one who was there
    subject_id, _, impact = enrol_subject(
        workspace, identity=identity, references=references(workspace, person(1)), expires_at=expires_at, actor="t"
    )
    rescan(workspace)
    assert counts_of(impact) == what_is_hit(workspace, subject_id)


def test_a_request_with_a_poisoned_reference_is_refused_by_whoever_accepts_it(
    workspace: Workspace, uploads: Path
) -> None:
    fill(workspace, uploads)
    limit(workspace, second_approval_share=0.3, refuse_share=0.5)
    request = open_request(
        workspace, names=[NAME], references=average(0, 1, 2, 3), contact="c", consent=None, actor="tester"
    )
    for actor in ("first", "second", "first"):
        with pytest.raises(EnrolmentError, match="refused"):
            accept_request(workspace, request.request_id, actor=actor)
    with workspace.database.read() as connection:
        kept = get_request(connection, request.request_id)
    assert (kept.state, kept.first_approval) == ("previewed", None)
    assert kept.impact is not None
    assert kept.impact.items == 12
    assert reject_request(workspace, request.request_id, reason="mixed faces", actor="first").state == "rejected"


@pytest.mark.parametrize(
    ("first", "other_name", "second"),
    [("first", " First", "second"), ("uid:{uid}:alice", "uid:{uid}:bob", "uid:4242:carol")],
    ids=["named", "accounts"],
)
def test_two_approvals_by_one_person_do_not_count(
    workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch, first: str, other_name: str, second: str
) -> None:
    first, other_name = (name.format(uid=os.getuid()) for name in (first, other_name))
    fill(workspace, uploads)
    limit(workspace, second_approval_share=0.2, refuse_share=0.5)
    request = ask_for_removal(workspace, person(1))
    waiting = agree(workspace, request.request_id, first)
    assert (waiting.state, waiting.first_approval) == ("previewed", first)
    for name in (first, other_name):
        with pytest.raises(StateError, match="somebody else has to"):
            agree(workspace, request.request_id, name)
    rescan(workspace)
    assert what_is_hit(workspace, request.subject_id)["items"] == 0
    if second.startswith("uid:"):
        monkeypatch.setattr(os, "getuid", lambda: 4242)
    accepted = agree(workspace, request.request_id, second)
    assert (accepted.state, accepted.first_approval) == ("accepted", first)
    rescan(workspace)
    assert what_is_hit(workspace, request.subject_id)["items"] == 3
    assert [row["actor"] for row in audit_rows(workspace, "request.first_approval")] == [first]
    assert [row["actor"] for row in audit_rows(workspace, "request.accept")] == [second]
    previews = [row["actor"] for row in audit_rows(workspace, "request.preview")]
    assert previews == [name for name in (first, first, other_name, second) for _ in range(2)]
    with workspace.database.read() as connection:
        audit.verify(connection, workspace.sealer)
    assert all(finding.ok for finding in verify(workspace))


def test_an_approval_by_a_mere_name_does_not_count_beside_an_account(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    limit(workspace, second_approval_share=0.2, refuse_share=0.5)
    request = ask_for_removal(workspace, person(1))
    agree(workspace, request.request_id, "alice")  # as the command line once recorded it
    account = actors.account()
    waiting = agree(workspace, request.request_id, account)
    assert (waiting.state, waiting.first_approval) == ("previewed", account)


def test_whoever_approves_a_broad_request_names_the_preview_that_they_saw(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    limit(workspace, second_approval_share=0.2, refuse_share=0.6)
    request_id = ask_for_removal(workspace, person(1)).request_id
    with pytest.raises(StateError, match=r"--expect [0-9a-f]{32}`"):
        accept_request(workspace, request_id, actor="first")
    impact, _ = preview_request(workspace, request_id, actor="first")
    upload(uploads, "came-meanwhile.png", picture(person(1)), uploader="somebody-else")
    sweep(workspace, source_of(uploads), day=None)
    with pytest.raises(StateError, match="not what the preview showed"):
        accept_request(workspace, request_id, actor="first", seen=seen_digest(request_id, impact))
    with workspace.database.read() as connection:
        assert get_request(connection, request_id).first_approval is None


@pytest.mark.parametrize(("more", "state"), [(0, "accepted"), (2, "previewed")], ids=["as it was", "much larger"])
def test_an_approval_does_not_speak_for_what_came_after_it(
    workspace: Workspace, uploads: Path, more: int, state: str
) -> None:
    fill(workspace, uploads)
    limit(workspace, second_approval_share=0.2, refuse_share=0.9)
    request_id = ask_for_removal(workspace, person(1)).request_id
    agree(workspace, request_id, "first")
    for number in range(more):
        upload(uploads, f"more-{number}.png", picture(person(1)), uploader="somebody-else")
    sweep(workspace, source_of(uploads), day=None)
    after = agree(workspace, request_id, "second")
    assert (after.state, after.first_approval) == (state, "second" if more else "first")


def test_a_subject_that_needs_two_people_is_sent_to_a_request(workspace: Workspace, uploads: Path) -> None:
    fill(workspace, uploads)
    limit(workspace, second_approval_items=3, refuse_share=1.0, second_approval_share=1.0)
    with pytest.raises(EnrolmentError, match="likeness request open") as caught:
        enrol_subject(
            workspace,
            identity=Identity((NAME,), "c", None),
            references=references(workspace, person(1)),
            expires_at=workspace.now().replace(year=2027),
            actor="tester",
        )
    assert caught.value.reason == "second_approval"
    with workspace.database.read() as connection:
        assert len(list_subjects(connection)) == 1


@pytest.mark.parametrize("rule", [{"mode": "none"}, {"max_age_days": 30}], ids=["none", "aged"])
def test_faces_that_are_not_stored_are_counted_as_unseen_and_need_a_second_person(
    workspace: Workspace, uploads: Path, clock: Clock, rule: dict[str, Any]
) -> None:
    cut(workspace, **rule)
    fill(workspace, uploads)
    clock.forward(days=29)
    upload(uploads, "new.png", picture(person(1)))
    if "mode" not in rule:
        enrol(workspace, person(151), days=300)
        sweep(workspace, source_of(uploads), day=None)
        clock.forward(days=2)
    request = ask_for_removal(workspace, person(1))
    impact, approvals = preview_request(workspace, request.request_id, actor="tester")
    assert (approvals, impact.measured, impact.unseen) == ("two", False, 12)
    assert impact.items == (0 if "mode" in rule else 1)
    limit(workspace, min_items=1, refuse_share=1.0)
    again, _ = preview_request(workspace, request.request_id, actor="tester")
    if "mode" in rule:
        assert not again.measured
    else:  # one item that was seen, found, and therefore as good as all of the unseen
        assert (again.measured, again.expected_items, again.share) == (True, 13, 1.0)


def test_a_preview_uses_no_vector_that_must_not_be_kept(workspace: Workspace, uploads: Path, clock: Clock) -> None:
    fill(workspace, uploads)
    cut(workspace, max_age_days=30)
    clock.forward(days=31)
    impact = measure(workspace, references(workspace, person(1)))
    assert (impact.items, impact.unseen) == (0, 12)


shares = st.floats(0, 1)
impacts = st.builds(
    Impact,
    *(st.integers(0, 5000) for _ in range(7)),
    share=shares,
    largest_uploader_share=shares,
    measured=st.booleans(),
)


@given(impacts, st.integers(0, 3000), st.floats(0, 1))
def test_hitting_more_never_needs_fewer_people(impact: Impact, items: int, share: float) -> None:
    order = ("one", "two", "refused")
    settings = LIMITS
    more = replace(impact, expected_items=impact.expected_items + items, share=max(impact.share, share))
    needed, needed_by_more = (order.index(approvals_needed(one, settings)) for one in (impact, more))
    assert needed <= needed_by_more
    assert impact.measured or needed > 0


def test_shares_say_nothing_of_a_small_platform() -> None:
    settings = LIMITS
    broad = replace(NOTHING, items=150, expected_items=150, scannable=199, share=0.75)
    assert approvals_needed(broad, settings) == "one"
    assert approvals_needed(replace(broad, scannable=200), settings) == "refused"
    assert approvals_needed(replace(broad, measured=False), settings) == "two"


@pytest.fixture
def command_home(workspace: Workspace, uploads: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Commands on this very workspace: its models, its clock."""
    fill(workspace, uploads)

    def opened(environment: Any) -> Workspace:
        again = use_fakes(open_workspace(environment, now=workspace.now))
        again.policy = workspace.policy  # type: ignore[misc]
        smaller = replace(again.config.registry, min_reference_pixels=16, min_reference_score=0.5)
        again.config = replace(again.config, registry=smaller)
        return again

    monkeypatch.setattr("pipelines.cli.console.open_workspace", opened)
    return workspace


def run(workspace: Workspace, *arguments: str) -> Result:
    variables = {"LIKENESS_KEY": KEY, "LIKENESS_HOME": str(workspace.home)}
    variables["LIKENESS_DATABASE_URL"] = workspace.environment.database_url or ""
    return CliRunner().invoke(main, list(arguments), env=variables)


def test_the_commands_preview_refuse_and_wait_for_a_second_person(
    command_home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph = tmp_path / "reference.png"
    photograph.write_bytes(picture(person(1)))
    who = ("--name", NAME, "--reference", str(photograph))
    told = json.loads(run(command_home, "subject", "preview", *who, "--json").stdout)
    assert (told["items"], told["share"], told["approvals"], told["resembles"]) == (3, 0.25, "one", [])
    assert "approvals" in run(command_home, "subject", "preview", *who).stdout
    limit(command_home, second_approval_share=0.2, refuse_share=0.5)
    refused = run(command_home, "subject", "add", *who, "--consent", "c")
    assert refused.exit_code == 1
    assert "likeness request open" in refused.stderr
    opened = json.loads(run(command_home, "request", "open", *who, "--contact", "c", "--json").stdout)
    preview = json.loads(run(command_home, "request", "preview", opened["request_id"], "--json").stdout)
    assert (preview["items"], preview["approvals"]) == (3, "two")
    accept = ("request", "accept", opened["request_id"])
    blind = run(command_home, *accept)
    assert (blind.exit_code, f"--expect {preview['digest']}" in blind.stderr) == (1, True)
    waiting = run(command_home, *accept, "--expect", preview["digest"], "--json")
    assert json.loads(waiting.stdout)["state"] == "previewed"
    assert "another person has to accept it too" in waiting.stderr
    for name in ("LOGNAME", "USER", "SUDO_UID", "SUDO_USER"):
        monkeypatch.setenv(name, "4242" if name == "SUDO_UID" else "somebody-else")
    assert run(command_home, *accept, "--expect", preview["digest"]).exit_code == 1
    assert json.loads(run(command_home, "request", "list", "--json").stdout)[0]["impact"]["items"] == 3
    assert "impact" not in run(command_home, "request", "list").stdout
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    accepted = json.loads(run(command_home, *accept, "--expect", preview["digest"], "--json").stdout)
    assert accepted["state"] == "accepted"
    limit(command_home, second_approval_share=0.1, refuse_share=0.2)
    refused = run(command_home, "subject", "add", *who, "--consent", "c")
    assert (refused.exit_code, "refused" in refused.stderr, NAME in refused.stderr) == (1, True, False)
