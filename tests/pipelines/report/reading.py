"""Reads a page as a browser would: elements, attributes and text, with nothing but the standard library."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "br", "link", "img", "hr", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        parts = (child if isinstance(child, str) else child.text for child in self.children)
        return re.sub(r"\s+", " ", " ".join(parts)).strip()

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Descendants with this tag; ``class_`` matches one word of the class."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                if child.tag == tag and all(child.has(name, value) for name, value in attributes.items()):
                    found.append(child)
                found += child.all(tag, **attributes)
        return found

    def has(self, name: str, value: str) -> bool:
        known = self.attributes.get(name.rstrip("_")) or ""
        return value in known.split() if name == "class_" else known == value


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read_page(path: Path) -> Element:
    """The page as a tree. Fails when elements are not properly nested."""
    builder = _Builder()
    builder.feed(path.read_text(encoding="utf-8"))
    builder.close()
    assert [element.tag for element in builder.open] == ["root"], "every element is closed"
    return builder.root


def hit_rows(page: Element) -> list[Element]:
    """The rows of all hit tables, in order."""
    rows = [row for table in page.all("table", class_="hits") for row in table.all("tr")]
    return [row for row in rows if row.all("td")]


def section(page: Element, heading_id: str) -> Element:
    """The section labelled by a heading."""
    (found,) = page.all("section", **{"aria-labelledby": heading_id})
    return found
