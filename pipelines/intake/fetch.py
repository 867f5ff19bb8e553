"""Fetching: from ledger rows to content in memory, a batch at a time; a failure affects its item alone.

Knows sources and sealed records; must not know models or what a shard is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from embeddings.errors import FetchError, ItemError, UnscannableError
from embeddings.faults import guarded
from embeddings.types import Content
from pipelines.home.workspace import Workspace
from pipelines.intake.model_files import known_file
from pipelines.intake.model_reading import FoundContent, ReadModel, read_again, read_bytes, read_model
from pipelines.intake.picture_texts import ReadPicture, read_picture
from pipelines.intake.texts import texts_of
from pipelines.policy import BOUNTIES
from pipelines.sources import Item, ItemSource, open_source


@dataclass(frozen=True, slots=True)
class Fetched:
    """One item of a batch: its ledger position, and what went wrong, or its content, or a model file, or both."""

    item_id: str
    source_digest: str
    content: Content | None
    problem: ItemError | None
    outdated: bool
    """Whether earlier models gave a result, which stands if the content cannot be had now."""
    model_file: ReadModel | None = None
    picture: ReadPicture | None = None
    """What the picture says of its making."""
    remote: bool = False
    """The content is behind a URL."""
    failed: int = 0
    """Tries in a row that gave nothing before this one."""
    before: str | None = None
    """Digest of the bytes of the try before."""
    text_alone: bool = False
    """A bounty without a picture, whose texts say what there is to compare."""


class HasContent(Protocol):
    """Anything that one row was fetched into."""

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
    """Yield ``batches``, fetching the next while the caller works on one: two of them are in memory."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def open_item(workspace: Workspace, row: Any, sources: dict[str, ItemSource]) -> tuple[Item, ItemSource]:
    """Return the item in a row's sealed record, and its source, opened once per address in ``sources``.

    An item behind a path or URL of its own can be opened although its manifest is gone.
    """
    record = workspace.sealer.unseal_record(row.sealed_record, row.item_id)
    uri = record["source"]
    if uri not in sources:
        config = workspace.config
        sources[uri] = open_source(uri, settings=config.fetch, head=config.exchange, to_list=False)
    return Item.from_record(record["item"]), sources[uri]


def fetch_item(workspace: Workspace, row: Any, opened: tuple[Item, ItemSource]) -> Fetched:
    """Fetch the item's content, or say what is wrong with it. ``row.content_sha256``: the content before, or None.

    ``row.attempts``: tries in a row that gave nothing.
    """
    had, problem = FoundContent(None), None
    try:
        had = found(workspace, opened, known=row.content_sha256)
    except ItemError as error:
        problem = error
    workspace.beat()
    evidence = workspace.config.evidence
    if had.content is not None and evidence.keep_crops:
        workspace.recent.remember(had.content, most_bytes=evidence.recent_bytes)
    outdated = bool(row.outdated)
    return Fetched(
        row.item_id,
        row.source_digest,
        had.content,
        problem,
        outdated,
        had.model_file,
        read_picture(had.content, config=workspace.config.infotext, reader=workspace.infotext_reader)
        if had.content
        else None,
        remote=opened[0].remote,
        failed=row.attempts,
        before=row.content_sha256,
        text_alone=is_text_alone(opened[0], problem),
    )


def is_text_alone(item: Item, problem: ItemError | None) -> bool:
    """Whether an item is a bounty with nothing but texts, so that missing content is no fault."""
    without = problem is not None and problem.status == UnscannableError("no_content").status
    return without and item.kind in BOUNTIES and bool(texts_of(item))


def refused(workspace: Workspace, row: Any, problem: ItemError) -> Fetched:
    """Return what :func:`fetch_item` would for a row whose content is not asked for, because of ``problem``."""
    remote = Item.from_record(workspace.sealer.unseal_record(row.sealed_record, row.item_id)["item"]).remote
    known = (row.item_id, row.source_digest, None, problem)
    return Fetched(*known, outdated=False, remote=remote, failed=row.attempts, before=row.content_sha256)


def found(workspace: Workspace, opened: tuple[Item, ItemSource], *, known: str | None) -> FoundContent:
    """Call :func:`find_content`; any exception but the database's becomes the item's fault (:mod:`embeddings.faults`).

    What the system raises is tried again: it may be short of files or of memory for a while.
    """
    try:
        return guarded(lambda: find_content(workspace, opened, known=known), but=(OSError, SQLAlchemyError))
    except OSError as error:
        raise FetchError("unreadable", type(error).__name__) from error


def find_content(workspace: Workspace, opened: tuple[Item, ItemSource], *, known: str | None) -> FoundContent:
    """Read an item's bytes and tell what they are. ``known``: digest of the content expected, if any; of a model file
    that is still the same, only the header is read.

    Raises :class:`ItemError`.
    """
    item, source = opened
    if not item.has_content and item.problem == "row_invalid":
        raise FetchError("row_invalid", "the listing's row could not be read")
    if not item.has_content:
        raise UnscannableError("no_content", "nothing but text")
    config, max_bytes = workspace.config.model_files, workspace.limits.max_bytes
    reader = workspace.header_reader
    if item.kind != "model":
        data = source.fetch(item, max_bytes=max_bytes)
        if not data and item.kind in BOUNTIES and not item.remote:  # from a server, emptiness may pass
            raise UnscannableError("no_content", "nothing but text")
        return read_bytes(data, config=config, header_reader=reader)
    if known is not None:
        with workspace.database.read() as connection:
            before = known_file(connection, workspace.sealer, known)
        if before is not None:
            with source.open(item, whole=False) as reading:
                found = read_again(reading, before, config=config, header_reader=reader)
            if found is not None:
                return found
    with source.open(item, whole=config.payload == "stream") as reading:
        return read_model(reading, config=config, max_image_bytes=max_bytes, header_reader=reader)
