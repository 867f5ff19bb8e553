"""Renders the facts as pages, each a single file without scripts that loads nothing: people, then models, then items.

The template engine escapes everything, and each page's content security policy forbids scripts, frames and requests and
admits its own style sheet by digest. Invisible and direction-changing characters in uploaders' text are spelt out, so
that no id can pass for another.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any, Final

import jinja2
from markupsafe import Markup

from indexes.thresholds import Thresholds
from pipelines.calibration.plot import draw_det
from pipelines.hits.verdicts import ModelVerdict
from pipelines.report import words
from pipelines.report.arrange import PersonPart, ReportPerson, Urgency, arrange, into_pages
from pipelines.report.facts import PageLimits, ReportFacts, ReportHit
from pipelines.text.visible import visible

FAMILIES: Final = ("hit", "clean", "no_face", "unscannable", "fetch_failed", "pending")
"""Statuses in the order of the bar: found, looked at, not looked at."""
MINIATURE: Final = (60.0, 54.0)
"""Largest width and height of a drawn frame."""


@dataclass(frozen=True, slots=True)
class FileNames:
    """Names of the pages of hits, of which the first is the report, and of the files beside them."""

    pages: tuple[str, ...]
    blocked: str
    csv: str
    parquet: str
    models_csv: str
    models_parquet: str
    unscanned_csv: str


@dataclass(frozen=True, slots=True)
class RenderedPages:
    """The pages as text: those of hits, in the order of ``names.pages``, and that of blocked days."""

    names: FileNames
    pages: tuple[str, ...]
    blocked: str


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One family of statuses. ``start`` and ``share`` are per cent of the bar; ``reasons`` by count."""

    family: str
    items: int
    start: float
    share: float
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Miniature:
    """A frame drawn to scale with the face in it, in units of the drawing."""

    width: float
    height: float
    x: float
    y: float
    box_width: float
    box_height: float


def render_pages(facts: ReportFacts, *, limits: PageLimits, name_of: Callable[[int], FileNames]) -> RenderedPages:
    """Return all pages as text. ``name_of``: the files' names, by how many pages of hits there are."""
    persons = arrange(facts.hits, facts.models, limit=limits.hits * limits.pages)
    pages = into_pages(persons, most=limits.hits)[: limits.pages]
    names = name_of(len(pages))
    environment, common = _environment(), _common(facts, pages, names)
    first = environment.get_template("report.html.j2").render(**common, **_first(facts, persons, pages, limits, names))
    more = [
        environment.get_template("more.html.j2").render(
            **common,
            **_notes(facts, page),
            number_of_page=number,
            title=f"{words.title(facts.day)}, page {number}",
            plot=None,
        )
        for number, page in enumerate(pages[1:], start=2)
    ]
    blocked = environment.get_template("blocked.html.j2").render(**common, title="Blocked days", plot=None)
    return RenderedPages(names, (first, *more), blocked)


def _common(facts: ReportFacts, pages: Sequence[Sequence[PersonPart]], names: FileNames) -> dict[str, Any]:
    """What every page has."""
    style = resources.files("pipelines.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    return {
        "facts": facts,
        "pages": pages,
        "shown_of": _shown_of(pages),
        "names": names,
        "style": Markup(style),  # noqa: S704 - our own file
        "style_digest": base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii"),
        "message_states": words.MESSAGE_STATES,
        "time_left": lambda due_at: words.time_left(due_at, facts.written_at),
        "strong_of": lambda hit: strong_threshold(hit, facts.thresholds, facts.policy_version),
    }


def _first(
    facts: ReportFacts,
    persons: Sequence[ReportPerson],
    pages: Sequence[Sequence[PersonPart]],
    limits: PageLimits,
    names: FileNames,
) -> dict[str, Any]:
    """What only the first page has."""
    page_of: dict[int, int] = {}
    for number, page in enumerate(pages, start=1):
        for part in page:
            page_of.setdefault(part.index, number)
    return _notes(facts, pages[0]) | {
        "counts": facts.counts,
        "coverage": facts.coverage,
        "title": words.title(facts.day),
        "headline": words.headline(facts),
        "needs": words.needs(facts, blocked_page=names.blocked),
        "alerts": words.alerts(facts),
        "missing": words.missing(facts.coverage),
        "in_part": words.looked_at_in_part(facts.partial),
        "statuses": status_rows(facts.counts.statuses),
        "persons": persons,
        "page_of": page_of,
        "shown_hits": _shown_of(pages).total(),
        "urgencies": tuple(urgency for urgency in Urgency if any(person.items[urgency] for person in persons)),
        "models": shown_models(facts)[: limits.models],
        "model_count": len(shown_models(facts)),
        "unscanned": facts.unscanned[: limits.unscanned],
        "requests": facts.requests[: limits.requests],
        "served": facts.served[: limits.requests],
        "endings": facts.endings.soon[: limits.endings],
        "limits": limits,
        "plot": _data_url(draw_det(facts.calibration)) if facts.calibration else None,
    }


def _shown_of(pages: Sequence[Sequence[PersonPart]]) -> Counter[int]:
    """Count the hits of each person, by their index, that stand on the pages."""
    shown: Counter[int] = Counter()
    for part in (part for page in pages for part in page):
        shown[part.index] += sum(len(case.hits) for model in part.models for case in model.cases)
    return shown


def _notes(facts: ReportFacts, page: Sequence[PersonPart]) -> dict[str, Any]:
    """Number the notes of a page: where its thresholds come from, and by which models and policy its hits are."""
    sources: dict[str, int] = {}
    versions: dict[tuple[str, str], int] = {}
    earlier: set[str] = set()
    for hit in (hit for part in page for model in part.models for case in model.cases for hit in case.hits):
        sources.setdefault(hit.threshold_source, len(sources) + 1)
        versions.setdefault((hit.model_id, hit.policy_version), len(versions) + 1)
        if hit.tier == "face" and hit.model_id != facts.model_id:
            earlier.add(hit.model_id)
    return {"sources": sources, "versions": versions, "earlier": earlier}


@cache  # with its compiled templates, which take longer than a page
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "minute": minute, "score": score, "words": spaced}
    environment.globals |= {
        "number": words.number,
        "percent": words.percent,
        "rule_words": words.rule_words,
        "model_rule_words": words.model_rule_words,
        "evidence_words": words.evidence_words,
        "match_words": words.match_words,
        "place_words": words.place_words,
        "pool_words": words.pool_words,
        "second_words": words.second_words,
        "request_words": words.request_words,
        "miniature": miniature,
    }
    return environment


def status_rows(statuses: Mapping[str, int]) -> tuple[StatusRow, ...]:
    """Make one row per family of statuses that occurs, in the order of :data:`FAMILIES`."""
    total = sum(statuses.values())
    by_family: dict[str, list[tuple[str, int]]] = {}
    for status, count in sorted(statuses.items(), key=lambda pair: (-pair[1], pair[0])):
        family, _, reason = status.partition(":")
        by_family.setdefault(family, []).append((reason, count))
    rows: list[StatusRow] = []
    start = 0.0
    for family in sorted(by_family, key=lambda name: (FAMILIES.index(name) if name in FAMILIES else 99, name)):
        count = sum(number for _, number in by_family[family])
        reasons = tuple(pair for pair in by_family[family] if pair[0])
        share = 100 * count / total
        rows.append(
            StatusRow(family=family, items=count, start=round(start, 3), share=round(share, 3), reasons=reasons)
        )
        start += share
    return tuple(rows)


def strong_threshold(hit: ReportHit, thresholds: Thresholds, policy_version: str) -> float | None:
    """Return the strong threshold that gave a hit its band, if it is still in force: it is not stored with the hit."""
    if hit.tier != "face":
        return None
    same = hit.policy_version == policy_version and hit.threshold_source == thresholds.source
    return thresholds.strong if same else None


def miniature(hit: ReportHit) -> Miniature | None:
    """Draw frame and face to scale, the face clipped to the frame. None without a face or a known size of the frame."""
    if hit.x1 is None or hit.y1 is None or hit.x2 is None or hit.y2 is None:
        return None
    if not hit.width or not hit.height or not all(map(math.isfinite, (hit.x1, hit.y1, hit.x2, hit.y2))):
        return None
    ratio = min(MINIATURE[0] / hit.width, MINIATURE[1] / hit.height)
    width, height = max(hit.width * ratio, 2.0), max(hit.height * ratio, 2.0)
    x1, x2 = (min(max(x * ratio, 0.0), width) for x in (hit.x1, hit.x2))
    y1, y2 = (min(max(y * ratio, 0.0), height) for y in (hit.y1, hit.y2))
    sides = (round(max(side, 1.5), 2) for side in (x2 - x1, y2 - y1))
    return Miniature(round(width, 2), round(height, 2), round(x1, 2), round(y1, 2), *sides)


def shown_models(facts: ReportFacts) -> tuple[ModelVerdict, ...]:
    """Return the verdicts on models on which somebody may have to act."""
    return tuple(model for model in facts.models if model.verdict != "clear")


def minute(moment: datetime) -> Markup:
    """Make a ``time`` element: to the minute, UTC."""
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), f"{moment:%Y-%m-%d %H:%M}")


def score(value: float) -> str:
    """Three decimals, rounded down: a score just below a threshold never reads as if it reached it."""
    return f"{math.floor(value * 1000 + 1e-6) / 1000:.3f}"


def spaced(word: str) -> str:
    """Return a fixed word as it is read: ``fetch_failed`` -> ``fetch failed``."""
    return word.replace("_", " ")


def _data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
