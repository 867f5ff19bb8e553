"""From labelled photographs to a calibration: embed, compare, and compute thresholds by :mod:`indexes.det`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.engine import Connection

from embeddings.errors import ConfigError, NotReadyError, StateError
from indexes.det import OperatingPoint, Sample, det_points, fmr_for_fpir, fpir, lower_bound, threshold_for
from indexes.gallery import Gallery
from indexes.thresholds import Thresholds
from pipelines.calibration.compare import Compared, compare
from pipelines.calibration.faces import Faces, embed_photographs
from pipelines.calibration.labels import Labels
from pipelines.calibration.pooling import ComparedPools, compare_pools
from pipelines.home.actors import are_two_people, identity_of
from pipelines.home.calibration_cover import Cover, count_templates
from pipelines.home.calibrations import (
    PLATFORM,
    Calibration,
    GroupRates,
    Operating,
    PooledRates,
    approvals_anyway,
    approve_anyway,
    identified,
    insert_calibration,
    put_in_force,
    read_calibration,
    stop,
)
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_pending
from pipelines.judging.withdrawn import withdraw_unsent


@dataclass(frozen=True, slots=True)
class Aim:
    """What the thresholds are to achieve. ``templates``: size of the gallery; None: the registry's present size.

    ``registered``: the templates that this size follows from; None: somebody chose it.
    """

    fpir: float
    strong_fpir: float
    confidence: float
    templates: int | None = None
    registered: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A stored calibration, and the pairs of different people that score highest: positions of their photographs in
    :attr:`Labels.paths`, and the score, the highest first. They are for the operator's eyes and stored nowhere."""

    calibration: Calibration
    worst: tuple[tuple[int, int, float], ...] = field(repr=False)


def measure_labels(
    workspace: Workspace, labels: Labels, aim: Aim, *, actor: str, progress: Progress = silent
) -> Measured:
    """Measure, store and return a calibration of the models in force, with the worst pairs; it is not put in force.

    Raises ``ConfigError`` for an aim that makes no sense, :class:`CalibrationError` when nothing can be measured. A
    threshold that the data cannot support is not stated: see :class:`indexes.det.OperatingPoint`.
    """
    _require_order(aim)
    faces = embed_photographs(workspace, labels.paths, progress=progress)
    return measure_faces(workspace, labels, faces, aim, actor=actor)


def _require_order(aim: Aim) -> None:
    if aim.strong_fpir > aim.fpir:
        raise ConfigError(f"the strong FPIR ({aim.strong_fpir:g}) has to be at most that of review ({aim.fpir:g})")


def measure_faces(workspace: Workspace, labels: Labels, faces: Faces, aim: Aim, *, actor: str) -> Measured:
    """Measure faces that are embedded already, store and return the calibration, and the worst pairs."""
    measured = weigh_faces(workspace, labels, faces, aim)
    with workspace.database.write() as tx:
        insert_calibration(tx, workspace.sealer, measured.calibration, actor=actor)
    return measured


def weigh_faces(workspace: Workspace, labels: Labels, faces: Faces, aim: Aim) -> Measured:
    """Measure faces that are embedded already, and store nothing.

    A calibration by the platform's own faces has no strong threshold (:mod:`pipelines.calibration.platform`).
    """
    _require_order(aim)
    templates = aim.templates or _templates_now(workspace)
    compared = compare(labels, faces, most=workspace.config.calibration.max_comparisons)
    review, strong = _operating(compared, aim, templates=templates)
    if labels.kind == PLATFORM:
        strong = _unstated(strong)
    pooled = _pooled(workspace, labels, faces, review, aim, templates=templates)
    points = workspace.config.calibration.points
    calibration = identified(
        Calibration(
            calibration_id="",
            model_id=workspace.models.model_id,
            created_at=workspace.now(),
            kind=labels.kind,
            views=workspace.config.embedding.views.mode,
            templates=templates,
            confidence=aim.confidence,
            photographs=len(faces.vectors),
            persons=compared.persons,
            several_faces=faces.several,
            second_look=faces.second_look,
            dropped={reason: count for reason, count in sorted(compared.dropped.items()) if count},
            mated=len(compared.mated),
            impostors=len(compared.impostors),
            review=review,
            strong=strong,
            groups=_groups(compared, review, aim.confidence),
            points=tuple(det_points(compared.mated, compared.impostors, most=points, confidence=aim.confidence)),
            pooled=pooled,
            registered=aim.registered,
        )
    )
    return Measured(calibration, compared.worst)


def _unstated(own: Operating) -> Operating:
    why = "the most alike faces of a platform are left out, as one person's"
    return Operating(own.target_fpir, replace(own.point, threshold=None, fmr=None, refusal=why), None, None)


@dataclass(frozen=True, slots=True)
class Used:
    """Result of :func:`use_anyway`. ``in_force`` False: only the first of two people has approved so far."""

    calibration: Calibration
    in_force: bool


def use(workspace: Workspace, calibration_id: str, *, actor: str, anyway: bool = False) -> Calibration:
    """Put a calibration in force. Raises :class:`StateError` if it cannot be.

    The calibration has to be of the models in force, have both thresholds and support the present gallery, and the
    canary must be found with it, or every run would stop. ``anyway``: as in :func:`use_anyway`. What only the
    calibration before it caused is withdrawn.
    """
    return use_anyway(workspace, calibration_id, actor=actor, anyway=anyway).calibration


@acts
def use_anyway(workspace: Workspace, calibration_id: str, *, actor: str, anyway: bool = True) -> Used:
    """Put a calibration in force as :func:`use` does, or for a gallery beyond its data once two people have approved.

    The first approval is recorded and changes nothing in force. It lapses once the gallery has grown by more than
    ``registry.approval_growth``.
    """
    with workspace.database.read() as connection:
        calibration = read_calibration(connection, workspace.sealer, calibration_id)
    if calibration.model_id != workspace.model_id:
        raise StateError(f"this calibration is of {calibration.model_id}, the models in force are {workspace.model_id}")
    published = workspace.policy.thresholds_or_none(workspace.pack_name)
    require_canary(workspace, calibration.thresholds(published))
    with workspace.database.write() as tx:
        cover = workspace.cover_at(tx, calibration)
        now, accepted = workspace.now(), None
        if not cover.fits:
            accepted = cover.templates
            if not _may_be_used(workspace, tx, calibration, cover, actor=actor, anyway=anyway):
                approve_anyway(tx, workspace.sealer, calibration, actor=actor, now=now, templates=accepted)
                return Used(calibration, in_force=False)
        put_in_force(tx, workspace.sealer, calibration, actor=actor, now=now, published=published, accepted=accepted)
        withdraw_unsent(tx, workspace)
    judge_pending(workspace)
    return Used(calibration, in_force=True)


@acts
def stop_using(workspace: Workspace, *, actor: str) -> str:
    """Go back to the thresholds that the pack's publisher states; returns the id of the calibration that was in force.

    What only that calibration caused is withdrawn: hits below the published thresholds no longer count, and messages
    that rest on them alone are withdrawn, delivered ones included. What people decided stands.
    """
    if not workspace.policy.has_thresholds(workspace.pack_name):
        raise StateError("this pack has no published thresholds: every run would stop")
    with workspace.database.write() as tx:
        stopped = stop(tx, workspace.sealer, model_id=workspace.model_id, actor=actor, now=workspace.now())
        withdraw_unsent(tx, workspace)
    judge_pending(workspace)
    return stopped


def _may_be_used(
    workspace: Workspace, tx: Connection, calibration: Calibration, cover: Cover, *, actor: str, anyway: bool
) -> bool:
    """Whether ``actor`` is the second of two people to approve too large a gallery. Raises :class:`StateError`."""
    bound = max(fpir(own.point.fmr.upper, templates=cover.templates) for own in _points(calibration))
    words = (
        f"this calibration bears a gallery of {cover.borne} templates and there are {cover.templates}: a stranger's "
        f"face may be taken for somebody at a rate of {bound:.2g}"
    )
    if not anyway:
        raise StateError(
            f"{words}. Calibrate anew with --gallery {cover.templates} or more, or have two people say `likeness "
            f"calibration use {calibration.calibration_id} --anyway`"
        )
    growth = 1 + workspace.config.registry.approval_growth
    said = [who for who, templates in approvals_anyway(tx, calibration) if cover.templates <= templates * growth]
    if any(are_two_people(who, actor) for who in said):
        return True
    if any(identity_of(who) == identity_of(actor) for who in said):
        raise StateError(f"{words}; you have said so already: now somebody else has to")
    return False


def _points(calibration: Calibration) -> list[Any]:
    return [own for own in (calibration.review, calibration.strong) if own.point.fmr is not None]


def in_order(review: OperatingPoint, strong: OperatingPoint) -> tuple[OperatingPoint, OperatingPoint]:
    """Return both points with review at or below strong: a threshold that holds the stricter target holds the other
    too.

    The laxer target alone can give the higher threshold, because the dependence measured at more errors can be larger.
    """
    if strong.threshold is not None and (review.threshold is None or review.threshold > strong.threshold):
        return replace(strong, target_fmr=review.target_fmr, needed=review.needed), strong
    return review, strong


def _templates_now(workspace: Workspace) -> int:
    """Templates in the registry; one for a registry that is still empty."""
    with workspace.database.read() as connection:
        return max(1, count_templates(connection, model_id=workspace.model_id, now=workspace.now()))


def _pooled(
    workspace: Workspace, labels: Labels, faces: Faces, review: Operating, aim: Aim, *, templates: int
) -> PooledRates | None:
    """The same of pools, which are made at the review threshold measured of single faces, or the one in force."""
    config = workspace.config.calibration
    threshold = workspace.thresholds.review if review.point.threshold is None else review.point.threshold
    compared = compare_pools(
        labels, faces, pictures=config.pooled_pictures, threshold=threshold, most=config.max_comparisons
    )
    if compared is None:
        return None
    of_review, of_strong = _operating(compared, aim, templates=templates)
    return PooledRates(
        pictures=config.pooled_pictures,
        pools=compared.pools,
        persons=compared.persons,
        mated=len(compared.mated),
        impostors=len(compared.impostors),
        review=of_review,
        strong=of_strong,
    )


def _operating(compared: Compared | ComparedPools, aim: Aim, *, templates: int) -> tuple[Operating, Operating]:
    """Review and strong."""
    targets = (aim.fpir, aim.strong_fpir)
    rates = (fmr_for_fpir(target, templates=templates) for target in targets)
    points = (threshold_for(compared.impostors, target_fmr=rate, confidence=aim.confidence) for rate in rates)
    review, strong = (
        _rated(compared, target, point, templates=templates, confidence=aim.confidence)
        for target, point in zip(targets, in_order(*points), strict=True)
    )
    return review, strong


def _rated(
    compared: Compared | ComparedPools, target_fpir: float, point: OperatingPoint, *, templates: int, confidence: float
) -> Operating:
    """A point with the FPIR and the FNMR that hold there."""
    if point.threshold is None or point.fmr is None:
        return Operating(target_fpir, point, None, None)
    bound = fpir(point.fmr.upper, templates=templates)
    fnmr = compared.mated.rate(point.threshold, confidence=confidence) if len(compared.mated) else None
    return Operating(target_fpir, point, bound, fnmr)


def _groups(compared: Compared, review: Operating, confidence: float) -> tuple[GroupRates, ...]:
    """Rate each group at the common review threshold, if there is one: one threshold may treat groups differently."""
    threshold = review.point.threshold
    if threshold is None:
        return ()
    rates = []
    for group, (mated, impostors) in compared.groups.items():
        fmr, fnmr = (sample.rate(threshold, confidence=confidence) for sample in (impostors, mated))
        worse = _lower(impostors, threshold, confidence) > review.point.target_fmr
        rates.append(GroupRates(group, fmr, fnmr, worse))
    return tuple(rates)


def _lower(sample: Sample, threshold: float, confidence: float) -> float:
    errors = sample.errors(threshold)
    information = sample.information(errors, confidence=confidence)
    return lower_bound(errors * information, len(sample) * information, confidence=confidence)


def require_canary(workspace: Workspace, thresholds: Thresholds) -> None:
    """Raise :class:`StateError` where the canary is not found by these thresholds, so that every run would stop."""
    canary = workspace.canary
    gallery = Gallery(
        canary.template,
        template_ids=[canary.template_id] * len(canary.template),
        subject_ids=[canary.subject_id] * len(canary.template),
        model_id=canary.model_id,
        registry_version=0,
    )
    try:
        canary.require_found(gallery, thresholds)
    except NotReadyError as error:
        raise StateError(f"with these thresholds every run would stop: {error}") from None
