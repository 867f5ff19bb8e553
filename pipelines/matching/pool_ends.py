"""What must not be kept of pools any longer: vectors by age, and whatever a picture that is gone has a part in.

A pool that lacks a picture carries no hit any more from the transaction in which the picture went
(:mod:`pipelines.hits.counting`). Its vector leaves the database here, at the next sweep or compaction; what is left of
its pictures is pooled again.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.corpus.retention import expiry
from pipelines.database.parts import parts
from pipelines.database.tables import pool_faces, pools
from pipelines.hits.counting import is_gone_from_pool
from pipelines.hits.statuses import settle_statuses
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_without
from pipelines.matching.pool_hits import pairs_of
from pipelines.matching.pool_store import delete_pools


@acts
def let_go_of_vectors(workspace: Workspace) -> int:
    """Let go of the vectors of pools that may not be kept, or are of models that are in force no more; how many."""
    old = [pools.c.model_id != workspace.model_id]
    if workspace.config.corpus.mode == "none":
        old.append(sa.true())
    if limit := expiry(workspace):
        old.append(pools.c.oldest_at <= limit)
    with workspace.database.read() as connection:
        going = _with_vectors(connection, sa.or_(*old))
    return _let_go(workspace, going)


@acts
def forget_broken(workspace: Workspace) -> int:
    """Let go of the vectors of pools that a picture is missing of, and of such pools of earlier models altogether.

    Those of the models in force are replaced when their pictures are pooled again. Returns pools.
    """
    gone = sa.select(pool_faces.c.number).where(is_gone_from_pool(pool_faces, pools)).correlate(pools).exists()
    with workspace.database.read() as connection:
        vectors = _with_vectors(connection, gone)
        earlier = sa.select(pools.c.number).where(pools.c.model_id != workspace.model_id, gone)
        numbers = list(connection.execute(earlier).scalars())
    for some in parts(numbers):
        with workspace.database.write() as tx:
            pairs = pairs_of(tx, some)
            delete_pools(tx, some)
            judge_without(tx, workspace, pairs=pairs)
            settle_statuses(tx, {item_id for item_id, _ in pairs})
    return len(numbers) + _let_go(workspace, sorted(set(vectors) - set(numbers)))


def _with_vectors(connection: Connection, condition: sa.ColumnElement[bool]) -> list[int]:
    query = sa.select(pools.c.number).where(pools.c.sealed_vector.is_not(None), condition)
    return list(connection.execute(query.order_by(pools.c.number)).scalars())


def _let_go(workspace: Workspace, numbers: list[int]) -> int:
    for some in parts(numbers):
        with workspace.database.write() as tx:
            tx.execute(sa.update(pools).where(pools.c.number.in_(some)).values(sealed_vector=None))
    return len(numbers)
