from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.both_databases import Recorded, choose, left_out, tells_of_meeting

ROOT = Path(__file__).parents[1]


def recorded(test: str, seconds: float, statements: str, *, always: bool = False) -> Recorded:
    return Recorded(test, seconds, frozenset(statements), always)


def test_the_cheapest_tests_that_run_every_statement_are_chosen() -> None:
    dear, cheap, other = recorded("dear", 9, "abc"), recorded("cheap", 1, "ab"), recorded("other", 1, "c")
    assert {one.test for one in choose([dear, cheap, other])} == {"cheap", "other"}


def test_where_transactions_meet_a_test_is_chosen_whatever_it_runs() -> None:
    meeting, same = recorded("meeting", 9, "ab", always=True), recorded("same", 1, "ab")
    assert [one.test for one in choose([meeting, same])] == ["meeting"]


@pytest.mark.parametrize(
    ("name", "source", "meets"),
    [
        ("test_an_expired_lease_is_taken_over[sqlite]", "", True),
        ("test_a_message_is_sent[sqlite-release]", "", False),
        ("test_a_threshold_lowered_during_a_comparison[sqlite]", "", True),
        ("test_a_night_can_be_cut_off[sqlite]", "", True),
        ("test_rows[sqlite-delete the chain]", "", True),
        ("test_a_message_is_sent[sqlite]", "threading.Thread(target=send)", True),
        ("test_a_message_is_sent[sqlite]", "sealer = workspace.sealer", False),
    ],
)
def test_a_test_meets_others_by_its_name_or_by_what_it_does(name: str, source: str, meets: bool) -> None:
    assert tells_of_meeting(name, source) is meets


def test_no_test_in_which_transactions_meet_is_on_the_list() -> None:
    for name in left_out():
        file, _, test = name.partition("::")
        source = sources(file)[test.partition("[")[0]]
        assert not tells_of_meeting(test, source), f"take {name} off the list: transactions meet in it"


@cache
def sources(file: str) -> dict[str, str]:
    """The source of each test of a file, with its decorators."""
    text = (ROOT / file).read_text(encoding="utf-8")
    lines = text.splitlines()
    return {
        node.name: "\n".join(lines[min(part.lineno for part in (node, *node.decorator_list)) - 1 : node.end_lineno])
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
    }


def test_the_list_names_tests_that_there_are() -> None:
    for name in left_out():
        file, _, test = name.partition("::")
        source = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {test.partition('[')[0]}(" in source, f"take {name} off the list: there is no such test any more"
        assert Path(file).parts[0] == "tests"
