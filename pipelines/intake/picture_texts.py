"""What pictures say of their making, and which model files they name: kept once per content, sealed like an item's own
texts.

A row is written in the transaction that enters the scan's result for the item (I6), and deleted when no live item has
the content any more. A picture without a row by the present reader was not read, and nothing calls it searched (I1);
neither was one on which the reader failed in a way that may pass, which is tried again and replaces nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import UnscannableError
from embeddings.faults import guarded
from embeddings.headers.evidence import HeaderText
from embeddings.infotext.read import READER, Infotext, InfotextReader
from embeddings.types import Content
from pipelines.database.parts import parts
from pipelines.database.tables import examined, items, made_with, picture_texts
from pipelines.home.sealing import Sealer
from pipelines.intake.ledger import SCANNER_FAULTS
from pipelines.settings.scanning import InfotextConfig

READ: Final = "read"
HASH: Final = "hash:"
VERSION: Final = "version:"
_NOTHING: Final = Infotext((), (), (), None)


@dataclass(frozen=True, slots=True, repr=False)
class ReadPicture:
    """What one reading of a picture gave. ``status``: ``read``, or ``unscannable:<reason>`` for what could not be.
    ``repr`` shows nothing of it."""

    identity: bytes
    infotext: Infotext
    status: str


def read_picture(content: Content, *, config: InfotextConfig, reader: InfotextReader) -> ReadPicture:
    """Read what a picture says of its making. Never raises because of its bytes: they cost the texts, not the
    picture."""
    try:
        infotext = guarded(partial(reader, content.data, limits=config.limits()))
    except UnscannableError as error:
        return ReadPicture(content.sha256, _NOTHING, error.status)
    status = UnscannableError(infotext.problem).status if infotext.problem else READ
    return ReadPicture(content.sha256, infotext, status)


def enter_picture_texts(tx: Connection, sealer: Sealer, pictures: Iterable[ReadPicture], *, now: datetime) -> None:
    """Write what was read of these pictures, unless the same reader came to the same before. A fault that may pass
    replaces no reading."""
    read = {one.identity.hex(): one for one in pictures}
    for some in parts(sorted(read)):
        columns = (picture_texts.c[name] for name in ("content_sha256", "reader", "status"))
        query = sa.select(*columns).where(picture_texts.c.content_sha256.in_(some))
        known = {row.content_sha256: (row.reader, row.status) for row in tx.execute(query)}
        new = [key for key in some if _is_news(read[key].status, known.get(key))]
        if not new:
            continue
        tx.execute(sa.delete(picture_texts).where(picture_texts.c.content_sha256.in_(new)))
        tx.execute(sa.delete(made_with).where(made_with.c.content_sha256.in_(new)))
        after = _last_examined(tx, new)
        rows = [_row(sealer, key, read[key], max(now, after[key]) if key in after else now) for key in new]
        tx.execute(sa.insert(picture_texts), rows)
        named = [{"content_sha256": key, "named": name} for key in new for name in named_by(read[key].infotext)]
        if named:
            tx.execute(sa.insert(made_with), named)


def _is_news(status: str, known: tuple[int, str] | None) -> bool:
    """Whether a reading with this status is to be written. ``known``: reader and status of the one that there is."""
    if known is None:
        return True
    return known != (READER, status) and (status not in SCANNER_FAULTS or known[1] in SCANNER_FAULTS)


def _last_examined(connection: Connection, contents: Sequence[str]) -> dict[str, datetime]:
    """Return the moment after each content was last examined. Its texts are read later than that, whatever the clock
    says, so that they are searched (I2, I12)."""
    done = items.join(examined, examined.c.item_id == items.c.item_id)
    latest = sa.func.max(examined.c.examined_at)
    query = sa.select(items.c.content_sha256, latest).select_from(done).where(items.c.content_sha256.in_(contents))
    rows = connection.execute(query.group_by(items.c.content_sha256))
    return {str(content): at + timedelta(microseconds=1) for content, at in rows}


def named_by(infotext: Infotext) -> list[str]:
    """Return the model files that a picture names, as the table of them writes them."""
    return [f"{HASH}{digits}" for digits in infotext.hashes] + [f"{VERSION}{one}" for one in infotext.versions]


def infotexts(connection: Connection, sealer: Sealer, contents: Collection[str]) -> dict[str, tuple[HeaderText, ...]]:
    """Return the texts in these contents, as far as they are pictures that have any."""
    texts = {}
    for part in parts(sorted(contents)):
        query = sa.select(picture_texts.c.content_sha256, picture_texts.c.sealed_texts).where(
            picture_texts.c.content_sha256.in_(part), picture_texts.c.sealed_texts.is_not(None)
        )
        for row in connection.execute(query):
            opened = sealer.unseal_infotext(row.sealed_texts, row.content_sha256)
            texts[row.content_sha256] = tuple(HeaderText(place, text) for place, text in opened)
    return texts


def named_models(connection: Connection, contents: Collection[str]) -> dict[str, list[str]]:
    """Return the model files that these contents name, in order."""
    named: dict[str, list[str]] = {}
    for part in parts(sorted(contents)):
        query = sa.select(made_with).where(made_with.c.content_sha256.in_(part))
        for row in connection.execute(query.order_by(made_with.c.content_sha256, made_with.c.named)):
            named.setdefault(row.content_sha256, []).append(row.named)
    return named


def unread_pictures() -> sa.Select[Any]:
    """Select the live items whose picture this reader has not read: what older versions scanned, and what it failed on
    in a way that may pass."""
    read = sa.select(picture_texts.c.content_sha256).where(
        picture_texts.c.content_sha256 == items.c.content_sha256,
        picture_texts.c.reader == READER,
        picture_texts.c.status.not_in(SCANNER_FAULTS),
    )
    # A content that was decoded has a width; of a model file without a picture there is nothing to read.
    return sa.select(items.c.item_id).where(items.c.live, items.c.width.is_not(None), ~read.correlate(items).exists())


def unread_count(connection: Connection) -> int:
    """Count the live items whose picture was not read for what it says of its making."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(unread_pictures().subquery())).scalar_one())


def forget_picture_texts(tx: Connection) -> None:
    """Delete the rows of contents that no live item has."""
    for table in (made_with, picture_texts):
        alive = (
            sa.select(items.c.item_id)
            .where(items.c.content_sha256 == table.c.content_sha256, items.c.live)
            .correlate(table)
            .exists()
        )
        tx.execute(sa.delete(table).where(~alive))


def _row(sealer: Sealer, content_sha256: str, picture: ReadPicture, now: datetime) -> dict[str, object]:
    texts = [[place, text] for place, text in picture.infotext.texts]
    return {
        "content_sha256": content_sha256,
        "reader": READER,
        "status": picture.status,
        "sealed_texts": sealer.seal_infotext(texts, content_sha256) if texts else None,
        "read_at": now,
    }
