"""Contact sheets: pictures that belong together, answered together, all but the marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, get_args

from starlette.responses import Response

from embeddings.errors import InputError, StateError
from pipelines.decisions.decide import REASONS, Answer, Word
from pipelines.reviewing.answering import Foreseen, first_reason
from pipelines.reviewing.pictures import show_face
from pipelines.reviewing.queue import CaseKey
from pipelines.reviewing.sheet import (
    PICTURES,
    Sheet,
    SheetGroup,
    SheetQuery,
    decide_sheet,
    foresee_sheet,
    handle_of_uploader,
    list_groups,
    may_look,
    read_sheet,
)
from pipelines.web.access import expected_digest
from pipelines.web.addresses import Address, address_of
from pipelines.web.pages.cases import last_decision, marked_hits, veil
from pipelines.web.pages.pictures import picture_of, veil_asked
from pipelines.web.routes import JUDGES, MissingError, Routes, Visit

ROUTES: Final = Routes()
_GROUPS: Final = 200


@ROUTES.route("GET", "/sheets", roles=JUDGES, nav="Sheets")
def sheets_page(visit: Visit) -> Response:
    """Groups of waiting pictures of one person by one uploader, the largest first."""

    def read() -> list[SheetGroup]:
        with visit.workspace.database.read() as connection:
            return list_groups(connection, most=_GROUPS)

    groups = visit.desk.remembered.read(visit.workspace, "sheets", read)
    return visit.page("sheets.html.j2", groups=groups, handle=handle_of_uploader, last=last_decision(visit))


@ROUTES.route("GET", "/sheet", roles=JUDGES)
def sheet_page(visit: Visit) -> Response:
    """One sheet. What is chosen, marked and weighed stands in the address."""
    asked = SheetAsked.of(visit, visit.query.getlist("but"), visit.query.get("word"), visit.query.get("reason"))
    with visit.workspace.database.read() as connection:
        sheet = read_sheet(connection, visit.workspace, asked.query, actor=visit.actor)
    if not sheet.tiles:
        return visit.page("case_gone.html.j2", status=410, last=last_decision(visit))
    known = {tile.hit_id for tile in sheet.tiles}
    asked = SheetAsked(asked.chosen, asked.query, tuple(one for one in asked.but if one in known), asked.answer)
    foreseen, problem = _foreseen(visit, asked)
    return visit.page(
        "sheet.html.j2",
        sheet=sheet,
        asked=asked,
        foreseen=foreseen,
        problem=problem,
        revealed=visit.query.get("shown") == "clear" or not visit.preferences.blur,
        veil=veil(visit, revealed=visit.query.get("shown") == "clear" or not visit.preferences.blur),
        last=last_decision(visit),
        subjects=len({tile.key.subject_id for tile in sheet.tiles}),
        uploaders=_uploaders(sheet),
        models=_models(sheet),
    )


@ROUTES.route("POST", "/sheet/decide", roles=JUDGES)
def decide(visit: Visit) -> Response:
    """Decide all pictures of a sheet but the marked, if that would do what the page showed."""
    asked = SheetAsked.of(visit, visit.form.getlist("but"), visit.form.get("word"), visit.form.get("reason"))
    expect = expected_digest(visit)
    if asked.answer is None:
        raise InputError("the form does not say what the page showed")
    decide_sheet(visit.workspace, asked.query, asked.answer, expect=expect, but=asked.but)
    visit.something_was_done()
    return visit.go("/sheets")


@ROUTES.route("GET", "/sheet/hits/{hit_id}/face", roles=JUDGES)
def tile(visit: Visit, hit_id: str) -> Response:
    """A small picture of a hit that waits and that nobody else works on."""
    (known,) = marked_hits([hit_id])
    with visit.workspace.database.read() as connection:
        if not may_look(connection, visit.workspace, known, actor=visit.actor):
            raise MissingError("no such picture")
    how = veil_asked(visit)
    return picture_of(lambda: show_face(visit.workspace, known, actor=visit.actor, veil=how, small=True))


@dataclass(frozen=True, slots=True)
class SheetAsked:
    """What an address or a form asks of a sheet. ``chosen``: its part of the address, as it came."""

    chosen: tuple[tuple[str, str], ...]
    query: SheetQuery
    but: tuple[str, ...]
    answer: Answer | None

    @classmethod
    def of(cls, visit: Visit, but: list[str], word: str | None, reason: str | None) -> SheetAsked:
        """Read it. Raises :class:`InputError` without a person or a case, or where a mark is none, and
        :class:`MissingError` for a case that does not wait."""
        given = visit.form if visit.method == "POST" else visit.query
        chosen = tuple((name, given[name]) for name in ("person", "case", "uploader", "alike") if given.get(name))
        by_name = dict(chosen)
        if not {"person", "case"} & by_name.keys():
            raise InputError("say whose pictures: a person or a case, and beside these an uploader")
        case = None
        if "case" in by_name:
            waiting = visit.desk.queue.case(visit.workspace, by_name["case"])
            if waiting is None:
                raise MissingError("no such case waits")
            case = waiting.key
        query = SheetQuery(by_name.get("person"), case, by_name.get("uploader"), by_name.get("alike"))
        known: Word | None = word if word in get_args(Word) else None  # type: ignore[assignment]
        answer = None
        if known is not None:
            chosen_reason = reason if reason in REASONS[known] else first_reason(known, PICTURES)
            answer = Answer(known, chosen_reason, visit.actor)
        return cls(chosen, query, marked_hits(but), answer)

    def address(self, **changed: str | list[str] | None) -> Address:
        """The sheet with something else chosen."""
        answered = {"word": self.answer.decision, "reason": self.answer.reason} if self.answer else {}
        return address_of("/sheet", {**dict(self.chosen), "but": list(self.but), **answered, **changed})


def _foreseen(visit: Visit, asked: SheetAsked) -> tuple[Foreseen | None, str | None]:
    """What the answer would do, or why it cannot be given."""
    if asked.answer is None:
        return None, None
    try:
        return foresee_sheet(visit.workspace, asked.query, asked.answer, but=asked.but), None
    except StateError as error:
        return None, str(error)


def _uploaders(sheet: Sheet) -> list[tuple[str, str, int]]:
    """(handle, name, pictures) of those whose pictures are on a sheet, the most first."""
    counts: dict[str | None, int] = {}
    for one in sheet.tiles:
        counts[one.uploader] = counts.get(one.uploader, 0) + 1
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0] or ""))
    return [(handle_of_uploader(name), name or "unknown", count) for name, count in ordered]


def _models(sheet: Sheet) -> list[tuple[str, str, int]]:
    """(case id, model or single item, pictures) of what is on a sheet, the most first."""
    counts: dict[CaseKey, int] = {}
    for one in sheet.tiles:
        counts[one.key] = counts.get(one.key, 0) + 1
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [(key.case_id, key.about, count) for key, count in ordered]
