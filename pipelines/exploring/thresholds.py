"""What a review threshold would change: stored scores of faces, what people said of them, how many would be false.

Reads only. Scores are those of hits by the present models, of people whose opt-out is in force: hits that count, hits
that earlier thresholds found and later ones let go, and hits that somebody rejected. What scores lie below the lowest
threshold by which faces were ever compared nobody has stored, and it is said how far down that is.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import sqlalchemy as sa

from embeddings.types import Float64
from indexes.thresholds import Thresholds
from pipelines.database.tables import hits, items, shards
from pipelines.database.times import moment
from pipelines.hits.counting import hits_in_force, is_rejected, said
from pipelines.home.calibration_cover import count_templates
from pipelines.home.calibrations import calibration_in_force
from pipelines.home.workspace import Workspace

STATES: Final = ("confirmed", "rejected", "undecided")
"""What people said of a hit. Who is unsure has not decided."""
BINS: Final = 50
"""Bars of the histogram, over scores from 0 to 1."""


@dataclass(frozen=True, slots=True)
class StoredScores:
    """Scores of stored hits by what people said of them, float64 (n,) in order. ``compared_from``: the lowest
    threshold by which faces of live items were compared for certain; None: none were."""

    scores: Mapping[str, Float64]
    compared_from: float | None

    def histogram(self) -> list[dict[str, int]]:
        """How many hits of each state are in each of :data:`BINS` equal parts of 0 to 1."""
        edges = np.linspace(0.0, 1.0, BINS + 1)
        counts = {state: np.histogram(np.clip(self.scores[state], 0.0, 1.0), edges)[0] for state in STATES}
        return [{state: int(counts[state][at]) for state in STATES} for at in range(BINS)]

    def at_least(self, state: str, threshold: float) -> int:
        """How many hits of this state score at least so much."""
        scores = self.scores[state]
        return len(scores) - int(np.searchsorted(scores, threshold, side="left"))

    def below(self, state: str, threshold: float) -> int:
        """How many hits of this state score less."""
        return len(self.scores[state]) - self.at_least(state, threshold)


@dataclass(frozen=True, slots=True)
class ExpectedFalse:
    """False matches to expect at a threshold, by the calibration in force; all of them upper bounds at its confidence.

    ``fmr``: of one comparison with one template; ``per_thousand``: of so many strangers' faces, how many are taken for
    anybody in a gallery of ``templates``; ``in_corpus``: if all ``faces`` on the platform were strangers'.
    """

    calibration_id: str
    confidence: float
    fmr: float
    templates: int
    per_thousand: float
    faces: int
    in_corpus: float


@dataclass(frozen=True, slots=True)
class ThresholdEffect:
    """What a review threshold would change, in hits on faces.

    ``stay`` and ``go``: of undecided hits that count now; ``come``: undecided ones that were let go and would count
    again. ``missed``: confirmed hits that would never have been found; they stay, as somebody confirmed them.
    ``spared``: rejected hits that nobody would have been asked about; ``asked``: rejected ones that they still would.
    ``unseen``: the range of scores in which nothing was ever looked for; None: there is none, or nobody knows.
    """

    threshold: float
    in_force: Thresholds
    stay: int
    go: int
    come: int
    kept: int
    missed: int
    spared: int
    asked: int
    unseen: tuple[float, float] | None
    expected: ExpectedFalse | None


def read_stored_scores(workspace: Workspace) -> StoredScores:
    """Read the scores of all stored hits on faces by the models in force."""
    state = sa.case((said("confirm"), "confirmed"), (is_rejected(), "rejected"), else_="undecided")
    with workspace.database.read() as connection:
        found = hits_in_force(moment(connection), rejected_too=True, lapsed_too=True)
        of_faces = found.where(hits.c.tier == "face", hits.c.found_by_id == workspace.model_id)
        rows = connection.execute(of_faces.with_only_columns(hits.c.score, state)).all()
        compared = sa.select(sa.func.max(shards.c.covered_threshold)).where(shards.c.model_id == workspace.model_id)
        lowest = connection.execute(compared).scalar()
    scores = {name: np.sort([row[0] for row in rows if row[1] == name]).astype(np.float64) for name in STATES}
    return StoredScores(scores, None if lowest is None else float(lowest))


def weigh_threshold(workspace: Workspace, stored: StoredScores, threshold: float) -> ThresholdEffect:
    """Say what the review threshold ``threshold`` would change, beside the one in force."""
    in_force = workspace.thresholds
    now_on, then_on = in_force.review, threshold
    counted = stored.at_least("undecided", now_on)
    stay = stored.at_least("undecided", max(now_on, then_on))
    floor = stored.compared_from
    return ThresholdEffect(
        threshold=threshold,
        in_force=in_force,
        stay=stay,
        go=counted - stay,
        come=max(0, stored.at_least("undecided", then_on) - counted),
        kept=stored.at_least("confirmed", then_on),
        missed=stored.below("confirmed", then_on),
        spared=stored.below("rejected", then_on),
        asked=stored.at_least("rejected", then_on),
        unseen=(threshold, floor) if floor is not None and threshold < floor else None,
        expected=_expected(workspace, threshold),
    )


def _expected(workspace: Workspace, threshold: float) -> ExpectedFalse | None:
    """By the calibration in force; None without one, and where it says nothing of so low a threshold."""
    with workspace.database.read() as connection:
        calibration = calibration_in_force(connection, workspace.sealer, model_id=workspace.model_id)
        if calibration is None:
            return None
        fmr = calibration.fmr_bound(threshold)
        if fmr >= 1.0:
            return None
        templates = count_templates(connection, model_id=workspace.model_id, now=workspace.now())
        faces = int(
            connection.execute(
                sa.select(sa.func.coalesce(sa.func.sum(items.c.faces), 0)).where(items.c.live)
            ).scalar_one()
        )
    any_of = 1.0 - (1.0 - fmr) ** templates
    return ExpectedFalse(
        calibration.calibration_id, calibration.confidence, fmr, templates, 1000 * any_of, faces, faces * any_of
    )


class ScoresKept:
    """The stored scores as they were some seconds ago, because reading them goes through all hits on faces. Safe to
    share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stored: StoredScores | None = None
        self._read_at: datetime | None = None

    def read(self, workspace: Workspace) -> StoredScores:
        """The scores, read again where that is ``review.queue_seconds`` ago."""
        now, most = workspace.now(), timedelta(seconds=workspace.config.review.queue_seconds)
        with self._lock:
            if self._stored is None or self._read_at is None or abs(now - self._read_at) >= most:
                self._stored, self._read_at = read_stored_scores(workspace), now
            return self._stored
