"""Looking around: lists of hits, items, models, uploaders and decisions by what the address says; files of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, get_args

from starlette.responses import Response

from embeddings.errors import DeniedError, InputError
from pipelines.accounts.preferences import write_preferences
from pipelines.exploring.exports import Form, export_list
from pipelines.exploring.listings import LISTINGS, Listing
from pipelines.exploring.paging import Asked, read_asked, read_page
from pipelines.web.access import sees_lists_of_scores
from pipelines.web.addresses import Address, address_of
from pipelines.web.routes import AUDITORS, LEADS, OFFICERS, READERS, MissingError, Routes, Visit

ROUTES: Final = Routes()
EXPLORERS: Final = READERS | AUDITORS
_LINKS: Final = {
    "subject_id": "subject",
    "item_id": "item",
    "parent_model": "model",
    "model": "model",
    "uploader": "uploader",
    "hit_id": "hit",
    "actor": "actor",
    "batch_id": "batch",
}
"""Field -> the filter by its value."""
_MEDIA: Final = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


@ROUTES.route("GET", "/explore", roles=EXPLORERS | OFFICERS, nav="Explore")
def explore(visit: Visit) -> Response:
    """The first of these pages that the person's roles have."""
    return visit.go("/explore/hits" if visit.who.roles & EXPLORERS else "/explore/picture")


@ROUTES.route("POST", "/explore/saved", roles=EXPLORERS)
def save_address(visit: Visit) -> Response:
    """Call a filtered list by a name, for this person; or forget a name."""
    name, address = visit.form.get("name", "").strip(), visit.form.get("address", "")
    saved = dict(visit.preferences.saved)
    if "forget" in visit.form:
        saved.pop(visit.form["forget"], None)
    else:
        saved[name] = address
    write_preferences(visit.workspace, visit.actor, replace(visit.preferences, saved=saved))
    return visit.go(address if address in saved.values() else "/explore")


@ROUTES.route("POST", "/explore/{what}/export", roles=LEADS | AUDITORS)
def export_page(visit: Visit, what: str) -> Response:
    """The list that the address asks for, as a file."""
    form = visit.form.get("form", "")
    if form not in get_args(Form):
        raise InputError("a list is exported as csv or parquet")
    asked = read_asked(_listing(what), visit.query, told=True)
    data = export_list(visit.workspace, replace(asked, after=()), form=form, actor=visit.actor)  # type: ignore[arg-type]
    headers = {"content-disposition": f'attachment; filename="{asked.listing.name}.{form}"'}
    return Response(data, media_type=_MEDIA[form], headers=headers)


@ROUTES.route("GET", "/explore/{what}", roles=EXPLORERS)
def list_page(visit: Visit, what: str) -> Response:
    """One page of a list."""
    listing, told = _listing(what), sees_lists_of_scores(visit)
    if listing.all_told and not told:
        raise DeniedError("decisions are not listed for whoever may have to judge the same hits")
    asked = read_asked(listing, visit.query, told=told)
    with visit.workspace.database.read() as connection:
        page = read_page(connection, asked)
    view = ListView(asked)
    return visit.page("explore.html.j2", what=what, asked=asked, page=page, view=view, told=told, tabs=tabs(visit))


def tabs(visit: Visit) -> list[tuple[str, str]]:
    """The pages of this kind that the person's roles have, as (address, name)."""
    own = visit.who.roles
    lists = [one for one in LISTINGS.values() if own & EXPLORERS and (sees_lists_of_scores(visit) or not one.all_told)]
    found = [(f"/explore/{one.name}", one.label) for one in lists]
    if visit.has("lead", "auditor"):
        found.append(("/explore/thresholds", "Thresholds"))
    if visit.is_officer:
        found.append(("/explore/picture", "Who is this"))
    if visit.judges:
        found.append(("/explore/text", "Search by text"))
    return found


def _listing(what: str) -> Listing:
    if what not in LISTINGS:
        raise MissingError("no such list")
    return LISTINGS[what]


class ListView:
    """Addresses on a list's page: the same list with something else chosen."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._chosen: Mapping[str, str | None] = {
            **asked.typed,
            "sort": asked.order.name if asked.order is not asked.listing.orders[0] else None,
            "way": "up" if asked.ascending else None,
        }

    def address(self, **changed: str | None) -> Address:
        """The list from its beginning, with these filters or this order instead."""
        return address_of(f"/explore/{self._asked.listing.name}", {**self._chosen, **changed})

    @property
    def export(self) -> Address:
        """Where the list is taken along from."""
        return address_of(f"/explore/{self._asked.listing.name}/export", self._chosen)

    def narrowed(self, field: str, value: Any) -> Address | None:
        """The list narrowed to a cell's value; None where there is no such filter."""
        name = _LINKS.get(field)
        known = {one.name for one in self._asked.filters}
        return self.address(**{name: str(value)}) if name in known and value and name is not None else None

    @property
    def is_filtered(self) -> bool:
        """Whether there is anything to give a name to."""
        return any(self._chosen.values())
