"""Stored calibrations, and which one is in force for a model.

A calibration is never changed: its id is a digest of all it says, and its row carries a MAC. The one in force is a fact
in ``state`` with a MAC of its own; every change of it is a row of the audit chain, against which ``likeness verify``
holds it, so that neither an altered row nor an old fact put back passes (thresholds decide what is found, I7).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError, StateError
from indexes.det import DetPoint, OperatingPoint, Rate
from indexes.thresholds import Thresholds
from pipelines.database import get_state, set_state
from pipelines.database.tables import audit as audit_rows
from pipelines.database.tables import calibrations, state
from pipelines.home import audit
from pipelines.home.sealing import Sealer

USE = "calibration.use"
STOP = "calibration.stop"
ANYWAY = "calibration.anyway"
BACKGROUND: Final = "background"
PLATFORM: Final = "platform"
STRANGERS: Final = frozenset((BACKGROUND, PLATFORM))
"""Kinds of calibrations without labels: by a folder of strangers, and by the faces of the operator's own platform."""


@dataclass(frozen=True, slots=True)
class Operating:
    """One threshold: the false positive identification rate asked for, and what holds at the threshold.

    ``fpir_upper`` is for ``templates`` of the calibration; ``fnmr`` None: there were no mated comparisons.
    """

    target_fpir: float
    point: OperatingPoint
    fpir_upper: float | None
    fnmr: Rate | None


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Error rates of one group at the review threshold. ``worse``: its FMR is above the target beyond doubt."""

    group: str
    fmr: Rate
    fnmr: Rate
    worse: bool


@dataclass(frozen=True, slots=True)
class PooledRates:
    """What was measured of pools of ``pictures`` photographs of one person each, compared with single photographs."""

    pictures: int
    pools: int
    persons: int
    mated: int
    impostors: int
    review: Operating
    strong: Operating


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured, on what, and the thresholds that follow.

    ``templates``: the gallery it is for, in templates. ``registered``: how many there were, where that gallery follows
    from them; None: somebody chose the gallery, or it is of a kind that does not follow the registry. ``views``: the
    configured mode; ``second_look``: photographs whose face another view than the first found. ``dropped``: comparisons
    and photographs left out, by reason.
    """

    calibration_id: str
    model_id: str
    created_at: datetime
    kind: str
    views: str
    templates: int
    confidence: float
    photographs: int
    persons: int
    several_faces: int
    second_look: int
    dropped: dict[str, int]
    mated: int
    impostors: int
    review: Operating
    strong: Operating
    groups: tuple[GroupRates, ...]
    points: tuple[DetPoint, ...]
    pooled: PooledRates | None = None
    """Of faces pooled by person; None: there were too few photographs of each for any to be pooled."""
    registered: int | None = None

    @property
    def complete(self) -> bool:
        """Whether the data supported both thresholds."""
        return self.review.point.threshold is not None and self.strong.point.threshold is not None

    def thresholds(self, published: Thresholds | None = None) -> Thresholds:
        """Return the thresholds in the form that matching takes. Raises :class:`StateError` where there are none.

        Strangers alone may support the review threshold and not the strong one, which takes ten times as many
        comparisons: then the strong one is the ``published`` one, or that of review where that is higher.
        """
        stated = self._stated(self.review, self.strong, "")
        if stated is not None:
            return stated
        review = self.review.point.threshold
        if review is None or published is None or self.kind not in STRANGERS:
            raise StateError("this calibration has no threshold for its targets: more comparisons are needed")
        source = (
            f"calibration {self.calibration_id}: FPIR at most {self.review.target_fpir:g} for a gallery of "
            f"{self.templates}, {self.confidence:.0%} confidence; strong, for which there are too few strangers: "
            f"{published.source}"
        )
        return Thresholds(review, max(review, published.strong), source, self.calibration_id)

    def has_thresholds(self, published: Thresholds | None) -> bool:
        """Whether :meth:`thresholds` has any."""
        try:
            self.thresholds(published)
        except StateError:
            return False
        return True

    def pooled_thresholds(self) -> Thresholds | None:
        """Those of pooled faces; None where none were measured or the data could not support both."""
        if self.pooled is None:
            return None
        return self._stated(self.pooled.review, self.pooled.strong, f" of pools of {self.pooled.pictures}")

    def _stated(self, review: Operating, strong: Operating, measured_of: str) -> Thresholds | None:
        """The thresholds of two points with where they come from; None where the data do not support both."""
        if review.point.threshold is None or strong.point.threshold is None:
            return None
        source = (
            f"calibration {self.calibration_id}{measured_of}: FPIR at most {review.target_fpir:g} (strong "
            f"{strong.target_fpir:g}) for a gallery of {self.templates}, {self.confidence:.0%} confidence"
        )
        return Thresholds(review.point.threshold, strong.point.threshold, source, self.calibration_id)

    def fmr_bound(self, threshold: float) -> float:
        """Return the upper bound of the FMR at any threshold: that of the nearest measured point at or below it."""
        for own in (self.review, self.strong):
            if own.point.threshold == threshold and own.point.fmr is not None:
                return own.point.fmr.upper
        below = [point for point in self.points if point.threshold <= threshold]
        return max(below, key=lambda point: point.threshold).fmr_upper if below else 1.0


_ADAPTER = TypeAdapter(Calibration)


def identified(calibration: Calibration) -> Calibration:
    """Return the calibration with the id that its content gives it."""
    return replace(calibration, calibration_id=_digest(calibration))


def insert_calibration(tx: Connection, sealer: Sealer, calibration: Calibration, *, actor: str) -> None:
    """Store a calibration. It is not in force yet. One that is stored already, to the microsecond, is left alone."""
    row = _row(calibration)
    same = sa.select(calibrations.c.calibration_id).where(calibrations.c.calibration_id == row["calibration_id"])
    if tx.execute(same).first() is not None:
        return
    tx.execute(sa.insert(calibrations).values(**row, created_at=calibration.created_at, seal=_seal(sealer, row)))
    _record(tx, sealer, calibration, "calibration.add", actor=actor, now=calibration.created_at)


def read_calibration(connection: Connection, sealer: Sealer, calibration_id: str) -> Calibration:
    """One calibration. Raises :class:`StateError` if there is none, :class:`CorruptionError` for an altered row."""
    row = connection.execute(sa.select(calibrations).where(calibrations.c.calibration_id == calibration_id)).first()
    if row is None:
        raise StateError("there is no such calibration")
    return _checked(sealer, row)


def list_calibrations(connection: Connection, sealer: Sealer) -> list[Calibration]:
    """Return all calibrations, oldest first. Raises :class:`CorruptionError` for an altered row."""
    query = sa.select(calibrations).order_by(calibrations.c.created_at, calibrations.c.calibration_id)
    return [_checked(sealer, row) for row in connection.execute(query)]


def calibration_in_force(connection: Connection, sealer: Sealer, *, model_id: str) -> Calibration | None:
    """Return the calibration put in force for a model. Raises :class:`CorruptionError` if the stored fact was
    altered."""
    calibration_id, _ = _in_force(connection, sealer, model_id)
    if calibration_id is None:
        return None
    try:
        calibration = read_calibration(connection, sealer, calibration_id)
    except StateError:
        raise CorruptionError("the calibration in force is missing: restore the database from a backup") from None
    if calibration.model_id != model_id:
        raise CorruptionError("the calibration in force is of other models: restore the database from a backup")
    return calibration


def all_in_force(connection: Connection, sealer: Sealer) -> frozenset[str]:
    """Return the ids of the calibrations in force for any model, earlier models included."""
    query = sa.select(state.c.name).where(state.c.name.startswith(_fact(""), autoescape=True))
    named = (name.removeprefix(_fact("")) for name in connection.execute(query).scalars())
    return frozenset(found for model_id in named if (found := _in_force(connection, sealer, model_id)[0]))


def accepted_templates(connection: Connection, sealer: Sealer, calibration: Calibration) -> int | None:
    """Return for how many templates, beyond what its data support, two people put a calibration in force.

    None where nobody did, or another one is in force.
    """
    calibration_id, accepted = _in_force(connection, sealer, calibration.model_id)
    return accepted if calibration_id == calibration.calibration_id else None


def put_in_force(
    tx: Connection,
    sealer: Sealer,
    calibration: Calibration,
    *,
    actor: str,
    now: datetime,
    published: Thresholds | None = None,
    accepted: int | None = None,
) -> None:
    """Put a calibration in force: hits are found and judged by it, unless the policy has bands of its own.

    ``published``: as :meth:`Calibration.thresholds` takes them. ``accepted``: for how many templates, where its data
    support fewer.
    """
    calibration.thresholds(published)  # refuses one without thresholds
    _set_in_force(tx, sealer, calibration.model_id, calibration.calibration_id, accepted)
    _record(tx, sealer, calibration, USE, actor=actor, now=now, accepted=accepted)


def approve_anyway(
    tx: Connection, sealer: Sealer, calibration: Calibration, *, actor: str, now: datetime, templates: int
) -> None:
    """Record that ``actor`` approves the calibration for ``templates``, though its data support fewer."""
    _record(tx, sealer, calibration, ANYWAY, actor=actor, now=now, accepted=templates)


def approvals_anyway(connection: Connection, calibration: Calibration) -> list[tuple[str, int]]:
    """Return the approvals since the last change of what is in force, latest last: (actor, templates)."""
    query = sa.select(audit_rows).where(audit_rows.c.action.in_((USE, STOP, ANYWAY))).order_by(audit_rows.c.seq)
    said: list[tuple[str, int]] = []
    for row in connection.execute(query):
        facts = json.loads(row.facts)
        if row.action != ANYWAY and facts["model_id"] == calibration.model_id:
            said = []
        elif facts["calibration_id"] == calibration.calibration_id:
            said.append((row.actor, int(facts["accepted"])))
    return said


def stop(tx: Connection, sealer: Sealer, *, model_id: str, actor: str, now: datetime) -> str:
    """Go back to the published thresholds of the pack; return the id of the calibration that was in force."""
    calibration = calibration_in_force(tx, sealer, model_id=model_id)
    if calibration is None:
        raise StateError("no calibration is in force for these models")
    _set_in_force(tx, sealer, model_id, None)
    _record(tx, sealer, calibration, STOP, actor=actor, now=now)
    return calibration.calibration_id


def was_stopped(connection: Connection, sealer: Sealer, *, model_id: str) -> bool:
    """Whether somebody stopped the last calibration of a model, and none was put in force since. Raises
    :class:`CorruptionError` if the stored fact was altered."""
    calibration_id, _ = _in_force(connection, sealer, model_id)
    return calibration_id is None and get_state(connection, _fact(model_id)) is not None


def verify_calibrations(connection: Connection, sealer: Sealer) -> str:
    """Check every row, and that what is in force is what the audit chain says. Raises :class:`CorruptionError`."""
    known = list_calibrations(connection, sealer)
    recorded: dict[str, tuple[str | None, int | None]] = {}
    added: set[str] = set()
    query = sa.select(audit_rows).where(audit_rows.c.action.like("calibration.%")).order_by(audit_rows.c.seq)
    for row in connection.execute(query):
        facts = json.loads(row.facts)
        added.add(facts["calibration_id"])
        if row.action in (USE, STOP):
            stands = row.action == USE
            recorded[facts["model_id"]] = (facts["calibration_id"], facts.get("accepted")) if stands else (None, None)
    if lost := added - {calibration.calibration_id for calibration in known}:
        raise CorruptionError(f"{len(lost)} calibrations that the audit chain names are missing")
    for model_id, told in recorded.items():
        if _in_force(connection, sealer, model_id) != told:
            raise CorruptionError("the calibration in force is not the one that the audit chain names last")
    in_force = sum(calibration_id is not None for calibration_id, _ in recorded.values())
    return f"{len(known)} calibrations, seals and digests match, {in_force} in force"


def _in_force(connection: Connection, sealer: Sealer, model_id: str) -> tuple[str | None, int | None]:
    """The calibration in force, and for how many templates it was accepted: ``ID:MAC`` or ``ID@TEMPLATES:MAC``."""
    fact = get_state(connection, _fact(model_id))
    if fact is None:
        return None, None
    named, _, mac = fact.partition(":")
    if mac != _mac(sealer, model_id, named):
        raise CorruptionError("which calibration is in force was altered: restore the database from a backup")
    calibration_id, _, accepted = named.partition("@")
    return calibration_id or None, int(accepted) if accepted else None


def _set_in_force(
    tx: Connection, sealer: Sealer, model_id: str, calibration_id: str | None, accepted: int | None = None
) -> None:
    named = f"{calibration_id or ''}{f'@{accepted}' if accepted else ''}"
    set_state(tx, _fact(model_id), f"{named}:{_mac(sealer, model_id, named)}")


def _fact(model_id: str) -> str:
    return f"calibration:{model_id}"


def _mac(sealer: Sealer, model_id: str, calibration_id: str) -> str:
    return sealer.manifest_seal(["calibration in force", model_id, calibration_id])


def _record(
    tx: Connection,
    sealer: Sealer,
    calibration: Calibration,
    action: str,
    *,
    actor: str,
    now: datetime,
    accepted: int | None = None,
) -> None:
    facts: dict[str, str | int] = {"calibration_id": calibration.calibration_id, "model_id": calibration.model_id}
    facts |= {} if accepted is None else {"accepted": accepted}
    audit.append(tx, sealer, actor=actor, action=action, now=now, **facts)


def _row(calibration: Calibration) -> dict[str, str | int | float | None]:
    """The columns, but for the time and the seal."""
    return {
        "calibration_id": calibration.calibration_id,
        "model_id": calibration.model_id,
        "kind": calibration.kind,
        "templates": calibration.templates,
        "target_fpir": calibration.review.target_fpir,
        "review": calibration.review.point.threshold,
        "strong": calibration.strong.point.threshold,
        "document": _document(calibration),
    }


def _checked(sealer: Sealer, row: sa.Row[tuple[object, ...]]) -> Calibration:
    columns = dict(row._mapping)
    seal, created_at = columns.pop("seal"), columns.pop("created_at")
    try:
        calibration = _ADAPTER.validate_json(str(columns["document"]))
    except ValidationError:
        raise CorruptionError("a calibration cannot be read: restore the database from a backup") from None
    genuine = seal == _seal(sealer, columns) and _row(calibration) == columns and calibration.created_at == created_at
    if not genuine or calibration.calibration_id != _digest(calibration):
        raise CorruptionError("a calibration is not what was written: restore the database from a backup")
    return calibration


def _seal(sealer: Sealer, row: dict[str, str | int | float | None]) -> str:
    return sealer.manifest_seal(["calibration", *(row[name] for name in sorted(row))])


def _document(calibration: Calibration) -> str:
    fields = asdict(calibration)
    for later in ("pooled", "registered"):  # ids of calibrations from before there were these stay what they are
        if fields[later] is None:
            del fields[later]
    return json.dumps(fields, sort_keys=True, default=_iso)


def _digest(calibration: Calibration) -> str:
    return f"cal_{hashlib.sha256(_document(replace(calibration, calibration_id='')).encode()).hexdigest()[:24]}"


def _iso(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()
