"""What people do on the sample platform: register, ask for removal, approve, decide, change their minds, withdraw.

Each function uses the library calls behind the commands, and yields what came out wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from embeddings.errors import EnrolmentError, StateError
from pipelines.cases.requests import accept_request, open_request, preview_request, reject_request, seen_digest
from pipelines.decisions.decide import Word, decide, undo
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.judging.simulation import simulate
from pipelines.policy import load_policy
from pipelines.registry.references import Reference, read_references
from pipelines.registry.subjects import Identity, insert_subject
from pipelines.runs.delivery import deliver, open_client
from pipelines.sample.expectation import CONFIRMED, REJECTED, REVERSED, SECOND_THOUGHTS, SIMULATED
from pipelines.sample.policies import OTHER_POLICY_FILE, UNDO_MINUTES
from pipelines.sample.truth import ALPHA, PlantedSubject, SamplePlatform
from pipelines.takedown.dispatcher import DispatchSummary, dispatch
from pipelines.takedown.outbox import WITHDRAWAL
from pipelines.takedown.receiver import Receiver

ACTOR = "sample"


def register(workspace: Workspace, person: PlantedSubject) -> str:
    """Register somebody who opts out before there are any uploads; returns the subject id."""
    read = _read(workspace, person.references)
    identity = Identity(names=person.names, consent="sample-consent", contact=None, exclusions=person.exclusions)
    with workspace.database.write() as tx:
        subject_id, _ = insert_subject(
            tx,
            workspace,
            identity=identity,
            references=read,
            expires_at=workspace.now() + timedelta(days=30),
            active=True,
            actor=ACTOR,
        )
    return subject_id


def ask_for_removal(workspace: Workspace, person: PlantedSubject) -> tuple[str, str]:
    """Open a request; returns its id and the subject's."""
    request = open_request(
        workspace,
        names=person.names,
        references=_read(workspace, person.references),
        contact="sample-contact",
        consent=None,
        exclusions=person.exclusions,
        actor=ACTOR,
    )
    return request.request_id, request.subject_id


def try_to_enrol_everybody(workspace: Workspace, platform: SamplePlatform) -> Iterator[str]:
    """Ask for removal with a face that is in much of the platform, which nobody may accept."""
    person = PlantedSubject("delta", ("Sample Subject Delta",), (), platform.registered.references)
    request_id, _ = ask_for_removal(workspace, person)
    try:
        accept_request(workspace, request_id, actor="first operator")
        yield "a request that would hit over a third of the platform was accepted"
    except EnrolmentError as error:
        if error.reason != "refused":
            yield f"a request that would hit over a third of the platform was answered with {error.reason}"
    reject_request(workspace, request_id, reason="the reference shows somebody else", actor=ACTOR)


def accept_between_two(workspace: Workspace, request_id: str) -> Iterator[str]:
    """Accept a request that would hit a fifth of the platform: one person alone cannot, two can, even if wrongly."""

    def accept(actor: str) -> str:
        impact, _ = preview_request(workspace, request_id, actor=actor)
        return accept_request(workspace, request_id, actor=actor, seen=seen_digest(request_id, impact)).state

    if accept("first operator") != "previewed":
        yield "one person alone accepted a request that needs two"
    for name in ("first operator", "First Operator "):
        with suppress(StateError):  # the refusal that is wanted
            accept(name)
            yield "the same person accepted a request twice"
    with suppress(StateError):  # the refusal that is wanted
        accept_request(workspace, request_id, actor="second operator")
        yield "a request that needs two was accepted by somebody who had not seen what it would hit"
    if accept("second operator") != "accepted":
        yield "two people could not accept a request"


def decide_all(workspace: Workspace, platform: SamplePlatform, alpha: str, receiver: Receiver) -> Iterator[str]:
    """Make the analyst's decisions, with a delivery inside the undo window, which sends nothing, and one after it."""

    def say(case: str, word: Word, reason: str) -> str:
        with workspace.database.read() as connection:
            found = list_hits(connection, item_id=platform.item(case), subject_id=alpha)
        summary = decide(workspace, [hit.hit_id for hit in found], decision=word, reason=reason, actor="analyst")
        return str(summary.batch_id)

    arrived = len(receiver.cases())
    hasty = say(SECOND_THOUGHTS, "confirm", "same_person")
    reversed_later = say(REVERSED, "confirm", "same_person")
    for case, reason in CONFIRMED.items():
        say(case, "confirm", reason)
    say(REJECTED, "reject", "consented")
    deliver(workspace)
    if len(receiver.cases()) != arrived:
        yield "a decision left before the time to undo it was over"
    undo(workspace, hasty, actor="analyst")
    deliver_later(workspace)
    sent = {case["item_id"] for case in receiver.cases()[arrived:]}
    for case in (REVERSED, *CONFIRMED):
        if platform.item(case) not in sent:
            yield f"{case}: confirmed, but not delivered after the time to undo it"
    undo(workspace, reversed_later, actor="analyst")


def deliver_copies(workspace: Workspace, receiver: Receiver) -> Iterator[str]:
    """Deliver the messages of the confirmations, which wait until these can no longer be undone."""
    arrived = len(receiver.cases())
    deliver(workspace)
    if any(case["action"] != WITHDRAWAL for case in receiver.cases()[arrived:]):
        yield "a copy left before the time to undo its confirmation was over"
    deliver_later(workspace)


def simulate_other_policy(workspace: Workspace, platform: SamplePlatform, labels: Mapping[str, str]) -> Iterator[str]:
    """Judge everything by the other policy, and name the verdicts that would change otherwise than planted."""
    found = simulate(workspace, load_policy(workspace.home / OTHER_POLICY_FILE), most_listed=1000)
    names = {upload.item_id: upload.case for upload in platform.planted}
    changed = {
        (names.get(one.item_id, one.item_id), labels[one.subject_id]): (one.after, one.rule_after)
        for one in found.changes
    }
    planted = {(case, ALPHA): verdict for case, verdict in SIMULATED.items()}
    for case, label in sorted(changed.keys() | planted.keys()):
        got, wanted = changed.get((case, label)), planted.get((case, label))
        if got != wanted:
            yield f"under the other policy: {case} and {label}: {got}, expected {wanted}"


def deliver_later(workspace: Workspace, *, minutes: int = UNDO_MINUTES) -> DispatchSummary:
    """Deliver as if it were ``minutes`` later; by default, when the time to undo is over."""
    with open_client(workspace) as client:
        return dispatch(
            workspace.database,
            client,
            config=workspace.config.takedown,
            failpoints=workspace.failpoints,
            now=lambda: workspace.now() + timedelta(minutes=minutes),
            owner=ACTOR,
            progress=None,
        )


def _read(workspace: Workspace, files: tuple[Path, ...]) -> list[Reference]:
    return read_references(
        [path.read_bytes() for path in files],
        workspace.models,
        limits=workspace.limits,
        decoder=workspace.decoder,
        config=workspace.config.registry,
        agreement=workspace.thresholds.review,
    )
