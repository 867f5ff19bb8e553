"""A search for a secret says what is there, and is refused where chance would answer."""

from __future__ import annotations

import pytest

from tests.searching import in_clear


def test_a_secret_is_found_where_it_is_and_nowhere_else() -> None:
    secret = b"a secret of many bytes"
    assert in_clear(secret, bytes(500) + secret + bytes(500))
    assert not in_clear(secret, bytes(1000))


def test_a_secret_so_short_that_chance_would_put_it_there_is_refused() -> None:
    with pytest.raises(ValueError, match="2 bytes are in 7000 random ones"):
        in_clear(b"s1", bytes(7000))
    assert not in_clear(b"s1-of-enough", bytes(7000))
    assert in_clear(b"x" * 200, b"x" * 300)
