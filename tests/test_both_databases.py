from __future__ import annotations

from pathlib import Path

from tests.both_databases import Recorded, choose, left_out

ROOT = Path(__file__).parents[1]


def recorded(test: str, seconds: float, statements: str, *, always: bool = False) -> Recorded:
    return Recorded(test, seconds, frozenset(statements), always)


def test_the_cheapest_tests_that_run_every_statement_are_chosen() -> None:
    dear, cheap, other = recorded("dear", 9, "abc"), recorded("cheap", 1, "ab"), recorded("other", 1, "c")
    assert {one.test for one in choose([dear, cheap, other])} == {"cheap", "other"}


def test_where_transactions_meet_a_test_is_chosen_whatever_it_runs() -> None:
    meeting, same = recorded("meeting", 9, "ab", always=True), recorded("same", 1, "ab")
    assert [one.test for one in choose([meeting, same])] == ["meeting"]


def test_the_list_names_tests_that_there_are() -> None:
    for name in left_out():
        file, _, test = name.partition("::")
        source = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {test.partition('[')[0]}(" in source, f"take {name} off the list: there is no such test any more"
        assert Path(file).parts[0] == "tests"
