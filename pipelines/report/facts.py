"""The facts of a report: opaque ids, numbers, times and fixed words; no name, vector, crop or uploaded text (I8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from indexes.thresholds import Thresholds
from pipelines.calibration.fit import GalleryFit
from pipelines.cases.requests import RemovalRequest
from pipelines.hits.verdicts import ModelVerdict
from pipelines.home.calibrations import Calibration
from pipelines.registry.endings import Ending
from pipelines.runs.days import DayRow


@dataclass(frozen=True, slots=True)
class PageLimits:
    """Most rows of each kind on a page, and most pages of hits. Further rows are counted, and listed in the CSV
    files."""

    hits: int = 200
    pages: int = 25
    unscanned: int = 500
    models: int = 200
    requests: int = 100
    endings: int = 100
    runs: int = 10


@dataclass(frozen=True, slots=True)
class ReportHit:
    """One hit in force with everything that explains it (I10). The fields, in this order, are the exported columns.

    Only a face has a reference, frame and box, in pixels of the upright picture of ``width`` x ``height``. ``place``:
    where a name stands or which fingerprint matched, ``match``: by which rule; the term itself is never read here. Of a
    pooled face ``place`` is the model, ``pictures`` how many were pooled and ``alone_score`` what this one scores.
    ``second_*``: what a second network says of a face, ``agrees``, ``denies`` or ``none:<reason>``, if one was asked.
    ``judged_at`` None: no verdict has weighed this hit yet; ``verdict`` is then that of the item's earlier hits, or
    None. ``tiers``: of all evidence behind the verdict. ``takedown_*``: the message that stands for this item and
    person, if there ever was one.
    """

    hit_id: str
    item_id: str
    kind: str
    parent_model: str | None
    content_sha256: str
    subject_id: str
    tier: str
    band: str
    score: float
    threshold: float
    threshold_source: str
    calibration_id: str | None
    reference_id: str | None
    place: str | None
    match: str | None
    seed_id: str | None
    frame: int | None
    seconds: float | None
    face: int | None
    x1: float | None
    y1: float | None
    x2: float | None
    y2: float | None
    detector_score: float | None
    view: str | None
    pictures: int | None
    alone_score: float | None
    second_opinion: str | None
    second_score: float | None
    second_threshold: float | None
    second_network: str | None
    width: int | None
    height: int | None
    model_id: str
    policy_version: str
    verdict: str | None
    rule: str | None
    distinct_images: int | None
    tiers: str | None
    decided_by: str | None
    priority: int | None
    found_by: str
    found_at: datetime
    judged_at: datetime | None
    takedown_id: str | None
    takedown_state: str | None
    takedown_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class UnscannedItem:
    """One live item that was not looked at: ``status`` is fetch_failed, unscannable or pending."""

    item_id: str
    kind: str
    parent_model: str | None
    status: str
    reason: str
    attempts: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class CoverageFacts:
    """Pairs of (live item, active person), and what is missing.

    ``pending``: items nobody has scanned yet. ``waiting``: scanned items whose faces have not been compared with all
    persons; ``waiting_for``: how many persons that is.
    """

    persons: int
    pairs: int
    settled: int
    pending: int = 0
    waiting: int = 0
    waiting_for: int = 0

    @property
    def complete(self) -> bool:
        """Whether every pair is settled, and there was somebody to compare with."""
        return self.settled == self.pairs and self.persons > 0


@dataclass(frozen=True, slots=True)
class PartialFacts:
    """Scanned items of which a part was not looked at, whose file is damaged (by what), or whose listing had something
    wrong."""

    frames_sampled: int
    faces_dropped: int
    damaged: Mapping[str, int]
    listing_problems: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run. ``finished_at`` None: still running, or cut off. ``coverage``: at its end, if recorded."""

    run_id: str
    kind: str
    day: str | None
    started_at: datetime
    finished_at: datetime | None
    model_id: str
    policy_version: str
    registry_version: int
    coverage: float | None


@dataclass(frozen=True, slots=True)
class MessageCount:
    """How many takedown messages are in a state; ``overdue``: unfinished ones past their deadline."""

    action: str
    state: str
    messages: int
    overdue: int


@dataclass(frozen=True, slots=True)
class HeldCount:
    """How many messages of an action wait for a second pair of eyes, and for which reason, a fixed word."""

    action: str
    reason: str
    messages: int


@dataclass(frozen=True, slots=True)
class EndingFacts:
    """Opt-outs that end soon, the first to end first, and those that are over. ``resting``: messages that wait for a
    renewal; ``days``: how far ahead an end is told, and ``urgent_days`` for the last time."""

    soon: tuple[Ending, ...]
    ended: int
    resting: int
    days: int
    urgent_days: int


@dataclass(frozen=True, slots=True)
class ReportCounts:
    """The report in numbers, for logs and metadata. ``persons`` and ``hit_items``: distinct, over all hits in force.

    ``hits_by_earlier_models``: faces among them that the models in force have not found. ``likeness_models`` and
    ``suspected_models``: pairs of a model and a person, as ``takedowns`` and ``review`` are of an item and a person.
    """

    items: int
    scanned: int
    statuses: dict[str, int]
    faces: int
    hits: int
    hits_by_tier: dict[str, int]
    hit_items: int
    hits_by_earlier_models: int
    persons: int
    takedowns: int
    review: int
    likeness_models: int
    suspected_models: int
    unjudged: int
    pairs: int
    settled: int
    coverage: float


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """Everything on the page, read in one transaction. ``hits`` and ``unscanned`` are complete, in no special
    order; ``models``: every verdict on a model in scope, the most pressing first."""

    day: date | None
    source_id: str | None
    written_at: datetime
    model_id: str
    policy_version: str
    registry_version: int
    thresholds: Thresholds
    calibration: Calibration | None
    """The calibration of the models in force, even where the policy's own bands go before it."""
    fit: GalleryFit
    counts: ReportCounts
    coverage: CoverageFacts
    partial: PartialFacts
    hits: tuple[ReportHit, ...]
    models: tuple[ModelVerdict, ...]
    expiries: Mapping[str, datetime]
    unscanned: tuple[UnscannedItem, ...]
    runs: tuple[RunFacts, ...]
    messages: tuple[MessageCount, ...]
    requests: tuple[RemovalRequest, ...]
    endings: EndingFacts
    stopped_by: Mapping[str, str] = field(default_factory=dict)
    """The checks that stopped the day's last night, each with its words."""
    approved_by: str | None = None
    """Who approved the day although checks of it fail."""
    held: tuple[HeldCount, ...] = ()
    served: tuple[RemovalRequest, ...] = ()
    """Requests completed on the day, or on the day of writing for a report of all days."""
    blocked: tuple[DayRow, ...] = ()
    """All days that a check stopped and nobody has approved since."""
