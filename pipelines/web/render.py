"""Templates -> pages. Everything that is shown is escaped, and everything invisible in it is spelt out.

Escaping is the template engine's, for every value; what passes for something else (direction marks, zero-width and
control characters) is spelt out by :func:`pipelines.text.visible.visible`, for every value too, so that no template can
forget it. Values of any length are cut, but for addresses, which would lead elsewhere
(:class:`pipelines.web.addresses.Address`).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from importlib import resources
from typing import Any, Final

import jinja2
from jinja2.filters import do_urlencode
from markupsafe import Markup

from pipelines.text.visible import visible
from pipelines.web import record_words, words
from pipelines.web.addresses import Address
from pipelines.web.routes import Visit

MOST_SHOWN: Final = 1000
"""Characters of one value; what is longer is cut, and says so."""
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that pages load. ``digest``: in its address, so that browsers may keep it for good."""

    name: str
    data: bytes = field(repr=False)
    kind: str
    digest: str

    @property
    def address(self) -> str:
        """Where it is served."""
        return f"/static/{self.digest}/{self.name}"


def read_static_files() -> dict[str, StaticFile]:
    """The files of ``pipelines/web/static`` by name."""
    found = {}
    for file in resources.files("pipelines.web").joinpath("static").iterdir():
        kind = _KINDS.get(f".{file.name.rpartition('.')[2]}")
        if kind is not None:
            data = file.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()[:12]).decode()
            found[file.name] = StaticFile(file.name, data, kind, digest)
    return found


class Templates:
    """The page templates, loaded once."""

    def __init__(self) -> None:
        self.files = read_static_files()

    @cached_property
    def _environment(self) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("pipelines.web", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals["file"] = lambda name: self.files[name].address
        environment.globals["words"] = words
        environment.globals["record_words"] = record_words
        environment.filters["urlencode"] = lambda value: Address(do_urlencode(value))
        environment.filters["clock"] = lambda moment: moment.strftime("%H:%M")
        environment.filters["date"] = lambda moment: moment.strftime("%Y-%m-%d")
        environment.filters["day"] = lambda moment: moment.strftime("%Y-%m-%d %H:%M")
        return environment

    def render(self, template: str, visit: Visit, facts: dict[str, Any]) -> str:
        """The whole page as text."""
        nav = [route for route in visit.desk.nav if visit.user and visit.user.roles & route.roles]
        now: datetime = visit.workspace.now()
        common = {"visit": visit, "user": visit.user, "csrf": visit.csrf, "nav": nav, "now": now}
        return self._environment.get_template(template).render(**common, **facts)


@cache
def page_templates() -> Templates:
    """Return the templates of this process, compiled once however many applications it makes."""
    return Templates()


def shown(value: Any) -> Any:
    """A value as a page shows it. Markup, and what is no text, is left as it is; an address is never cut."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return "" if value is None else value
    if len(value) > MOST_SHOWN and not isinstance(value, Address):
        value = f"{value[:MOST_SHOWN]}… ({len(value):,} characters)"
    return visible(value)
