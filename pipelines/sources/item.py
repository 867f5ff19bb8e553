"""What a source yields: the :class:`Item`, its JSON form, and the :class:`ItemSource` seam.

Owns the vocabulary of sources. Knows no file system, no network and no database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final, Literal, Protocol, cast, get_args

from embeddings.errors import ConfigError, CorruptionError
from pipelines.sources.reading import Reading

Kind = Literal["model", "image", "bounty", "bounty_entry"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """How content is fetched. Comes from ``likeness.toml``; applies to URLs only."""

    timeout_seconds: float
    """Deadline of one fetch in all: connecting, waiting and reading."""
    allowed_hosts: tuple[str, ...]
    """Hosts that URLs may name: ``"cdn.example"`` for ports 80 (http) and 443 (https), ``"cdn.example:8443"`` for
    another port. Exact names, no wildcards. Empty: no URL is fetched at all."""
    allow_private_addresses: bool
    """Whether a host may resolve to a private, loopback, link-local or reserved address."""

    def __post_init__(self) -> None:
        if not 0 < self.timeout_seconds < float("inf"):
            raise ConfigError("timeout_seconds must be a positive number of seconds")


@dataclass(frozen=True, slots=True)
class Listed:
    """How an item was listed this time: what tells an older listing from a newer one, and what could not be read."""

    updated_at: datetime | None = None
    """When the platform last changed what it says of the item; aware, UTC."""
    generation: int | None = None
    """When, or as which number, the whole listing was made; larger is newer."""
    undeleted: bool = False
    """Whether the listing says that the item is not deleted, instead of saying nothing of deletion."""
    dated: bool = True
    """Whether the item's ``received_at`` was listed; else it stands in until the ledger replaces it."""
    date_form: str = "missing"
    """How ``received_at`` was written; ``missing`` or ``unreadable`` where it was not."""
    bad: tuple[str, ...] = ()
    """Fields that were given and could not be read, or not wholly; ``row`` for the row itself."""
    adapted: tuple[str, ...] = ()
    """Fields that were read from another form than the documented one."""
    row: int | None = None
    """Number of the item's row in the listing, from 1; None in a folder."""


@dataclass(frozen=True, slots=True)
class Item:
    """One uploaded thing. Every string is valid UTF-8 without NUL, so any database stores it.

    ``repr`` shows neither names, prompts, paths nor URLs, so that an item in a log or a traceback gives nothing away.
    """

    item_id: str = field(repr=False)
    """Unique within one listing, at most 512 characters. A directory's ids are paths, hence not in ``repr`` either."""
    kind: Kind
    received_at: datetime
    """When the platform received the item; aware, UTC."""
    locator: str = field(repr=False)
    """What ``fetch`` follows: a path relative to the source's root, or a URL; empty when there is no content."""
    parent_model: str | None = field(default=None, repr=False)
    uploader: str | None = field(default=None, repr=False)
    title: str | None = field(default=None, repr=False)
    prompt: str | None = field(default=None, repr=False)
    tags: tuple[str, ...] = field(default=(), repr=False)
    trigger_words: tuple[str, ...] = field(default=(), repr=False)
    nsfw_level: str | None = None
    """The platform's rating as given; a number in its decimal form."""
    revision: str | None = field(default=None, repr=False)
    """Changes whenever the content changes; None when the source cannot tell."""
    deleted: bool = False
    problem: str | None = None
    """A fixed word when the listing had something wrong: ``sidecar_invalid``, ``bad_field``, ``duplicate_id``, or the
    reason with which ``fetch`` is going to fail, ``row_invalid`` for instance."""
    listed: Listed = field(default_factory=Listed, compare=False, repr=False)
    """How the item was listed; no part of its record."""

    def __post_init__(self) -> None:
        if self.received_at.utcoffset() != timedelta(0):
            raise ValueError("received_at must be aware and in UTC")

    @property
    def has_content(self) -> bool:
        """Whether there is anything to fetch. A bounty may be text alone."""
        return self.locator != ""

    @property
    def remote(self) -> bool:
        """Whether ``fetch`` asks a server, whose answer may be wrong for a while, unlike a file's bytes."""
        return "://" in self.locator

    def to_record(self) -> dict[str, object]:
        """Return this item as values that ``json`` writes; :meth:`from_record` reads it back."""
        return {
            "item_id": self.item_id,
            "kind": self.kind,
            "received_at": self.received_at.isoformat(),
            "locator": self.locator,
            "parent_model": self.parent_model,
            "uploader": self.uploader,
            "title": self.title,
            "prompt": self.prompt,
            "tags": list(self.tags),
            "trigger_words": list(self.trigger_words),
            "nsfw_level": self.nsfw_level,
            "revision": self.revision,
            "deleted": self.deleted,
            "problem": self.problem,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Item:
        """Return the item that :meth:`to_record` wrote. Raises :class:`CorruptionError` for anything else."""
        try:
            return cls(
                item_id=_string(record["item_id"]),
                kind=_kind(record["kind"]),
                received_at=datetime.fromisoformat(_string(record["received_at"])),
                locator=_string(record["locator"]),
                parent_model=_optional(record.get("parent_model")),
                uploader=_optional(record.get("uploader")),
                title=_optional(record.get("title")),
                prompt=_optional(record.get("prompt")),
                tags=_strings(record.get("tags", ())),
                trigger_words=_strings(record.get("trigger_words", ())),
                nsfw_level=_optional(record.get("nsfw_level")),
                revision=_optional(record.get("revision")),
                deleted=_flag(record.get("deleted", False)),
                problem=_optional(record.get("problem")),
            )
        except (KeyError, TypeError, ValueError):
            raise CorruptionError("a stored item record is not what to_record writes") from None


class ItemSource(Protocol):
    """Where items come from. Safe to call from several threads."""

    @property
    def uri(self) -> str:
        """The URI that :func:`pipelines.sources.open_source` was given."""
        ...

    def items(self, day: date | None) -> Iterator[Item]:
        """Yield all items, or those received on one UTC ``day``, in a stable order.

        A malformed item is not left out: it comes with a ``problem``. Raises :class:`CorruptionError` when
        the listing itself cannot be read to its end.
        """
        ...

    def other_fields(self, *, most: int) -> dict[str, int]:
        """Count the fields in the first ``most`` rows that nothing reads, to find mistakes in a listing."""
        ...

    def digest(self) -> str | None:
        """Return the digest of the whole listing, by which a repeated one is recognised; None for a source without."""
        ...

    def trouble(self, item: Item) -> str | None:
        """Return the reason with which ``fetch`` would fail, as far as known without reading or asking a server.

        None if there is none, and for an item without content.
        """
        ...

    def fetch(self, item: Item, *, max_bytes: int) -> bytes:
        """Fetch the item's content. It depends on ``item.locator`` alone, so a stored item can be fetched again.

        Raises :class:`FetchError`, or :class:`UnscannableError` ``too_large`` beyond ``max_bytes``.
        """
        ...

    def open(self, item: Item, *, whole: bool) -> AbstractContextManager[Reading]:
        """Open the item's content to be read piece by piece; only what is read is held in memory.

        ``whole``: most of it will be read, so a server is asked for all at once; else for one range per piece. Opening
        and reading raise :class:`FetchError`.
        """
        ...


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _string(value)


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError
    return tuple(_string(entry) for entry in value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _kind(value: object) -> Kind:
    if value not in KINDS:
        raise ValueError
    return cast(Kind, value)
