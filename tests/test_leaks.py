"""What the code itself could give away or be held up by: objects that print what they hold, patterns that never end."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from re import _constants as opcodes  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from types import ModuleType
from typing import Any

import pytest

import embeddings
import indexes
import pipelines
from embeddings.errors import ConfigError
from pipelines.database import Database

PERSONAL = {
    *(
        "vector",
        "vectors",
        "crop",
        "crops",
        "names",
        "exclusions",
        "consent",
        "contact",
        "note",
        "prompt",
        "title",
        "tags",
    ),
    *("trigger_words", "key", "wrapped_key", "secret", "secrets", "takedown_secrets", "takedown_url", "database_url"),
    *("data", "text", "locator", "term"),
}
"""Names of fields that hold something of a person, an upload's bytes or texts, or a secret."""
HARMLESS = {
    ("Alert", "text"),  # our own sentences
    ("Config", "names"),  # settings of how names are looked for
    ("FoundItem", "text"),  # whether a name stands in one
    ("Heads", "names"),  # of concepts
    ("Message", "key"),  # a digest
    ("PolicyFile", "text"),  # settings of what a name in a text is worth
    ("RenderedPages", "names"),  # of files
    ("Statement", "contact"),  # the operator's own, published
    ("StatementSettings", "contact"),
    ("WantedBackfill", "key"),  # a run's
}


def modules() -> Iterator[ModuleType]:
    """Every module of the three packages but those that need an extra."""
    for package in (embeddings, indexes, pipelines):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not re.search(r"\.(sample|migrations|openvino_runtime|ray_engine)", found.name):
                yield importlib.import_module(found.name)


def test_i8_no_object_prints_what_it_holds_of_a_person() -> None:
    telling = {
        (kind.__name__, field.name)
        for module in modules()
        for kind in vars(module).values()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and is_dataclass(kind)
        if "__repr__" in vars(kind)
        for field in fields(kind)
        if field.name in PERSONAL and field.repr and field.type != "CaseKey"  # ids of what a case is about
    }
    assert sorted(telling - HARMLESS) == []


def test_i9_no_pattern_takes_longer_than_in_proportion_to_a_text() -> None:
    """A repeat of unbounded length inside another one is what makes a pattern slow on a text made for it."""
    slow = {
        (module.__name__, name)
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern) and nested(_parser.parse(value.pattern, value.flags & ~re.DEBUG), within=False)
    }
    assert slow == set()


def nested(parsed: Any, *, within: bool) -> bool:
    """Whether an unbounded repeat that can be given back stands in another one."""
    for opcode, argument in parsed:
        if opcode in (opcodes.MAX_REPEAT, opcodes.MIN_REPEAT):
            _least, most, below = argument
            unbounded = most == opcodes.MAXREPEAT
            if (unbounded and within) or nested(below, within=within or unbounded):
                return True
        elif any(nested(part, within=within) for part in parts(argument)):
            return True
    return False


def parts(argument: Any) -> Iterator[Any]:
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, list | tuple):
        for one in argument:
            yield from parts(one)


def test_the_check_of_patterns_knows_a_slow_one() -> None:
    for pattern, slow in {
        "(a+)+b": True,
        "(a|b*)*c": True,
        "a*b*": False,
        "(?:a++)*": False,
        "(a{1,3})+": False,
    }.items():
        assert nested(_parser.parse(pattern), within=False) is slow, pattern


@pytest.mark.parametrize(
    "url",
    [
        "",
        "garbage",
        "nosuch://x",
        "postgresql://h:notaport/x",
        "mysql://h/x",
        "sqlite+nosuch:///x",
        "postgresql+nosuch://h/x",
    ],
)
def test_a_database_url_that_cannot_be_used_is_an_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(ConfigError, match="database URL") as found:
        Database(url, busy_timeout_seconds=1)
    assert not url or url not in str(found.value)
