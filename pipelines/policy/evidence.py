"""Evidence as the policy looks at it: who may speak of what, and how many different pictures some of it comes from.

Anybody can post a picture to anybody's model. So evidence carries who uploaded the item that it is in, and whether that
is the model's own uploader. What is said of an item automatically rests on what its own uploader and the model's posted
(:func:`witnesses`), what is said of a model on what the model's uploader posted. What strangers post is judged itself,
and can at most raise a suspicion. An unknown uploader is a stranger to every known one, and the same as another unknown
one: a source that names no uploaders is judged as if all were one person's. A model that is not listed has an unknown
uploader.

Knows no database.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.policy.schema import Band, PolicyFile

Tier = Literal["exact", "face", "pooled_face", "made_by", "header", "text"]
BOUNTIES = ("bounty", "bounty_entry")


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """What a second network says of a face: ``agrees``, ``denies``, or ``none:<reason>``, which is no opinion."""

    network_id: str
    opinion: str
    score: float | None
    threshold: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """One hit. ``pdq``: hash of the item's picture, 64 hex digits or None; ``content_key``: what a verdict
    on the item is about. ``found_by_id``: the face pack, the matcher of names or the hash.

    ``band`` is today's: None for a face whose score is below the thresholds in force.
    """

    hit_id: str
    item_id: str
    kind: str
    content_key: str
    tier: Tier
    band: Band | None
    score: float
    threshold: float
    threshold_source: str
    found_by_id: str
    pdq: str | None = None
    template_id: str | None = None
    place: str | None = None
    match: str | None = None
    seed_id: str | None = None
    confirmed: bool = False
    """Whether a person confirmed the hit."""
    uploader: str | None = None
    """Uploader of the item that the hit is in; None: unknown."""
    by_owner: bool = True
    """Whether that uploader also uploaded the model that the item belongs to or is; true for an item without a
    model."""
    seed_firm: bool = False
    """Tier ``exact``: whether the seed is of something in the confirmed bytes (:mod:`pipelines.registry.seeds`)."""
    seed_share: float | None = None
    """Tier ``exact``: share of the confirmed picture that the confirmed face fills; None: not known."""
    pool: str | None = None
    """Tier ``pooled_face``: digest of the faces that were pooled, the same in each picture of the pool."""
    pictures: int | None = None
    """Tier ``pooled_face``: how many different pictures were pooled."""
    second: SecondOpinion | None = None
    """Tier ``face``: what the second network in force says of the face; None: it was not asked."""
    acts: bool = True
    """Whether the second network leaves it to a machine to act on the hit (:func:`may_act`)."""


@dataclass(frozen=True, slots=True)
class Context:
    """How mature an item's content is. ``level``: a word of :data:`pipelines.scan.rating.LEVELS`, or ``unknown``."""

    level: str = "unknown"
    mature: bool = False
    minor_looking: bool = False


def of_tier(evidence: Sequence[Evidence], *tiers: Tier, strong: bool = False) -> list[Evidence]:
    """Return the evidence of some tiers; with ``strong``, of the strong band only."""
    return [hit for hit in evidence if hit.tier in tiers and (hit.band == "strong" or not strong)]


def may_act(second: SecondOpinion | None, settings: PolicyFile) -> bool:
    """Whether a machine may act because of a face of which a second network says this. No opinion agrees with nothing,
    and denies nothing."""
    opinion = second.opinion if second else "none"
    if settings.second_opinion.corroboration == "agreed":
        return opinion == "agrees"
    return settings.second_opinion.corroboration == "none" or opinion != "denies"


def acting_faces(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Return the strong faces because of which a machine may act."""
    return [hit for hit in of_tier(evidence, "face", strong=True) if hit.acts]


def witnesses(evidence: Sequence[Evidence], *, uploader: str | None) -> list[Evidence]:
    """Return the evidence that counts for an item of ``uploader``: theirs, and that of the model's own uploader."""
    return [hit for hit in evidence if hit.by_owner or hit.uploader == uploader]


def speaks_for_whole(hit: Evidence, settings: PolicyFile) -> bool:
    """Whether what a person confirmed stands for the whole of this copy (a hit of tier ``exact``).

    It does for the same bytes or tensors, where these were confirmed, and for a picture that looks alike, where the
    confirmed face fills enough of it.
    """
    if hit.place == "pdq":
        return hit.seed_share is not None and hit.seed_share >= settings.copies.face_share
    return hit.seed_firm


def has_condemned_copy(own: Sequence[Evidence], settings: PolicyFile) -> bool:
    """Whether an item with these hits is a copy that the policy takes down: of a listed kind, and either what was
    confirmed stands for the whole, or the copy shows a strong face itself."""
    shows = bool(acting_faces(own))
    copies = [hit for hit in of_tier(own, "exact", strong=True) if hit.place in settings.takedown.exact]
    return any(shows or speaks_for_whole(hit, settings) for hit in copies)


def tiers_of(evidence: Collection[Evidence]) -> str:
    """Return the tiers among the evidence, as one sorted word list."""
    return " ".join(sorted({hit.tier for hit in evidence}))


def distinct_pictures(
    evidence: Sequence[Evidence], *, duplicate_distance: int, beside: Mapping[str, int | None] | None = None
) -> dict[str, int | None]:
    """Return the different pictures that the evidence comes from; re-encodings and repeats of one count once.

    Content digest -> PDQ hash or None, of one picture of each kind. They are joined greedily in order of digest, so
    that the result does not depend on arrival. A picture without a hash counts as distinct from every other content.
    ``beside``: pictures that are kept, and that the others must differ from.
    """
    pictures = {hit.content_key: hit.pdq for hit in evidence}
    kept = dict(beside or {})
    for content, pdq in sorted(pictures.items()):
        bits = None if pdq is None else int(pdq, 16)
        near = bits is not None and any(
            other is not None and (bits ^ other).bit_count() <= duplicate_distance for other in kept.values()
        )
        if content not in kept and not near:
            kept[content] = bits
    return kept


def count_distinct(evidence: Sequence[Evidence], *, duplicate_distance: int) -> int:
    """Count the different pictures that the evidence comes from (:func:`distinct_pictures`)."""
    return len(distinct_pictures(evidence, duplicate_distance=duplicate_distance))


class Witnessed:
    """In how many different pictures of one model somebody who may speak of them has a strong face that may act.

    The pictures of the model's own uploader are compared with each other once, those of each other uploader with them.
    """

    def __init__(self, evidence: Sequence[Evidence], *, duplicate_distance: int) -> None:
        faces = acting_faces(evidence)
        self._distance = duplicate_distance
        self._by_others: dict[str | None, list[Evidence]] = {}
        for hit in faces:
            if not hit.by_owner:
                self._by_others.setdefault(hit.uploader, []).append(hit)
        own = [hit for hit in faces if hit.by_owner]
        self._own = distinct_pictures(own, duplicate_distance=duplicate_distance)
        self._counts = dict.fromkeys([hit.uploader for hit in own], len(self._own))

    @property
    def by_owner(self) -> int:
        """Count for the model itself."""
        return len(self._own)

    @property
    def by_anybody(self) -> int:
        """Count of pictures whoever posted them."""
        return self._with([hit for hits in self._by_others.values() for hit in hits])

    def by(self, uploader: str | None) -> int:
        """Count for the items of ``uploader``."""
        if uploader not in self._counts:
            self._counts[uploader] = self._with(self._by_others.get(uploader, ()))
        return self._counts[uploader]

    def _with(self, more: Sequence[Evidence]) -> int:
        if not more:
            return len(self._own)
        return len(distinct_pictures(more, duplicate_distance=self._distance, beside=self._own))
