"""The faces of given items with their vectors, wherever these are: in kept shards, or by embedding the items again.

Reads only. An item that does not give what it gave before leaves its shard (:mod:`pipelines.scan.again`); that is told
to the caller, who writes it down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from embeddings.types import Float32, vectors_of
from pipelines.corpus.manifest import find_shard
from pipelines.corpus.retention import read_kept_of
from pipelines.home.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.scan.again import LeavingItem


@dataclass(frozen=True, slots=True)
class FacesOfItems:
    """Faces and their vectors (n, d), row for row, in no particular order. ``faces``: as the corpus has them.

    ``leaving``: items that are not what they were, by the shard that they leave. ``superseded``: a shard was compacted
    or let go of while this was reading, so that something may be missing.
    """

    faces: list[dict[str, Any]]
    vectors: Float32 = field(repr=False)
    leaving: dict[str, list[LeavingItem]]
    superseded: bool = False


def read_faces(workspace: Workspace, shard_of: dict[str, str], *, dimension: int, again: bool = True) -> FacesOfItems:
    """The faces of these items; ``shard_of``: item id -> the shard that the ledger names.

    ``again`` False: without those whose vectors are not kept, instead of embedding their items again. Raises
    :class:`CorruptionError` for a listed shard that is not what was written, and :class:`NotReadyError` where no
    content of many can be had.
    """
    by_shard: dict[str, list[str]] = {}
    for item_id, shard_id in sorted(shard_of.items()):
        by_shard.setdefault(shard_id, []).append(item_id)
    with workspace.database.read() as connection:
        found = {shard_id: find_shard(connection, workspace.sealer, shard_id) for shard_id in by_shard}
    faces, vectors, superseded = list[dict[str, Any]](), [np.empty((0, dimension), dtype=np.float32)], False
    lost = list[str]()
    for shard_id, item_ids in by_shard.items():
        shard = found[shard_id]
        if shard is None:
            superseded = True
        elif shard.entry.path is None:
            lost += item_ids
        elif (table := read_kept_of(workspace, shard.entry, item_ids)) is None:
            superseded = True
        else:
            vectors.append(vectors_of(table["vector"], dimension).copy())
            faces += table.drop_columns(["vector"]).to_pylist()
    leaving = dict[str, list["LeavingItem"]]()
    if lost and again:
        from pipelines.scan.again import embed_items

        for table, some in embed_items(workspace, lost):
            vectors.append(vectors_of(table["vector"], dimension).copy())
            faces += table.drop_columns(["vector"]).to_pylist()
            for one in some:
                leaving.setdefault(shard_of[one.item_id], []).append(one)
    return FacesOfItems(faces, np.concatenate(vectors), leaving, superseded)
