"""Which photographs become templates, and what the registry keeps of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from embeddings.errors import CorruptionError, EnrolmentError, NotReadyError, StateError
from pipelines.cases.ending import erase
from pipelines.cases.requests import accept_request, list_requests, reject_request
from pipelines.database import tables
from pipelines.database.registry_version import registry_version
from pipelines.home.workspace import Workspace
from pipelines.matching.galleries import load_gallery
from pipelines.registry.references import Reference, read_references, resemblances
from pipelines.registry.subjects import Identity, active_versions, insert_subject, list_subjects, show_identity
from pipelines.settings.config import RegistryConfig
from tests.fakes import WHITE, person, picture
from tests.platform_actions import NAME, ask_for_removal, enrol, references

pytestmark = pytest.mark.any_database

SMALL = RegistryConfig(min_reference_pixels=16, min_reference_score=0.5)


def read(workspace: Workspace, *photographs: bytes, config: RegistryConfig = SMALL) -> list[Reference]:
    return read_references(
        photographs, workspace.models, limits=workspace.limits, config=config, agreement=workspace.thresholds.review
    )


@pytest.mark.parametrize(
    ("photographs", "config", "reason"),
    [
        ([], SMALL, "no_reference"),
        ([picture(WHITE)], SMALL, "no_face"),
        ([picture(person(1), person(2))], SMALL, "several_faces"),
        ([picture(person(1))[:50]], SMALL, "unscannable"),
        ([b"not a picture"], SMALL, "unscannable"),
        ([picture(person(1))], replace(SMALL, min_reference_pixels=65), "unclear_face"),
        ([picture(person(1))], replace(SMALL, min_reference_score=0.95), "unclear_face"),
        ([picture(person(1)), picture(person(2))], SMALL, "disagree"),
        ([picture(person(1)), picture(person(1)), picture(person(2)), picture(person(2))], SMALL, "disagree"),
    ],
)
def test_a_photograph_that_cannot_be_a_reference_says_why(
    workspace: Workspace, photographs: list[bytes], config: RegistryConfig, reason: str
) -> None:
    with pytest.raises(EnrolmentError) as caught:
        read(workspace, *photographs, config=config)
    assert caught.value.reason == reason


def test_one_clear_face_beside_an_unclear_one_is_a_reference(workspace: Workspace) -> None:
    (reference,) = read(workspace, picture(person(1), WHITE))
    assert reference.crop.shape == (112, 112, 3)
    assert np.linalg.norm(reference.vector) == pytest.approx(1.0, abs=1e-5)


def test_a_reference_of_somebody_registered_is_pointed_out(workspace: Workspace) -> None:
    first = enrol(workspace, person(1))
    enrol(workspace, person(2))
    with workspace.database.read() as connection:
        active = active_versions(connection, now=workspace.now())
        gallery = load_gallery(workspace, connection, subject_ids=active)
    assert list(resemblances(references(workspace, person(1)), gallery, threshold=0.363)) == [first]
    assert not resemblances(references(workspace, person(3)), gallery, threshold=0.363)


def test_each_change_of_what_is_compared_raises_the_registry_version(workspace: Workspace) -> None:
    def version() -> int:
        with workspace.database.read() as connection:
            return registry_version(connection)

    seen = [version()]
    subject = enrol(workspace, person(1))
    seen.append(version())
    request = ask_for_removal(workspace, person(2))
    assert version() == seen[-1]  # pending: nothing is compared yet
    accept_request(workspace, request.request_id, actor="t")
    seen.append(version())
    erase(workspace, subject, actor="t")
    seen.append(version())
    assert seen == sorted(set(seen))


def test_i8_erasing_removes_key_templates_and_identity_and_keeps_the_opaque_id(workspace: Workspace) -> None:
    subject = enrol(workspace, person(1))
    assert show_identity(workspace, subject, actor="t").names == (NAME,)
    erase(workspace, subject, actor="t")
    with workspace.database.read() as connection:
        for table in (tables.subject_keys, tables.templates):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 0
        (row,) = list_subjects(connection)
    assert (row.subject_id, row.state, row.templates) == (subject, "erased", 0)
    with pytest.raises(StateError, match="nothing personal is kept"):
        show_identity(workspace, subject, actor="t")
    erase(workspace, subject, actor="t")  # once more is no error: it empties the log again


def test_an_unknown_subject_cannot_be_erased(workspace: Workspace) -> None:
    with pytest.raises(StateError, match="no such subject"):
        erase(workspace, "sub_unknown", actor="t")


def test_a_look_at_an_identity_is_recorded(workspace: Workspace) -> None:
    subject = enrol(workspace, person(1))
    show_identity(workspace, subject, actor="curious")
    with workspace.database.read() as connection:
        last = connection.execute(sa.select(tables.audit).order_by(tables.audit.c.seq.desc())).first()
    assert last is not None
    assert (last.actor, last.action) == ("curious", "subject.view")
    assert subject in last.facts


def test_a_consent_that_has_run_out_already_is_refused(workspace: Workspace) -> None:
    read_now = references(workspace, person(1))
    with pytest.raises(EnrolmentError, match="expired"), workspace.database.write() as tx:
        insert_subject(
            tx,
            workspace,
            identity=Identity((NAME,), "c", None),
            references=read_now,
            expires_at=workspace.now() - timedelta(seconds=1),
            active=True,
            actor="t",
        )


def test_a_request_is_decided_once(workspace: Workspace) -> None:
    request = ask_for_removal(workspace, person(1))
    accept_request(workspace, request.request_id, actor="t")
    for decide in (accept_request, lambda *a, **k: reject_request(*a, reason="r", **k)):
        with pytest.raises(StateError, match="already"):
            decide(workspace, request.request_id, actor="t")
    with pytest.raises(StateError, match="no such request"):
        accept_request(workspace, "req_unknown", actor="t")


def test_erasing_a_subject_ends_its_open_request(workspace: Workspace) -> None:
    request = ask_for_removal(workspace, person(1))
    erase(workspace, request.subject_id, actor="t")
    with workspace.database.read() as connection:
        assert [r.state for r in list_requests(connection)] == ["withdrawn"]


def test_i7_a_template_that_was_tampered_with_stops_the_gallery(workspace: Workspace) -> None:
    first, second = enrol(workspace, person(1)), enrol(workspace, person(2))
    with workspace.database.write() as tx:
        sealed = tx.execute(
            sa.select(tables.templates.c.sealed_vector).where(tables.templates.c.subject_id == second)
        ).scalar_one()
        tx.execute(
            sa.update(tables.templates).where(tables.templates.c.subject_id == first).values(sealed_vector=sealed)
        )
    with pytest.raises(CorruptionError), workspace.database.read() as connection:
        load_gallery(workspace, connection, subject_ids=[first, second])


def test_i7_a_subject_without_a_template_stops_the_gallery(workspace: Workspace) -> None:
    subject = enrol(workspace, person(1))
    with workspace.database.write() as tx:
        tx.execute(sa.delete(tables.templates))
    with pytest.raises(NotReadyError, match="go unseen"), workspace.database.read() as connection:
        load_gallery(workspace, connection, subject_ids=[subject])
