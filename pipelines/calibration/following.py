"""Thresholds by strangers follow the registry by themselves: every run begins with the ones for its present size.

FPIR = 1 - (1 - FMR)^N, so that what strangers support for ten templates is too low for a hundred. A calibration by them
is made for twice the templates there are. When there are more than its data bear, or less than half of what was there
when it was made, the same strangers are measured again, and the result comes into force as every calibration does:
with a row in the audit chain; hits below a higher threshold lapse and those that a person confirmed count on; a lower
one makes every pair due again. A step of two is no tuned value: it bounds how often that happens, and never how many
false matches there are.

What people chose stands: bands of the policy, a calibration by labelled photographs, the targets of the calibration
that is followed, a gallery that somebody chose (``--gallery``) for as long as its data bear it, and one that two people
accepted for more than its data bear, up to what they accepted. Where somebody stopped the last calibration, none comes
into force by itself.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from embeddings.errors import CalibrationError, NotReadyError, StateError
from indexes.det import fmr_for_fpir, least_comparisons
from pipelines.calibration.background import strangers
from pipelines.calibration.measure import Aim, require_canary, weigh_faces
from pipelines.home.actors import service
from pipelines.home.calibration_cover import Cover, count_templates
from pipelines.home.calibrations import (
    PLATFORM,
    STRANGERS,
    Calibration,
    calibration_in_force,
    insert_calibration,
    put_in_force,
    was_stopped,
)
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_pending
from pipelines.judging.withdrawn import withdraw_unsent

_LOG: Final = logging.getLogger(__name__)
_ROOM: Final = 2
"""Times the templates there are that a calibration is made for."""


@acts
def follow_registry(workspace: Workspace) -> Calibration | None:
    """Put thresholds by strangers in force that are for the registry as it is; None: there was nothing to change.

    Where the strangers do not support a threshold for it, what is in force stays, ``status`` says that it is outgrown,
    and a warning is logged. Nothing is stored then.
    """
    config = workspace.config.calibration
    if not config.follow_registry or workspace.policy.has_bands(workspace.pack_name):
        return None
    with workspace.database.read() as connection:
        current = calibration_in_force(connection, workspace.sealer, model_id=workspace.model_id)
        count = count_templates(connection, model_id=workspace.model_id, now=workspace.now())
        stopped = was_stopped(connection, workspace.sealer, model_id=workspace.model_id)
        fits = current is not None and _fits(current, workspace.cover_at(connection, current))
    if current is None:
        if stopped or not config.from_platform:
            return None
        kind, aim = PLATFORM, Aim(config.fpir, config.strong_fpir, config.confidence)
    elif current.kind not in STRANGERS or not count or fits:
        return None
    else:
        kind, aim = current.kind, Aim(current.review.target_fpir, current.strong.target_fpir, current.confidence)
    try:
        found = _measured(workspace, kind, aim, count)
    except (CalibrationError, StateError, NotReadyError) as error:
        _LOG.warning("thresholds by strangers do not follow the registry of %d templates: %s", count, error)
        return None
    return found if _put_in_force(workspace, found, instead_of=current) else None


def _fits(calibration: Calibration, cover: Cover) -> bool:
    """Whether a calibration is neither outgrown nor made for far more templates than there are.

    Only a gallery that follows from the registry can be too large. One that somebody chose, or that two people
    accepted, is as large as they want it.
    """
    if cover.templates > max(cover.borne, cover.accepted or 0):
        return False
    if calibration.registered is None or cover.accepted is not None:
        return True
    return _ROOM * cover.templates >= calibration.registered


def _measured(workspace: Workspace, kind: str, aim: Aim, count: int) -> Calibration:
    """The calibration for twice so many templates or, where the strangers are too few for that, for these.

    Raises :class:`StateError` where they support no threshold, or one that every run would stop at.
    """
    rate = fmr_for_fpir(aim.fpir, templates=max(1, count))
    labels, faces = strangers(workspace, kind, least=least_comparisons(rate, confidence=aim.confidence))
    published = workspace.policy.thresholds_or_none(workspace.pack_name)
    for templates in (_ROOM * max(1, count), max(1, count)):
        found = weigh_faces(workspace, labels, faces, replace(aim, templates=templates, registered=count)).calibration
        if found.has_thresholds(published):
            require_canary(workspace, found.thresholds(published))
            return found
    raise StateError(f"{found.persons} strangers do not support an FPIR of {aim.fpir:g} for so many")


def _put_in_force(workspace: Workspace, found: Calibration, *, instead_of: Calibration | None) -> bool:
    """Put ``found`` in force unless somebody has changed meanwhile what is; return whether it is."""
    published = workspace.policy.thresholds_or_none(workspace.pack_name)
    actor = service("calibration")
    with workspace.database.write() as tx:
        current = calibration_in_force(tx, workspace.sealer, model_id=workspace.model_id)
        stopped = was_stopped(tx, workspace.sealer, model_id=workspace.model_id)
        if current != instead_of or stopped:
            return False
        insert_calibration(tx, workspace.sealer, found, actor=actor)
        put_in_force(tx, workspace.sealer, found, actor=actor, now=workspace.now(), published=published)
        withdraw_unsent(tx, workspace)
    judge_pending(workspace)
    return True
