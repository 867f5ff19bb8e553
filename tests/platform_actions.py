"""What people and programs do to the platform in the tests: upload, delete, enrol, ask for removal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.cases.requests import RemovalRequest, accept_request, open_request, preview_request, seen_digest
from pipelines.decisions.decide import REASONS, DecisionSummary, Word, decide
from pipelines.hits.listing import list_hits
from pipelines.home.workspace import Workspace
from pipelines.registry.references import Reference, read_references
from pipelines.registry.subjects import Identity, insert_subject
from pipelines.runs.sweep import SweepSummary, sweep
from pipelines.settings.config import RegistryConfig
from tests.fakes import Colour, person, picture

NAME = "Testina Examplesdaughter"
DAY = datetime(2026, 2, 27, 10, tzinfo=UTC)


def upload(folder: Path, name: str, data: bytes, *, received: datetime = DAY, **sidecar: object) -> str:
    """Put a file and its side-car on the platform; returns the item id. What was deleted is uploaded again by its name:
    a deletion stands until a row undoes it."""
    (folder / name).write_bytes(data)
    beside = folder / f"{name}.json"
    deleted = beside.exists() and json.loads(beside.read_text(encoding="utf-8")).get("deleted") is not None
    again = {"deleted": False} if deleted else {}
    values = {"received_at": received.isoformat(), **again, **sidecar}
    beside.write_text(json.dumps(values), encoding="utf-8")
    return name


def references(workspace: Workspace, *colours: Colour) -> list[Reference]:
    """One reference per colour."""
    return read_references(
        [picture(colour) for colour in colours],
        workspace.models,
        limits=workspace.limits,
        config=RegistryConfig(min_reference_pixels=16, min_reference_score=0.5),
        agreement=workspace.thresholds.review,
    )


def enrol(workspace: Workspace, colour: Colour, *, name: str = NAME, days: float = 30) -> str:
    """Register the person of this colour; returns the subject id."""
    return register(workspace, references(workspace, colour), name=name, days=days)


def register(workspace: Workspace, read: list[Reference], *, name: str = NAME, days: float = 30) -> str:
    """Register the person whom these references show; returns the subject id."""
    with workspace.database.write() as tx:
        subject_id, _ = insert_subject(
            tx,
            workspace,
            identity=Identity(names=(name,), consent="consent-1", contact=None),
            references=read,
            expires_at=workspace.now() + timedelta(days=days),
            active=True,
            actor="tester",
        )
    return subject_id


def ask_for_removal(workspace: Workspace, colour: Colour, *, name: str = NAME) -> RemovalRequest:
    """Open a removal request for the person of this colour."""
    return open_request(
        workspace,
        names=[name],
        references=references(workspace, colour),
        contact="case-1",
        consent=None,
        actor="tester",
    )


def agree(workspace: Workspace, request_id: str, actor: str) -> RemovalRequest:
    """Accept a request as one who has looked at its preview."""
    impact, _ = preview_request(workspace, request_id, actor=actor)
    return accept_request(workspace, request_id, actor=actor, seen=seen_digest(request_id, impact))


def source_of(folder: Path) -> str:
    """The source URI of an upload folder."""
    return f"directory:{folder}"


def night(workspace: Workspace, uploads: Path) -> SweepSummary:
    """Sweep everything in an upload folder."""
    return sweep(workspace, source_of(uploads), day=None)


def show(uploads: Path, name: str, *people: int, model: str | None = "m", **sidecar: object) -> None:
    """Upload a picture of these people, and of a stranger, so that no two pictures are alike."""
    stranger = person(10 + ord(name) % 40)
    upload(uploads, f"{name}.png", picture(*(person(one) for one in people), stranger), parent_model=model, **sidecar)


def say(workspace: Workspace, item_id: str, word: Word = "confirm", *, reason: str | None = None) -> DecisionSummary:
    """Decide every hit in force on an item, for the first of the reasons that there are unless another is given."""
    with workspace.database.read() as connection:
        found = [hit.hit_id for hit in list_hits(connection, item_id=item_id)]
    return decide(workspace, found, decision=word, reason=reason or REASONS[word][0], actor="ann")
