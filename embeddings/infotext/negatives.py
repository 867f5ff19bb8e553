"""What a text asks for, without what it says it is to be kept free of.

Generators, platforms and people write both into one text, and a copy loses line breaks and capitals. So what comes
after the words for a negative prompt is left out wherever these stand: a name that is excluded is never evidence, and
where the two cannot be told apart, neither is what follows. Knows no file and no generator's format.
"""

from __future__ import annotations

import re
from typing import Final

NEGATIVE_PROMPT: Final = re.compile(
    r"(?<![a-z])negative[\s_-]{0,3}prompts?(?:[\s*_\"']|</?\w{1,10}>){0,4}[:：=]", re.IGNORECASE
)
"""``Negative prompt:`` in any letters, at any place, with the marks that stand around it in markup or JSON."""
_NEGATIVE: Final = re.compile(r"(?<![a-z])neg(?:ative)?s?(?:[\s*_\"']|</?\w{1,10}>){0,4}[:：=]", re.IGNORECASE)
_EXCLUDING: Final = re.compile(r"(?:(?<=\s)|^)(?:--|[–—])no\s.*?(?=\s(?:--|[–—])\w|$)", re.IGNORECASE | re.DOTALL)
"""Midjourney's ``--no this, that``, up to the next parameter."""
_WEIGHED: Final = re.compile(r"\\.|\(|:\s{0,3}-\s{0,3}\.?\d[\d.]{0,10}\s{0,3}\)|\)", re.DOTALL)
_BELOW_ZERO: Final = re.compile(r":\s{0,3}-\s{0,3}\.?\d")
_BRACKET: Final = re.compile(r"[\[\]]")


def asked_for(text: str) -> str:
    """Return what a text asks for: without what follows ``Negative prompt:`` or ``negative:``, what ``--no`` excludes,
    and what a weight below zero does (``(this:-1.2)``). Work is linear in the text."""
    for marker in (NEGATIVE_PROMPT, _NEGATIVE):
        found = marker.search(text)
        text = text[: found.start()] if found else text
    if "no" in text.lower():
        text = _EXCLUDING.sub(" ", text)
    return _without_spans(text, _below_zero(text)) if _BELOW_ZERO.search(text) else text


def without_brackets(text: str) -> str:
    """Return a prompt of InvokeAI 1 or 2 without what stands in square brackets, which is what it excludes there."""
    spans, depth, start = list[tuple[int, int]](), 0, 0
    for found in _BRACKET.finditer(text):
        if found[0] == "[":
            start = start if depth else found.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                spans.append((start, found.end()))
    return _without_spans(text, [*spans, (start, len(text))] if depth else spans)


def _below_zero(text: str) -> list[tuple[int, int]]:
    """Return where round brackets with a weight below zero begin and end."""
    spans, opened = list[tuple[int, int]](), list[int]()
    for found in _WEIGHED.finditer(text):
        if found[0] == "(":
            opened.append(found.start())
        elif found[0].endswith(")") and not found[0].startswith("\\"):
            start = opened.pop() if opened else 0
            if found[0] != ")":
                spans.append((start, found.end()))
    return spans


def _without_spans(text: str, spans: list[tuple[int, int]]) -> str:
    """Return a text without these parts of it; parts may hold one another."""
    kept, at = list[str](), 0
    for start, end in sorted(spans):
        if end > at:
            kept.append(text[at : max(start, at)])
            at = end
    return " ".join([*kept, text[at:]])
