"""Coverage of names and seeds: which items were searched for which names and compared with which seeds (I2).

A row of ``examined`` is true of the text, the content and the matcher that it names, for every subject up to its
registry version and every seed up to its seed version.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from indexes.names import matcher_id
from pipelines.database.in_force import is_in_force
from pipelines.database.tables import examined, items, model_files, picture_texts, seeds, subjects
from pipelines.database.times import moment
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.registry.subjects import active_versions


@dataclass(frozen=True, slots=True)
class Required:
    """What every live item has to be examined for: the newest version of active subjects, and of seeds in force."""

    rules_id: str
    registry_version: int
    seed_version: int

    def missing(self) -> sa.ColumnElement[bool]:
        """Condition on ``items`` outer-joined with ``examined``, ``model_files`` and ``picture_texts``: some
        examination is missing."""
        if not self.registry_version:
            return sa.false()  # nobody to look for
        done = examined.c
        return sa.or_(
            done.item_id.is_(None),
            done.rules_id != self.rules_id,
            done.text_digest.is_distinct_from(items.c.text_digest),
            done.content_sha256.is_distinct_from(items.c.content_sha256),
            done.registry_version < self.registry_version,
            done.seed_version < self.seed_version,
            # The file's own texts were read later, at a second try or by another reader.
            model_files.c.read_at > done.examined_at,
            picture_texts.c.read_at > done.examined_at,
        )

    def texts_since(self, row: Any) -> int:
        """Return the registry version up to which this item's present texts were searched for everybody."""
        same = row.examined_rules_id == self.rules_id and row.examined_text_digest == row.text_digest
        return int(row.examined_registry_version) if same else 0

    def file_since(self, row: Any) -> int:
        """Return the registry version up to which the texts in this item's content were searched for everybody."""
        same = row.examined_rules_id == self.rules_id and row.examined_content_sha256 == row.content_sha256
        read = [at for at in (row.read_at, row.pictured_at) if at is not None]
        late = row.examined_at is not None and any(at > row.examined_at for at in read)
        return int(row.examined_registry_version) if same and not late else 0


def rules_id(workspace: Workspace) -> str:
    """Return the id of the rules of examining: the name matcher, and the distance up to which pictures are the same."""
    return f"{matcher_id(workspace.config.names)}/{workspace.policy.settings.takedown.duplicate_distance}"


def required(connection: Connection, workspace: Workspace, *, subject_ids: Collection[str] | None = None) -> Required:
    """Read what items have to be examined for now, by all active subjects or by some."""
    versions = active_versions(connection, now=moment(connection))
    wanted = [version for key, version in versions.items() if subject_ids is None or key in subject_ids]
    in_force = seeds_in_force(now=moment(connection)).with_only_columns(sa.func.max(seeds.c.version))
    if subject_ids is not None:
        in_force = in_force.where(seeds.c.subject_id.in_(list(subject_ids)))
    return Required(
        rules_id=rules_id(workspace),
        registry_version=max(wanted, default=0),
        seed_version=int(connection.execute(in_force).scalar() or 0),
    )


def seeds_in_force(*, now: datetime) -> sa.Select[Any]:
    """Select the seeds that were not revoked, of subjects in force, oldest first."""
    own = sa.and_(subjects.c.subject_id == seeds.c.subject_id, is_in_force(now))
    return sa.select(seeds).join(subjects, own).where(seeds.c.revoked_at.is_(None))


def unexamined(need: Required, scope: Scope) -> sa.Select[Any]:
    """Select live items in scope that lack an examination, with what is known of their content and examination."""
    same_content = model_files.c.content_sha256 == items.c.content_sha256
    same_picture = picture_texts.c.content_sha256 == items.c.content_sha256
    joined = items.outerjoin(examined, examined.c.item_id == items.c.item_id).outerjoin(model_files, same_content)
    joined = joined.outerjoin(picture_texts, same_picture)
    columns = [items.c[name] for name in ("item_id", "status", "text_digest", "content_sha256", "pdq")]
    read = (model_files.c.payload_sha256, model_files.c.read_at, picture_texts.c.read_at.label("pictured_at"))
    before = [examined.c[name].label(f"examined_{name}") for name in _BEFORE]
    return (
        sa.select(*columns, *read, examined.c.examined_at, *before)
        .select_from(joined)
        .where(*scope.where(), need.missing())
    )


_BEFORE = ("item_id", "text_digest", "content_sha256", "rules_id", "registry_version")


def unexamined_count(
    connection: Connection,
    workspace: Workspace,
    *,
    scope: Scope | None = None,
    subject_ids: Collection[str] | None = None,
) -> int:
    """Count live items not examined for every active subject, or for these; 0 if there are no subjects."""
    need = required(connection, workspace, subject_ids=subject_ids)
    query = unexamined(need, scope or Scope(None, None)).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(query)).scalar_one())


def is_examined_for(connection: Connection, workspace: Workspace, subject_id: str) -> bool:
    """Whether every live item was examined for one subject, except for items only just listed.

    The sweep that scans those examines them, and reads the registry later.
    """
    need = required(connection, workspace, subject_ids=(subject_id,))
    listed = sa.and_(items.c.status == "pending", items.c.shard_id.is_(None))
    query = unexamined(need, Scope(None, None)).where(~listed)
    return connection.execute(query.limit(1)).first() is None
