"""The nightly check of the search itself: what one engine compared, the other compares again (I3).

A test finds what its author thought of. This one runs on the platform's own vectors: each night it reads a part of one
stored shard, compares that with everybody by our own join and by FAISS, and stops the run where the two do not find the
very same pairs with the very same scores. Where it goes on is kept in the database: after a part comes the next one of
the shard, after a shard the one whose id follows, and after the last the first. A part in which the engines differ is
compared again until they do not.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from embeddings.errors import CorruptionError
from embeddings.types import vectors_of
from indexes.corpus import ShardEntry
from indexes.flat import Window, require_same_pairs
from indexes.stored import FreshVectors, Stored
from pipelines.corpus.manifest import list_shards
from pipelines.corpus.retention import is_kept, read_kept
from pipelines.database import get_state, set_state
from pipelines.database.times import moment
from pipelines.home.workspace import Workspace
from pipelines.matching.galleries import load_gallery
from pipelines.registry.subjects import active_versions

TURN: Final = "checked_again"
"""The fact in the table of state that says whose turn it is."""
_AFTER: Final = "\x7f"
"""Put behind an id it comes after that id, and before the next one."""
MOST_COMPARISONS: Final = 1 << 30
"""Faces times references that a night compares again: some ten seconds of two cores at 512 dimensions."""


@dataclass(frozen=True, slots=True)
class CheckedAgain:
    """What a night compared again. ``shard_id`` None: nothing is stored that can be. ``pairs``: found by both."""

    shard_id: str | None = None
    faces: int = 0
    pairs: int = 0


def check_by_other_engine(workspace: Workspace) -> CheckedAgain:
    """Compare the part of the corpus whose turn it is by both engines, and go on to the next one.

    Shards of which no vectors are stored have no turn. Raises :class:`CorruptionError` where the engines differ, which
    stops the night before anything is recorded as compared.
    """
    with workspace.database.read() as connection:
        listed = list_shards(connection, workspace.sealer, model_id=workspace.model_id)
        stored = sorted((shard.entry for shard in listed if shard.entry.path), key=lambda entry: entry.shard_id)
        versions = active_versions(connection, now=moment(connection))
        if not stored or not versions:
            return CheckedAgain()
        gallery = load_gallery(workspace, connection, subject_ids=versions)
        threshold = workspace.thresholds_at(connection).review
        shard_id, block = _turn(get_state(connection, TURN))
    entry = next((one for one in stored if one.shard_id >= shard_id), stored[0])
    first = block if entry.shard_id == shard_id else 0
    with _opened(workspace, entry) as vectors:
        if vectors is None:
            return CheckedAgain()
        blocks = max(1, MOST_COMPARISONS // (len(gallery) * vectors.block_rows))
        first = first if first * vectors.block_rows < vectors.rows else 0
        window = Window(vectors, first, blocks)
        pairs = require_same_pairs(gallery, window, threshold=threshold)
        is_last = (first + blocks) * vectors.block_rows >= vectors.rows
    following = (f"{entry.shard_id}{_AFTER}", 0) if is_last else (entry.shard_id, first + blocks)
    with workspace.database.write() as tx:
        set_state(tx, TURN, json.dumps(following))
    return CheckedAgain(entry.shard_id, window.rows, pairs)


def _turn(stored: str | None) -> tuple[str, int]:
    """The shard from which to look for the next one, in order of ids, and the first block of its part."""
    shard_id, block = json.loads(stored) if stored else ("", 0)
    return str(shard_id), int(block)


@contextlib.contextmanager
def _opened(workspace: Workspace, entry: ShardEntry) -> Iterator[Stored | None]:
    """The vectors of a shard as a stored side; None where it was compacted or lost its files meanwhile."""
    if entry.vector_salt is None:
        table = read_kept(workspace, entry)
        yield None if table is None else FreshVectors(vectors_of(table["vector"], entry.dimension))
        return
    with contextlib.ExitStack() as stack:
        try:
            opened = workspace.corpus.open_vectors(entry, key=workspace.sealer.shard_key(entry.shard_id))
            vectors: Stored | None = stack.enter_context(opened)
        except CorruptionError:
            if is_kept(workspace, entry):
                raise
            vectors = None
        yield vectors
