"""Hits of the examining stage: names in texts, and contents with (nearly) the fingerprint of a seed.

The words found are sealed under their subject's key, bound to the hit; erasing the subject makes them unreadable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.engine import Connection

from indexes.name_rules import NameMatch
from pipelines.database.tables import hits
from pipelines.evidence.terms import term_aad
from pipelines.home.sealing import seal
from pipelines.home.workspace import Workspace
from pipelines.matching.sought import SeedMatch
from pipelines.policy import Band
from pipelines.registry.seeds import MADE_BY
from pipelines.registry.templates import open_subject_key

if TYPE_CHECKING:
    from pipelines.matching.comparison import FoundBy


@dataclass(frozen=True, slots=True)
class FoundHit:
    """One hit on an item. ``digest``: of the listed text for a name in that, else of the content."""

    item_id: str
    digest: str
    subject_id: str
    tier: Literal["text", "header", "exact", "made_by"]
    place: str
    found_by_id: str
    score: float = 1.0
    threshold: float = 1.0
    match: str | None = None
    term: str | None = field(default=None, repr=False)
    seed_id: str | None = None
    seed_digest: str | None = None

    @property
    def hit_id(self) -> str:
        """The hit's id, which is the same however often the same thing is found."""
        named = [self.tier, self.item_id, self.digest, self.subject_id, self.place, self.found_by_id, self.seed_digest]
        return f"hit_{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:32]}"


def name_hit(item_id: str, digest: str, place: str, text: str, match: NameMatch, *, matcher_id: str) -> FoundHit:
    """Make the hit of a name at a place of an item."""
    return FoundHit(
        item_id=item_id,
        digest=digest,
        subject_id=match.subject_id,
        tier="header" if place.startswith("header:") else "text",
        place=place,
        found_by_id=matcher_id,
        match=match.rule,
        term=text[match.start : match.end],
    )


def seed_hit(item_id: str, content: str, match: SeedMatch, *, near: float) -> FoundHit:
    """Make the hit of a seed on an item; ``near``: score from which pictures count as the same."""
    named = match.seed.kind == MADE_BY
    return FoundHit(
        item_id=item_id,
        digest=content,
        subject_id=match.seed.subject_id,
        tier="made_by" if named else "exact",
        place=match.seed.digest.partition(":")[0] if named else match.seed.kind,
        found_by_id=match.seed.model_id,
        score=match.score,
        threshold=near if match.seed.kind == "pdq" else 1.0,
        seed_id=match.seed.seed_id,
        seed_digest=match.seed.digest,
    )


def hit_rows(
    tx: Connection, workspace: Workspace, found: Sequence[FoundHit], found_by: FoundBy
) -> list[dict[str, Any]]:
    """Make rows of the table of hits, with sealed words. The subjects' keys must still exist."""
    keys = {
        subject_id: open_subject_key(tx, workspace.sealer, subject_id)
        for subject_id in sorted({hit.subject_id for hit in found if hit.term is not None})
    }
    nothing: dict[str, Any] = {column.name: None for column in hits.columns}
    now = workspace.now()
    return [
        nothing
        | {
            "hit_id": hit.hit_id,
            "item_id": hit.item_id,
            "content_key": hit.digest,
            "subject_id": hit.subject_id,
            "tier": hit.tier,
            "band": _band(workspace, hit),
            "score": hit.score,
            "threshold": hit.threshold,
            "threshold_source": "names" if hit.match else "seed",
            "found_by_id": hit.found_by_id,
            "policy_version": workspace.policy.version,
            "place": hit.place,
            "match": hit.match,
            "sealed_term": _sealed(keys, hit),
            "seed_id": hit.seed_id,
            "found_by": found_by,
            "found_at": now,
        }
        for hit in found
    ]


def _band(workspace: Workspace, hit: FoundHit) -> Band:
    """Return the band: that of a name is the policy's; what a picture says of its making, anybody can write."""
    if hit.match:
        return workspace.policy.text_band(hit.place, hit.match)
    return "review" if hit.tier == MADE_BY else "strong"


def _sealed(keys: dict[str, bytes], hit: FoundHit) -> bytes | None:
    if hit.term is None:
        return None
    words = hit.term.encode("utf-8", "replace")
    return seal(keys[hit.subject_id], words, term_aad(hit.hit_id, hit.subject_id))
