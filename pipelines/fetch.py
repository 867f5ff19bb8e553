"""Fetching: ledger rows -> content in memory, a batch at a time, an item's failure its own.

Knows sources and sealed records; must not know models or what a shard is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from embeddings.errors import FetchError, ItemError, UnscannableError
from embeddings.types import Content
from pipelines.sources import Item, ItemSource, open_source
from pipelines.workspace import Workspace

OPERATORS_REASONS = ("host_not_allowed", "address_not_allowed")
"""Fetches that fail until a setting is changed: they use up no attempt, so that the change brings the items in."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One item of a batch: its ledger position, and either its content or what went wrong."""

    item_id: str
    source_digest: str
    content: Content | None
    problem: ItemError | None
    outdated: bool
    """Has a result of earlier models, which stands if the content cannot be had now."""


class HasContent(Protocol):
    """What one row became."""

    @property
    def content(self) -> Content | None:
        """None when it could not be had."""
        ...


T = TypeVar("T", bound=HasContent)
B = TypeVar("B")


def fetch_until(
    workspace: Workspace,
    rows: Sequence[Any],
    sources: dict[str, ItemSource],
    pool: ThreadPoolExecutor,
    fetch: Callable[[Workspace, Any, tuple[Item, ItemSource]], T],
) -> list[T]:
    """Fetch rows in order, each by ``fetch`` on ``pool``, until the batch is full by bytes; at least one."""
    config = workspace.config.sweep
    batch: list[T] = []
    size = 0
    for start in range(0, len(rows), config.fetch_threads):
        window = rows[start : start + config.fetch_threads]
        opened = [open_item(workspace, row, sources) for row in window]
        for fetched in pool.map(lambda pair: fetch(workspace, *pair), zip(window, opened, strict=True)):
            batch.append(fetched)
            size += len(fetched.content.data) if fetched.content else 0
        if size >= config.shard_bytes:
            break
    return batch


def ahead(batches: Iterator[B]) -> Iterator[B]:
    """``batches``, of which the next is being fetched while the caller works on one: two of them are in memory."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def open_item(workspace: Workspace, row: Any, sources: dict[str, ItemSource]) -> tuple[Item, ItemSource]:
    """The item in a row's sealed record, and its source, opened once per address in ``sources``."""
    record = workspace.sealer.unseal_record(row.sealed_record, row.item_id)
    uri = record["source"]
    if uri not in sources:
        sources[uri] = open_source(uri, settings=workspace.config.fetch.settings())
    return Item.from_record(record["item"]), sources[uri]


def fetch_item(workspace: Workspace, row: Any, opened: tuple[Item, ItemSource]) -> Fetched:
    """The item's content, or what is wrong with it."""
    item, source = opened
    content: Content | None = None
    problem: ItemError | None = None
    try:
        data = _content_of(item, source, max_bytes=workspace.limits.max_bytes)
        content = Content(sha256=hashlib.sha256(data).digest(), data=data)
    except ItemError as error:
        problem = error
    return Fetched(row.item_id, row.source_digest, content, problem, outdated=bool(row.outdated))


def _content_of(item: Item, source: ItemSource, *, max_bytes: int) -> bytes:
    if not item.has_content and item.problem == "row_invalid":
        raise FetchError("row_invalid", "the listing's row could not be read")
    if not item.has_content:
        raise UnscannableError("no_content", "nothing but text")
    return source.fetch(item, max_bytes=max_bytes)
