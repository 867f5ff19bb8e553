"""The command line as its own tree describes it: every option and choice works, and no line ends in a traceback."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import Result

from pipelines.decisions.decide import REASONS
from pipelines.takedown.receiver import Receiver
from tests.command_lines import (
    Place,
    commands_on_fakes,
    complaint,
    is_needed,
    leaves,
    prepare,
    random_line,
    typed,
    value_of,
)
from tests.conftest import Clock
from tests.pipelines.takedown.delivering import SECRET

LINES = 200
"""In the ordinary suite, by a fixed seed; ``--command-lines`` says another number."""
LINES_PER_HOME = 50

EVERYWHERE = {"home", "config", "as_json"}
"""Options that every command has."""
CHOOSING = (
    "subject_id",
    "item_id",
    "parent_model",
    "uploader",
    "day",
    "tier",
    "band",
    "verdict",
    "rule",
    "most",
    "yes",
    "expect",
)
"""Options of ``decide`` that stand in place of hits."""
ON_ITS_OWN = ("held_by", "subject_id", "item_id", "action", "older_than", "overdue", "state")
"""Options of ``outbox release`` and ``discard`` that choose messages by themselves."""
WITH_OTHERS = ("most", "yes", "expect")
"""Those that go with one that chooses."""
CHANGES = {
    *("added", "removed", "case_reference__text", "case_reference__file"),
    *(f"{one}__{form}" for one in ("contact", "consent") for form in ("text", "file")),
    *(
        f"{act}_{what}__{form}"
        for act in ("add", "remove")
        for what in ("aliases", "exclusions")
        for form in ("text", "file")
    ),
}
"""Options of ``subject update`` that change something."""
ENDS_IN_1 = {
    "calibrate impostors": "a few people do not support the targets of the settings",
    "calibrate pairs": "two pairs support no threshold",
    "calibration background platform": "a few uploaders support no threshold",
    "decide yes": "the digest is of no preview",
    "outbox discard yes": "the digest is of no preview",
    "outbox release yes": "the digest is of no preview",
    "request accept expect": "the digest is of no preview",
    **dict.fromkeys(
        ("day approve", "day approve reason__text", "day approve reason__file", "day approve expect"),
        "no check stops this day",
    ),
    **dict.fromkeys(("day approve undo", "day reason"), "nobody approved this day"),
    "status check": "a message of this home is dead",
    "subject endings yes": "no opt-out ends",
    "subject update expect": "the digest is of no preview",
}
"""Lines whose refusal is what they show."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Cut the random lines into homes, which workers share out."""
    if "first" in metafunc.fixturenames:
        number = metafunc.config.getoption("--command-lines") or LINES
        metafunc.parametrize("first", range(0, number, LINES_PER_HOME))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    clock = Clock()
    with Receiver("127.0.0.1", 0, [SECRET], log_path=None, now=clock) as receiver, commands_on_fakes(clock):
        yield prepare(tmp_path_factory.mktemp("tree") / "prepared", receiver, clock)


@pytest.fixture
def place(prepared: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy, and a working folder of its own, where stray paths lead."""
    copy = prepared.copy(tmp_path / "copy")
    inside = tmp_path / "copy" / "a" / "b" / "c"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    return copy


def lines() -> Iterator[tuple[tuple[str, ...], click.Command, click.Parameter | None, str | None]]:
    """Each command with what it needs and the options of all commands, with each of its own, and with each choice."""
    for path, command in leaves():
        yield path, command, None, None
        for parameter in command.params:
            if parameter.name in EVERYWHERE or (parameter.required and not isinstance(parameter.type, click.Choice)):
                continue
            choices = parameter.type.choices if isinstance(parameter.type, click.Choice) else (None,)
            for choice in choices:
                yield path, command, parameter, choice


ALL = {
    " ".join((*path, *(str(word) for word in (parameter and parameter.name, choice) if word))): (
        path,
        command,
        parameter,
        choice,
    )
    for path, command, parameter, choice in lines()
}


def line_of(name: str, place: Place) -> list[str]:
    """What is typed: what the command needs, and the parameter in question."""
    path, command, chosen, choice = ALL[name]
    values = {each.name: value_of(path, each, place) for each in command.params if not is_flag(each)}
    needed = {each.name for each in command.params if is_needed(path, each)} | (set() if chosen else EVERYWHERE)
    if chosen is not None:
        needed -= {chosen.name.replace("__file", "__text")}  # type: ignore[union-attr]  # one of the two
        needed.add(chosen.name)
        if choice is not None:
            values[chosen.name] = choice
    call = " ".join(path)
    if call == "decide" and chosen is not None and chosen.name == "undone":
        needed = {"undone"}
    elif call == "decide":
        word = values["decision"]
        values["reason"] = REASONS[word][0]  # type: ignore[index]
        choosing = chosen is not None and chosen.name in CHOOSING
        needed |= {"decision", "reason"} | ({"subject_id"} if choosing else {"hit_ids"})
        needed |= {"expect"} if chosen is not None and chosen.name == "yes" else set()
    elif call == "day approve" and chosen is not None and chosen.name == "undo":
        needed = {"chosen", "undo"}
    elif call in ("outbox release", "outbox discard"):
        name = chosen.name if chosen is not None else None
        needed |= {"subject_id"} if name in WITH_OTHERS else set() if name in ON_ITS_OWN else {"message_ids"}
        needed |= {"expect"} if name == "yes" else set()
    elif call == "calibrate" and not needed & {"pairs", "impostors"}:
        needed |= {"impostors", "fpir", "strong_fpir", "confidence"}
    elif call == "calibration background" and not needed & {"forget", "platform"}:
        needed |= {"folder", "fpir", "strong_fpir", "confidence", "gallery"}
    elif call == "search" and not needed & {"text", "text_file", "image"}:
        needed.add("text")
    elif call == "restore" and "accept" in needed:
        needed.add("reason__text")
    elif call in ("subject withdraw", "subject erase"):
        needed.add("yes")
    elif call == "subject endings" and "yes" in needed:
        needed.add("expect")
    elif call == "subject update" and not needed & CHANGES:
        needed.add("case_reference__text")
    elif call == "subject update" and "removed" in needed:
        needed.add("added")  # one has to stay
    elif call == "sweep":
        needed.add("source")
    words = [word for each in command.params if each.name in needed for word in typed(each, values.get(each.name))]
    return [*path, *words]


def is_flag(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and bool(parameter.is_flag)


@pytest.mark.parametrize("name", ALL)
def test_every_documented_option_and_choice_runs(place: Place, name: str) -> None:
    line = line_of(name, place)
    result = place.run(*line)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        traceback.print_exception(result.exception)
    assert complaint(result) is None, line
    assert result.exit_code == (1 if name in ENDS_IN_1 else 0), (line, result.stderr)


@pytest.mark.parametrize(("decision", "reason"), [(word, why) for word, reasons in REASONS.items() for why in reasons])
def test_every_reason_for_a_decision_is_taken(place: Place, decision: str, reason: str) -> None:
    for hit in ("hit", "named"):
        result = place.run("decide", place.ids[hit], decision, "--reason", reason)
        assert (result.exit_code, complaint(result)) == (0, None), result.stderr
    assert place.run("verify").exit_code == 0


VALUES = [(path, each) for path, command in leaves() for each in command.params if not is_flag(each)]


@pytest.mark.parametrize(("path", "parameter"), VALUES, ids=[f"{' '.join(path)} {each.name}" for path, each in VALUES])
def test_an_empty_value_is_wrong_usage_everywhere(
    prepared: Place, path: tuple[str, ...], parameter: click.Parameter
) -> None:
    long = [f"{option}=" for option in parameter.opts if option.startswith("--")]
    for words in (typed(parameter, ""), *([option] for option in long)):
        result = prepared.run(*path, *words)
        assert (result.exit_code, "is empty: leave it out" in result.stderr) == (2, True), words


@pytest.mark.parametrize("value", [f"a{chr(0)}b", chr(0xD800), chr(0xDCFF)], ids=["NUL", "surrogate", "undecodable"])
def test_a_value_that_is_no_text_is_wrong_usage_everywhere(prepared: Place, value: str) -> None:
    for path, parameter in VALUES:
        result = prepared.run(*path, *typed(parameter, value))
        assert (result.exit_code, "no UTF-8 text" in result.stderr) == (2, True), (path, parameter.name)


def test_no_command_line_ends_in_a_traceback(
    prepared: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    found: dict[str, list[str]] = {}
    folder = tmp_path / "copy"
    place = prepared.copy(folder)
    inside = folder / "a" / "b" / "c" / "d"
    inside.mkdir(parents=True)
    (folder / "link").symlink_to("link")
    (folder / "plain").write_text("a file where a folder is named", encoding="utf-8")
    monkeypatch.chdir(inside)
    generator = random.Random(first)
    for _ in range(LINES_PER_HOME):
        line = random_line(generator, place)
        result = place.run(*line)
        wrong = complaint(result)
        if wrong is not None:
            found.setdefault(wrong + where(result), line)
    assert not found, "\n".join(f"{wrong[:300]}\n    {[word[:80] for word in line]}" for wrong, line in found.items())


def where(result: Result) -> str:
    """The last place in this project that an error passed."""
    steps = traceback.extract_tb(result.exception.__traceback__ if result.exception else None)
    ours = [f" at {Path(step.filename).name}:{step.lineno}" for step in steps if "/pipelines/" in step.filename]
    return ours[-1] if ours else ""
