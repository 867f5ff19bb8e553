"""The pages, a module for each subject. A new one adds its ``ROUTES`` here."""

from __future__ import annotations

from itertools import chain
from typing import Final

from pipelines.web.pages import answers, audit, cases, entrance, fairness, files, pictures, sheets, you
from pipelines.web.routes import Route

MODULES: Final = (entrance, files, cases, pictures, answers, sheets, fairness, you, audit)
ALL_ROUTES: Final[tuple[Route, ...]] = tuple(chain.from_iterable(module.ROUTES for module in MODULES))
