"""The pages, a module for each subject. A new one adds its ``ROUTES`` here."""

from __future__ import annotations

from itertools import chain
from typing import Final

from pipelines.web.pages import (
    answers,
    audit,
    cases,
    entrance,
    explore,
    fairness,
    files,
    messages,
    notes,
    people,
    pictures,
    platform,
    recognise,
    requests,
    sheets,
    today,
    weighing,
    wrong,
    you,
)
from pipelines.web.routes import Route

MODULES: Final = (
    *(entrance, files, today, cases, pictures, answers, notes, sheets, messages),
    *(requests, people, wrong, platform, fairness, you, audit, weighing, recognise, explore),
)
"""In this order routes are tried: addresses with a name of their own before those that take any."""
ALL_ROUTES: Final[tuple[Route, ...]] = tuple(chain.from_iterable(module.ROUTES for module in MODULES))
