"""Names in sentences are masked, whoever wrote them and however often they stand there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.evidence.passages import Passage
from pipelines.reviewing.masking import masked, masked_passage


def test_a_name_keeps_its_outline() -> None:
    assert masked("Eileen Collins") == "Ei\u2022\u2022\u2022n Co\u2022\u2022\u2022\u2022s"
    assert (
        masked("10_eileen_collins ann-li")
        == "10_ei\u2022\u2022\u2022n_co\u2022\u2022\u2022\u2022s a\u2022\u2022-\u2022\u2022"
    )


def test_it_is_masked_again_where_it_stands_again() -> None:
    shown = masked_passage(Passage("EILEEN COLLINS, ", "Eileen Collins", ", or eileen collins"))
    assert "ileen" not in (shown.before + shown.term + shown.after).lower()
    assert shown.after.startswith(", or ei")


@given(st.text(max_size=60), st.text(min_size=1, max_size=30), st.text(max_size=60))
def test_no_word_of_a_term_is_left_whole(before: str, term: str, after: str) -> None:
    shown = masked_passage(Passage(before, term, after))
    assert len(shown.term) == len(term)
    words = [word for word in term.split() if len(word) > 2 and word.isalpha()]
    assert not [word for word in words if word in shown.term.split()]
