"""docs/sources.md says what is read, and every example in it is read so (I11)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.policy.levels import _WORDS, LEVELS, platform_level
from pipelines.sources.item import KINDS
from pipelines.sources.metadata import FIELDS
from pipelines.sources.moments import FORMS, read_moment
from pipelines.sources.rows import COLUMNS
from pipelines.sources.values import PLATFORM_KINDS, read_kind

TEXT = (Path(__file__).parents[3] / "docs/sources.md").read_text(encoding="utf-8")


def below(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = TEXT.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")][2:]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_i11_every_field_is_documented() -> None:
    assert {name for row in below("## Fields") for name in quoted(row[0])} == set(COLUMNS) >= set(FIELDS)


def test_i11_every_name_of_a_kind_is_documented() -> None:
    told = {name: quoted(row[0])[0] for row in below("### Kinds") for name in quoted(row[1])}
    assert told == dict(PLATFORM_KINDS)
    assert {quoted(row[0])[0] for row in below("### Kinds")} == set(KINDS)


@pytest.mark.parametrize(
    "name", ["LORA", "LoCon", "Model", "TextualInversion", "Model Version", "MODEL_VERSION", "Checkpoint"]
)
def test_names_of_kinds_are_read_in_any_case(name: str) -> None:
    assert read_kind(name, {}).read == "model"


def test_i11_every_rating_is_documented() -> None:
    rows = below("### Ratings")
    assert [row[0] for row in rows] == list(LEVELS)
    assert {word: level for level, row in enumerate(rows) for word in quoted(row[1])} == _WORDS
    for level, row in enumerate(rows):
        assert {platform_level(number) for number in row[2].split(", ")} == {level}


def test_i11_every_form_of_a_date_is_documented_and_read_as_it_says() -> None:
    rows = below("### Dates")
    assert {form for row in rows for form in quoted(row[0])} == {*FORMS, "file"}
    for row in rows:
        for example in quoted(row[1]):
            found = read_moment(example)
            assert found is not None, example
            assert found[1] in quoted(row[0]), example
    unread = TEXT.split("What is ambiguous is not read", 1)[1].split("\n", 1)[0]
    assert [read_moment(example) for example in quoted(unread)] == [None]


def test_i11_the_formats_are_those_that_are_taken() -> None:
    told = next(row for row in below("## Formats") if "manifest:PATH" in row[0])
    assert [ending for ending in quoted(told[1]) if ending.startswith(".")] == [".jsonl", ".ndjson", ".gz", ".parquet"]
