"""Reads pages of a listing: what the address asks for, the rows, where the next page begins, and a bounded count.

A page begins after the last row of the one before it, by that row's place in the order (keyset pagination), so that a
late page costs what the first one does and rows that come meanwhile shift nothing. One page goes through at most
:data:`WALK` rows of the order, unless a filter leads to the rows by an index; the next page goes on from there.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import InputError
from pipelines.database.tables import hits
from pipelines.database.times import UTCDateTime, moment
from pipelines.exploring.listings import Field, ListFilter, Listing, Order
from pipelines.hits.counting import hits_in_force

AT_ONCE: Final = 50
"""Rows of a page."""
MOST_COUNTED: Final = 1000
"""Rows that are counted; beyond, there are more."""
WALK: Final = 10_000
"""Rows of the order that one page goes through at most, whatever the filter (benchmarks.review)."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks of a listing. ``values``: filter name -> value; ``typed``: as it was typed; ``after``: the
    place of the last row of the page before, () for the first page; ``told``: whether scores and decisions are shown.
    """

    listing: Listing
    typed: Mapping[str, str]
    values: Mapping[str, Any]
    order: Order
    ascending: bool
    after: tuple[Any, ...]
    told: bool

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns that are shown."""
        return tuple(one for one in self.listing.fields if self.told or not one.told)

    @property
    def filters(self) -> tuple[ListFilter, ...]:
        """The filters that there are for whoever asks."""
        return tuple(one for one in self.listing.filters if self.told or not one.told)

    @property
    def orders(self) -> tuple[Order, ...]:
        """The orders that there are for whoever asks."""
        return tuple(one for one in self.listing.orders if self.told or not one.told)

    @property
    def is_narrow(self) -> bool:
        """Whether an index leads to the rows, so that how many are gone through needs no bound."""
        return any(one.narrow and one.name in self.values for one in self.listing.filters)


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page. ``rows``: by field name; ``following``: where the next page begins, None where this is the last.

    ``cut``: the page ends because it has gone through :data:`WALK` rows. ``count``: of all rows of the list, at most
    :data:`MOST_COUNTED` plus one; None where it was not counted to the end.
    """

    rows: tuple[Row, ...]
    following: str | None
    cut: bool
    count: int | None


def read_asked(listing: Listing, query: Mapping[str, str], *, told: bool) -> Asked:
    """Read an address. What is empty is not asked for; what has another name belongs to another page.

    Raises :class:`InputError` for a value that cannot be, and for a filter or order that is not for this person.
    """
    typed = {one.name: query[one.name].strip() for one in listing.filters if query.get(one.name, "").strip()}
    for one in listing.filters:
        if one.name in typed and one.told and not told:
            raise InputError(f"{one.label}: hits are not listed by this for whoever may have to judge them")
    values = {one.name: one.read(typed[one.name]) for one in listing.filters if one.name in typed}
    allowed = {one.name: one for one in listing.orders if told or not one.told}
    order = allowed.get(query.get("sort") or listing.orders[0].name)
    if order is None:
        raise InputError(f"the order is one of {', '.join(allowed)}")
    after = _read_place(query.get("after", ""), order)
    return Asked(listing, typed, values, order, query.get("way") == "up", after, told)


def read_page(connection: Connection, asked: Asked, *, counted: bool = True, at_once: int = AT_ONCE) -> ListPage:
    """Read one page, and count the list as far as :data:`MOST_COUNTED`."""
    bound = None if asked.is_narrow else connection.execute(bound_of(asked)).first()
    found = connection.execute(rows_of(asked, connection, bound).limit(at_once + 1)).all()
    rows, more, width = found[:at_once], len(found) > at_once, len(asked.order.columns)
    place = tuple(rows[-1])[:width] if more else tuple(bound) if bound is not None else None
    count = None
    if counted and not asked.after and not more:
        count = len(rows) if bound is None else None  # what was gone through is not gone through twice
    elif counted:
        whole = replace(asked, after=())
        far = bound if asked.is_narrow or not asked.after else connection.execute(bound_of(whole)).first()
        limited = rows_of(whole, connection, far, keys_only=True).limit(MOST_COUNTED + 1).subquery()
        number = int(connection.execute(sa.select(sa.func.count()).select_from(limited)).scalar_one())
        count = number if far is None or number > MOST_COUNTED else None
    names = [one.name for one in asked.fields]
    shown = [dict(zip(names, tuple(row)[width:], strict=True)) for row in rows]
    _count_hits(connection, asked.listing, shown)
    return ListPage(tuple(shown), None if place is None else _written(place), not more and bound is not None, count)


def all_rows(connection: Connection, asked: Asked, *, most: int) -> Iterator[Row]:
    """Yield the rows of every page. Raises :class:`InputError` where there are more than ``most``."""
    number, following = 0, asked
    while True:
        page = read_page(connection, following, counted=False, at_once=1000)
        number += len(page.rows)
        if number > most:
            raise InputError(f"there are more than {most:,} rows: narrow the list by a filter first")
        yield from page.rows
        if page.following is None:
            return
        following = replace(asked, after=_read_place(page.following, asked.order))


def rows_of(
    asked: Asked, connection: Connection, bound: Sequence[Any] | None, *, keys_only: bool = False
) -> sa.Select[Any]:
    """Select the rows after the place that is asked for, down to ``bound``, in order: the order's columns, then the
    fields."""
    columns = [column.label(f"order_{number}") for number, column in enumerate(asked.order.columns)]
    shown = [] if keys_only else [one.column.label(one.name) for one in asked.fields]
    query = asked.listing.base(moment(connection), asked.values).with_only_columns(*columns, *shown)
    for one in asked.listing.filters:
        if one.name in asked.values:
            query = query.where(one.make(asked.values[one.name]))
    query = _from_place(query, asked).group_by(*asked.listing.group)
    if bound is not None:
        last = _tuple(tuple(bound), asked.order)
        own = sa.tuple_(*asked.order.columns)
        query = query.where(own <= last if asked.ascending else own >= last)
    return query


def bound_of(asked: Asked) -> sa.Select[Any]:
    """Select the place of the row that is :data:`WALK` rows further on in the index, of this table alone."""
    first, present = asked.order.columns[0], asked.listing.present
    ranged = [one for one in asked.listing.filters if one.column is first and one.name in asked.values]
    conditions = [one.make(asked.values[one.name]) for one in ranged] + ([] if present is None else [present])
    of_table = sa.select(*asked.order.columns).select_from(asked.listing.table).where(*conditions)
    return _from_place(of_table, asked).offset(WALK).limit(1)


def _count_hits(connection: Connection, listing: Listing, rows: list[dict[str, Any]]) -> None:
    """Add to each row of a page how many hits in force there are of it."""
    if listing.counts is None or not rows:
        return
    name, column = listing.counts
    of_page = hits_in_force(moment(connection)).where(column.in_([row[name] for row in rows]))
    counted = of_page.with_only_columns(column, sa.func.count(hits.c.hit_id)).group_by(column)
    found = {row[0]: row[1] for row in connection.execute(counted)}
    for row in rows:
        row["hits"] = found.get(row[name], 0)


def _from_place(query: sa.Select[Any], asked: Asked) -> sa.Select[Any]:
    own = asked.order.columns
    ordered = query.order_by(*(column.asc() if asked.ascending else column.desc() for column in own))
    if not asked.after:
        return ordered
    last = _tuple(asked.after, asked.order)
    return ordered.where(sa.tuple_(*own) > last if asked.ascending else sa.tuple_(*own) < last)


def _tuple(values: tuple[Any, ...], order: Order) -> sa.ColumnElement[Any]:
    return sa.tuple_(
        *(sa.bindparam(None, value, column.type) for value, column in zip(values, order.columns, strict=True))
    )


def _written(place: tuple[Any, ...]) -> str:
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in place]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def _read_place(text: str, order: Order) -> tuple[Any, ...]:
    if not text:
        return ()
    try:
        plain = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        if not isinstance(plain, list) or len(plain) != len(order.columns):
            raise ValueError
        return tuple(_value(value, column) for value, column in zip(plain, order.columns, strict=True))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise InputError("the page does not begin anywhere: go back to the first one") from None


def _value(value: Any, column: sa.ColumnElement[Any]) -> Any:
    if isinstance(column.type, UTCDateTime):
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            raise ValueError
        return found
    if isinstance(column.type, sa.Float):
        return float(value)
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value
