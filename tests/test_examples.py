"""Every property test runs under the one profile."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import settings

from tests.examples import THOROUGH

TESTS = Path(__file__).parent
OWN = re.compile(r"\b(deadline=None|derandomize|suppress_health_check|HealthCheck|register_profile|max_examples=\d)")


def test_no_property_has_a_deadline_or_fails_for_being_slow_and_each_day_draws_the_same() -> None:
    profile = settings()
    assert profile.deadline is None
    assert profile.suppress_health_check
    assert profile.database is None
    assert profile.derandomize is (THOROUGH <= 1)


def test_no_test_deviates_from_the_profile_but_in_how_many_examples_it_draws() -> None:
    ours = {
        "examples.py",
        "test_examples.py",
        "fuzzing.py",
    }  # the last is no test: `make fuzz` runs for as long as asked
    files = [path for path in TESTS.rglob("*.py") if path.name not in ours]
    assert [path.name for path in files if OWN.search(path.read_text(encoding="utf-8"))] == []
