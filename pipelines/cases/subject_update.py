"""Changes an opt-out: references, aliases, exclusions, and the references of case, contact and consent.

A change that finds more (a reference or alias added, an exclusion removed) is judged like an enrolment of the changed
person: above the policy's limits it takes two people, or is refused. Every change of what must be compared gives the
subject a new version, so that a rescan is due; a change that finds less drops its evidence at once
(:mod:`pipelines.matching.dropping`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import EnrolmentError, InputError, LikenessError, StateError
from indexes.join import pair_scores
from indexes.name_rules import SubjectNames, require_usable
from pipelines.cases.approval import Approvals, approvals_needed, covers, in_words, preview_change, refusal
from pipelines.cases.impact import Impact
from pipelines.cases.losing import Lost, lost, read_resting
from pipelines.database.tables import subjects, templates
from pipelines.home import audit
from pipelines.home.actors import are_two_people, identity_of
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.matching.dropping import Dropped, drop_faces, drop_names, settle_dropped
from pipelines.registry.identities import Identity, require_short_identity, seal_identity, unseal_identity
from pipelines.registry.references import Reference
from pipelines.registry.renewal import require_renewable
from pipelines.registry.subjects import open_templates, stamp
from pipelines.registry.templates import insert_template, open_crops, open_subject_key, reference_weights
from pipelines.text.shown import digest_of


@dataclass(frozen=True, slots=True)
class Change:
    """The changes wanted. ``remove_references``: ids of templates; texts as they were entered."""

    add_references: tuple[Reference, ...] = field(default=(), repr=False)
    remove_references: tuple[str, ...] = ()
    add_aliases: tuple[str, ...] = field(default=(), repr=False)
    remove_aliases: tuple[str, ...] = field(default=(), repr=False)
    add_exclusions: tuple[str, ...] = field(default=(), repr=False)
    remove_exclusions: tuple[str, ...] = field(default=(), repr=False)
    case_reference: str | None = field(default=None, repr=False)
    contact: str | None = field(default=None, repr=False)
    consent: str | None = field(default=None, repr=False)
    keep_all: bool = False
    """The operator says that every new reference shows the person: none has to look like those that stay."""


@dataclass(frozen=True, slots=True)
class UpdatePreview:
    """What a change would do. ``impact``: of the person after the change, None where it can only find less; ``lost``:
    what it takes along, None where it can only find more; ``digest``: identifies the change and what it would do."""

    subject_id: str
    approvals: Approvals
    impact: Impact | None
    lost: Lost | None
    digest: str


@dataclass(frozen=True, slots=True)
class Updated:
    """What was done. ``in_force`` false: a second person has to enter the same change; ``rescan``: one is due;
    ``hits_dropped``: hits by what was removed; ``reference_ids``: ids of the references added."""

    subject_id: str
    in_force: bool
    rescan: bool
    reference_ids: tuple[str, ...]
    hits_dropped: int
    approvals: Approvals
    impact: Impact | None
    lost: Lost | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A change, applied to the subject's present data."""

    row: Row[Any]
    before: Identity = field(repr=False)
    after: Identity = field(repr=False)
    removed: tuple[str, ...]
    """Template ids, with those that other models made of the same photographs."""
    kept: tuple[Reference, ...] = field(repr=False)
    """The references that stay, as far as they have templates of the models in force."""
    added: tuple[Reference, ...] = field(repr=False)

    @property
    def finds_more(self) -> bool:
        """Whether the change may find more than now."""
        names, phrases = set(self.after.names) - set(self.before.names), set(self.before.exclusions)
        return bool(self.added or names or phrases - set(self.after.exclusions))

    @property
    def finds_less_by_name(self) -> bool:
        """Whether a hit by name may stop counting."""
        names, phrases = set(self.before.names) - set(self.after.names), set(self.after.exclusions)
        return bool(names or phrases - set(self.before.exclusions))

    @property
    def finds_less(self) -> bool:
        """Whether a hit may stop counting."""
        return self.finds_less_by_name or bool(self.removed)

    @property
    def compares(self) -> bool:
        """Whether the change concerns what must be compared."""
        return self.finds_more or self.finds_less

    @property
    def names(self) -> SubjectNames:
        """The names after the change."""
        return SubjectNames(self.row.subject_id, self.after.names, self.after.exclusions)


def preview_update(
    workspace: Workspace, subject_id: str, change: Change, *, actor: str, progress: Progress = silent
) -> UpdatePreview:
    """Tell what :func:`update_subject` would do now. Stores only an audit row with the counts of the impact: what the
    change takes along is the change itself, rolled back.

    Raises :class:`InputError` for an empty change, one that removes what is not there, or one that leaves no reference;
    :class:`EnrolmentError` for unusable names and references; :class:`StateError` for a subject that was ended or whose
    request is not accepted yet.
    """
    with workspace.database.read() as connection:
        plan = _plan(workspace, connection, subject_id, change)
    impact = None
    if plan.finds_more:
        references = (*plan.kept, *plan.added)
        impact = preview_change(
            workspace, references, names=plan.names, subject_id=subject_id, actor=actor, progress=progress
        )
    needed: Approvals = approvals_needed(impact, workspace.policy.settings.enrolment) if impact else "one"
    less = None
    if plan.finds_less:
        with workspace.database.write() as tx:
            plan = _plan(workspace, tx, subject_id, change)
            rehearsal = tx.begin_nested()
            _, _, less = _apply(tx, workspace, plan)
            rehearsal.rollback()
    told = [None if one is None else asdict(one) for one in (impact, less)]
    digest = digest_of([subject_id, plan.row.version, _mac(workspace, plan), *told])
    return UpdatePreview(subject_id, needed, impact, less, digest)


@acts
def update_subject(
    workspace: Workspace,
    subject_id: str,
    change: Change,
    *,
    actor: str,
    seen: str | None = None,
    progress: Progress = silent,
) -> Updated:
    """Change a subject, or record the first of two approvals.

    ``seen``: the digest of the preview that ``actor`` saw; needed where two people have to agree, each entering the
    same change. Raises what :func:`preview_update` raises, :class:`EnrolmentError` (``refused``) where nobody may make
    the change, and :class:`StateError` when a preview would differ now, or the same person approves again.
    """
    shown = preview_update(workspace, subject_id, change, actor=actor, progress=progress)
    growth = workspace.config.registry.approval_growth
    with workspace.database.write() as tx:
        plan = _plan(workspace, tx, subject_id, change)
        answer = _answer(plan, shown, _mac(workspace, plan), actor=actor, seen=seen, growth=growth)
        if answer == "first_approval":
            approval = {"actor": actor, "change": _mac(workspace, plan), "impact": asdict(shown.impact or _NOTHING)}
            own = sa.update(subjects).where(subjects.c.subject_id == subject_id)
            tx.execute(own.values(update_approval=json.dumps(approval, sort_keys=True)))
            _record(tx, workspace, "subject.update_approval", plan, change, actor=actor)
            return Updated(subject_id, False, False, (), 0, shown.approvals, shown.impact, None)
        if answer == "apply":
            added, dropped, less = _apply(tx, workspace, plan)
            if seen is not None and less != shown.lost:
                raise StateError(_OTHERWISE)
            _record(tx, workspace, "subject.update", plan, change, actor=actor, hits_dropped=len(dropped.hits))
    if isinstance(answer, LikenessError):
        raise answer
    if plan.finds_less:
        workspace.database.scrub()
    return Updated(subject_id, True, plan.compares, added, len(dropped.hits), shown.approvals, shown.impact, less)


_OTHERWISE: Final = "this change, or what it would find, is not what the preview showed: look at it again"
_NOTHING = Impact(0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, measured=True)


def _answer(
    plan: _Plan, shown: UpdatePreview, change: str, *, actor: str, seen: str | None, growth: float
) -> Literal["apply", "first_approval"] | LikenessError:
    """Return what entering this change does, or the error that refuses it."""
    impact, approval = shown.impact, json.loads(plan.row.update_approval or "{}")
    if impact is not None and shown.approvals == "refused":
        return refusal(impact)
    if seen not in (None, shown.digest):
        return StateError(_OTHERWISE)
    if impact is None or shown.approvals == "one":
        return "apply"
    known = Impact(**approval["impact"]) if approval.get("change") == change else None
    first = str(approval["actor"]) if covers(known, impact, growth=growth) else None
    if first is not None and identity_of(first) == identity_of(actor):
        return StateError(f"{in_words(impact)}; you approved it already: now somebody else has to")
    if seen is None:
        return StateError(
            f"{in_words(impact)}; two people have to agree to just that, each with the same change: to be one of them, "
            f"give it again with --expect {shown.digest}"
        )
    return "apply" if first is not None and are_two_people(first, actor) else "first_approval"


def _plan(workspace: Workspace, connection: Connection, subject_id: str, change: Change) -> _Plan:
    if change == Change():
        raise InputError("say what is to be changed: see `likeness subject update --help`")
    row = require_renewable(connection, subject_id)
    if row.state == "pending":
        raise StateError("this subject's request is not accepted yet: reject it, and open one as it should be")
    key = open_subject_key(connection, workspace.sealer, subject_id)
    before = unseal_identity(key, row.sealed_identity, subject_id)
    after = _changed(before, change)
    require_usable(after.names, after.exclusions, settings=workspace.config.names)
    require_short_identity(after, most=workspace.config.registry.max_text)
    removed, kept = _references(workspace, connection, subject_id, change)
    if not change.keep_all:
        _require_one_person(kept, change.add_references, agreement=workspace.thresholds_at(connection).review)
    return _Plan(row, before, after, removed, kept, change.add_references)


def _changed(identity: Identity, change: Change) -> Identity:
    names = _edited(identity.names, change.add_aliases, change.remove_aliases, "alias", keep=identity.names[:1])
    phrases = _edited(identity.exclusions, change.add_exclusions, change.remove_exclusions, "exclusion", keep=())
    given = {name: getattr(change, name) for name in ("case_reference", "contact", "consent")}
    return replace(
        identity, names=names, exclusions=phrases, **{name: text for name, text in given.items() if text is not None}
    )


def _edited(
    texts: Sequence[str], added: Sequence[str], removed: Sequence[str], what: str, *, keep: Sequence[str]
) -> tuple[str, ...]:
    """``texts`` without ``removed`` and with ``added``. Raises :class:`InputError` that repeats none of them."""
    known = {_same(text) for text in texts}
    fixed = {_same(text) for text in keep}
    for position, text in enumerate(removed, start=1):
        if _same(text) in fixed:
            raise InputError(f"{what} {position} to be removed is the person's full name, which stays")
        if _same(text) not in known:
            raise InputError(f"{what} {position} to be removed is none of this person's")
    gone = {_same(text) for text in removed}
    left = [text for text in texts if _same(text) not in gone]
    have = {_same(text) for text in left}
    return (*left, *{_same(text): text for text in added if _same(text) not in have}.values())


def _same(text: str) -> str:
    return " ".join(text.split()).casefold()


def _references(
    workspace: Workspace, connection: Connection, subject_id: str, change: Change
) -> tuple[tuple[str, ...], tuple[Reference, ...]]:
    """Return the templates to remove, with those of other models of the same photographs; and the ones that stay."""
    own = sa.select(templates).where(templates.c.subject_id == subject_id).order_by(templates.c.template_id)
    rows = connection.execute(own).all()
    if unknown := set(change.remove_references) - {row.template_id for row in rows}:
        raise InputError(f"{len(unknown)} of the references to remove are none of this person's: see `subject show`")
    removed: set[str] = set()
    if change.remove_references:
        ids = [row.template_id for row in rows]
        crops = dict(zip(ids, open_crops(connection, workspace.sealer, rows), strict=True))
        gone = {crops[template_id] for template_id in change.remove_references}
        removed = {template_id for template_id, crop in crops.items() if crop in gone}
    model_id = workspace.models.model_id
    current = [row for row in rows if row.model_id == model_id]
    if not current:
        raise StateError("this person has no reference by the models in force yet: run `likeness models backfill`")
    vectors, present, _ = open_templates(connection, workspace.sealer, subject_ids=(subject_id,), model_id=model_id)
    weights = reference_weights(connection, present, model_id=model_id)
    blank = np.zeros((1, 1, 3), dtype=np.uint8)  # a reference that stays is compared and not stored anew
    kept = tuple(
        Reference(vector, blank, weight)
        for vector, template_id, weight in zip(vectors, present, weights, strict=True)
        if template_id not in removed
    )
    if not kept and not change.add_references:
        raise InputError("at least one reference has to stay: add one, or withdraw the subject")
    return tuple(sorted(removed)), kept


def _require_one_person(kept: Sequence[Reference], added: Sequence[Reference], *, agreement: float) -> None:
    """Raise :class:`EnrolmentError` (``disagree``) where a new reference does not look like one that stays."""
    for position, new in enumerate(added, start=1):
        for old in kept:
            score = float(pair_scores(new.vector[None, :], old.vector[None, :])[0])
            if score < agreement:
                raise EnrolmentError(
                    "disagree",
                    f"reference {position} and one that is kept do not look like one person (similarity {score:.2f}, "
                    f"needed {agreement:.2f})",
                    positions=(position,),
                )


def _mac(workspace: Workspace, plan: _Plan) -> str:
    """Return a MAC of the change; names could be guessed from a digest."""
    vectors = [hashlib.sha256(one.vector.tobytes()).hexdigest() for one in plan.added]
    return workspace.sealer.text_mac(json.dumps([plan.row.subject_id, asdict(plan.after), plan.removed, vectors]))


def _apply(tx: Connection, workspace: Workspace, plan: _Plan) -> tuple[tuple[str, ...], Dropped, Lost | None]:
    """Make the change. Returns the ids of the new references, what was dropped, and what went with it."""
    subject_id, now = plan.row.subject_id, workspace.now()
    before = read_resting(tx, subject_id) if plan.finds_less else None
    key = open_subject_key(tx, workspace.sealer, subject_id)
    tx.execute(sa.delete(templates).where(templates.c.template_id.in_(plan.removed)))
    added = tuple(
        insert_template(
            tx,
            workspace,
            subject_id=subject_id,
            key=key,
            vector=one.vector,
            crop=one.crop.tobytes(),
            score=one.detector_score,
            now=now,
        )
        for one in plan.added
    )
    values: dict[str, Any] = {"sealed_identity": seal_identity(key, plan.after, subject_id), "update_approval": None}
    if plan.compares:
        stamp(tx, subject_id, **values)
    else:
        tx.execute(sa.update(subjects).where(subjects.c.subject_id == subject_id).values(**values))
    dropped = drop_faces(tx, workspace, subject_id, plan.removed)
    if plan.finds_less_by_name:
        named = drop_names(tx, workspace, plan.names)
        changed, pairs = dropped.changed + named.changed, dropped.pairs | named.pairs
        dropped = Dropped((*dropped.hits, *named.hits), changed, pairs)
    settle_dropped(tx, workspace, dropped.pairs)
    return added, dropped, None if before is None else lost(tx, before, subject_id, dropped.hits)


def _record(
    tx: Connection, workspace: Workspace, action: str, plan: _Plan, change: Change, *, actor: str, **facts: int
) -> None:
    counts = {
        "references_added": len(plan.added),
        "references_removed": len(plan.removed),
        "aliases_added": len(set(plan.after.names) - set(plan.before.names)),
        "aliases_removed": len(set(plan.before.names) - set(plan.after.names)),
        "exclusions_added": len(set(plan.after.exclusions) - set(plan.before.exclusions)),
        "exclusions_removed": len(set(plan.before.exclusions) - set(plan.after.exclusions)),
    }
    texts = [name for name in ("case_reference", "contact", "consent") if getattr(change, name) is not None]
    audit.append(
        tx,
        workspace.sealer,
        actor=actor,
        action=action,
        now=workspace.now(),
        subject_id=plan.row.subject_id,
        texts=",".join(texts),
        **counts,
        **facts,
    )
