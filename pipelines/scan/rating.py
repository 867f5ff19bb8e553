"""How mature content is, on one scale, from the platform's rating, Open-NSFW and the concepts.

The highest of them counts. The platform's rating can raise the level and never lowers it, because the uploader may have
given it. :func:`rate` is that rule as a pure function; :func:`ratings_of` reads its input for items.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.parts import parts
from pipelines.database.tables import contents, items
from pipelines.home.workspace import Workspace
from pipelines.policy.levels import LEVELS, UNKNOWN
from pipelines.settings.scanning import ContentConfig

if TYPE_CHECKING:
    from pipelines.policy.concept_list import ConceptList


@dataclass(frozen=True, slots=True)
class Rating:
    """What is known of one item's content.

    ``level``: one of :data:`LEVELS`, or :data:`UNKNOWN`. ``sources``: what gave that level: ``platform``, ``open_nsfw``
    or ``concept:<name>``. The three marks are None while no concept was looked for, or the list has none of that name.
    """

    level: str
    minor_looking: bool | None
    drawing: bool | None
    violence: bool | None
    sources: tuple[str, ...]


def rate(
    *,
    nsfw_score: float | None,
    concepts: Mapping[str, float] | None,
    platform: int | None,
    concept_list: ConceptList,
    config: ContentConfig,
) -> Rating:
    """Combine what is known of one content; None stands for unknown.

    ``nsfw_score``: of Open-NSFW, in [0, 1]. ``concepts``: scores by ``concept_list``. ``platform``: position in
    :data:`LEVELS`. The level is the highest that any of them gives, so it never falls when one of them rises or comes.
    """
    said: dict[str, int] = {}
    if platform is not None:
        said["platform"] = platform
    if nsfw_score is not None:
        bounds = (config.suggestive_score, config.mature_score, config.explicit_score)
        said["open_nsfw"] = sum(nsfw_score >= bound for bound in bounds)
    present = concept_list.present(concepts or {})
    for name, entry in concept_list.settings.concepts.items():
        if concepts is not None and name in concepts and entry.level:
            said[f"concept:{name}"] = LEVELS.index(entry.level) if name in present else 0
    level = max(said.values(), default=None)
    minor_looking, drawing, violence = (
        name in present if concepts is not None and name in concepts else None
        for name in ("minor_looking", "drawing", "violence")
    )
    return Rating(
        level=UNKNOWN if level is None else LEVELS[level],
        minor_looking=minor_looking,
        drawing=drawing,
        violence=violence,
        sources=tuple(name for name, given in said.items() if given == level),
    )


def settings_digest(workspace: Workspace) -> str:
    """Return a digest of what turns scores into ratings: bounds, and the list's thresholds and levels."""
    config = workspace.config.content
    said = [config.suggestive_score, config.mature_score, config.explicit_score, repr(workspace.concept_list.settings)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def ratings_of(connection: Connection, workspace: Workspace, item_ids: Collection[str]) -> dict[str, Rating]:
    """Return the ratings, by id, of the items that the ledger knows. Loads no model.

    Only concept scores by the list in force on the content's present vectors count; scores by another list or other
    weights are left out, because the thresholds are not for them, until
    :func:`pipelines.scan.concepts.apply_concepts` has renewed them. An item without described content has the
    platform's rating alone. Raises :class:`CorruptionError` for scores that were altered.
    """
    from pipelines.scan.concepts import parse_scores

    listed = workspace.concept_list
    wanted = sorted(set(item_ids))
    columns = (contents.c[name] for name in ("nsfw_score", "clip_model_id", "concepts_id", "concepts"))
    query = sa.select(items.c.item_id, items.c.platform_level, *columns).select_from(
        items.outerjoin(contents, contents.c.content_sha256 == items.c.content_sha256)
    )
    found: dict[str, Rating] = {}
    in_force: dict[str, str] = {}
    for some in parts(wanted):
        for row in connection.execute(query.where(items.c.item_id.in_(some))):
            scores = None
            if row.concepts is not None and row.clip_model_id is not None:
                if row.clip_model_id not in in_force:
                    in_force[row.clip_model_id] = listed.concepts_id(row.clip_model_id)
                if row.concepts_id == in_force[row.clip_model_id]:
                    scores = parse_scores(row.concepts)
            found[row.item_id] = rate(
                nsfw_score=row.nsfw_score,
                concepts=scores,
                platform=row.platform_level,
                concept_list=listed,
                config=workspace.config.content,
            )
    return found
