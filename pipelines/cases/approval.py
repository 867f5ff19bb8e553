"""How many people must agree before somebody is enrolled: one, two, or none can.

The policy's ``[enrolment]`` judges a preview (:mod:`pipelines.cases.impact`). A candidate found in ``refuse_share`` of
the platform is a wrong template, or a poisoned one, and is refused. A candidate that cannot be previewed needs a second
person. Every preview leaves an audit row, with counts and no names.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from embeddings.errors import EnrolmentError, InputError
from indexes.name_rules import SubjectNames
from pipelines.cases.impact import Impact, measure_impact
from pipelines.home import audit
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.matching.galleries import CANDIDATE, candidate_gallery, load_gallery
from pipelines.policy.schema import EnrolmentSettings
from pipelines.registry.identities import Identity, open_names
from pipelines.registry.references import Reference
from pipelines.registry.subjects import insert_subject

Approvals = Literal["one", "two", "refused"]
_COUNTS = ("items", "faces", "together", "uploaders", "models", "scannable", "unseen", "expected_items")


def approvals_needed(impact: Impact, settings: EnrolmentSettings) -> Approvals:
    """Return the approvals that the policy asks for. A share of fewer than ``min_items`` things counts for nothing."""
    share = impact.share if impact.compared >= settings.min_items else 0.0
    if impact.items and share >= settings.refuse_share:
        return "refused"
    if not impact.measured or impact.expected_items >= settings.second_approval_items:
        return "two"
    return "two" if impact.items and share >= settings.second_approval_share else "one"


def names_of_candidate(names: Sequence[str], exclusions: Sequence[str] = ()) -> SubjectNames:
    """Return the names of a person who is not in the registry in the form that the matcher takes."""
    return SubjectNames(CANDIDATE, tuple(names), tuple(exclusions))


def preview_subject(
    workspace: Workspace,
    references: Sequence[Reference],
    *,
    names: SubjectNames,
    actor: str,
    progress: Progress = silent,
) -> Impact:
    """Measure what a person with these references and names would hit, without storing them."""
    with workspace.database.read() as connection:
        gallery = candidate_gallery(workspace, connection, references)
    impact = measure_impact(workspace, gallery, names=names, progress=progress)
    _record(workspace, impact, actor=actor, action="subject.preview")
    return impact


def preview_change(
    workspace: Workspace,
    references: Sequence[Reference],
    *,
    names: SubjectNames,
    subject_id: str,
    actor: str,
    progress: Progress = silent,
) -> Impact:
    """Measure what a registered subject would hit with these references and names instead of its own."""
    with workspace.database.read() as connection:
        gallery = candidate_gallery(workspace, connection, references)
    impact = measure_impact(workspace, gallery, names=names, progress=progress)
    _record(workspace, impact, actor=actor, action="subject.update_preview", subject_id=subject_id)
    return impact


def preview_pending(
    workspace: Workspace, subject_id: str, *, request_id: str, actor: str, progress: Progress = silent
) -> Impact:
    """Measure what the pending subject of a request would hit.

    Raises :class:`NotReadyError` if it has no template of the models in force.
    """
    with workspace.database.read() as connection:
        gallery = load_gallery(workspace, connection, subject_ids=(subject_id,))
        (names,) = open_names(connection, workspace.sealer, (subject_id,))
    impact = measure_impact(workspace, gallery, names=names, progress=progress)
    _record(workspace, impact, actor=actor, action="request.preview", request_id=request_id, subject_id=subject_id)
    return impact


@acts
def enrol_subject(
    workspace: Workspace,
    *,
    identity: Identity,
    references: Sequence[Reference],
    expires_at: datetime,
    actor: str,
    progress: Progress = silent,
) -> tuple[str, tuple[str, ...], Impact]:
    """Add an active subject that needs one approval; return its id, its templates' ids and the previewed impact.

    Raises, storing nothing, :class:`EnrolmentError` (``refused`` or ``second_approval``), and :class:`InputError` for a
    consent that has ended.
    """
    if expires_at <= workspace.now():
        raise InputError("the consent has ended already: give a day to come")
    names = names_of_candidate(identity.names, identity.exclusions)
    impact = preview_subject(workspace, references, names=names, actor=actor, progress=progress)
    needed = approvals_needed(impact, workspace.policy.settings.enrolment)
    if needed == "refused":
        raise refusal(impact)
    if needed == "two":
        raise EnrolmentError(
            "second_approval",
            f"{in_words(impact)}; two people have to agree: open a request with `likeness request open`",
        )
    with workspace.database.write() as tx:
        subject_id, template_ids = insert_subject(
            tx,
            workspace,
            identity=identity,
            references=references,
            expires_at=expires_at,
            active=True,
            actor=actor,
        )
    return subject_id, template_ids, impact


def refusal(impact: Impact) -> EnrolmentError:
    """Return the error that says why nobody may enrol this candidate."""
    return EnrolmentError(
        "refused", f"{in_words(impact)}; that is no one person: check the references for mixed or generated faces"
    )


def covers(seen: Impact | None, now: Impact, *, growth: float) -> bool:
    """Whether an approval of the impact ``seen`` still covers the impact ``now``."""
    if seen is None:
        return False
    pairs = ((seen.expected_items, now.expected_items), (seen.unseen, now.unseen))
    return all(after <= before * (1 + growth) for before, after in pairs)


def in_words(impact: Impact) -> str:
    """Describe the preview in one clause, for people who decide by it."""
    if not impact.measured:
        return f"of {impact.scannable} items {impact.unseen} cannot be searched, so nobody knows how many would be hit"
    found = f"{impact.items} items, {100 * impact.share:.3g} % of the {impact.compared} that are compared alike,"
    unseen = f", {impact.unseen} more not searched" if impact.unseen else ""
    return f"it would hit {found} by {impact.uploaders} uploaders{unseen}"


def _record(workspace: Workspace, impact: Impact, *, actor: str, action: str, **ids: str) -> None:
    counts = {name: getattr(impact, name) for name in _COUNTS}
    with workspace.database.write() as tx:
        audit.append(
            tx,
            workspace.sealer,
            actor=actor,
            action=action,
            now=workspace.now(),
            needed=approvals_needed(impact, workspace.policy.settings.enrolment),
            **ids,
            **counts,
        )
