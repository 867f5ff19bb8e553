"""Names in sentences are masked, whoever wrote them and however often they stand there."""

from __future__ import annotations

import re
import unicodedata

import pytest
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


SPELLINGS = (
    *("Doe", "doe", "DOE", "janedoe", "JaneDoe", "doe jane", "doejane", "Jane_Doe", "j4ne d0e", "jane2doe"),
    *("j a n e d o e", "J\u00e1ne", "Ja\u0301ne", "D\u00f6e's", "\uff2a\uff41\uff4e\uff45"),
    *("janefan", "JANE2026", "#janedoe_fan"),
)


@pytest.mark.parametrize("again", SPELLINGS)
def test_a_name_is_masked_in_its_parts_and_joined_however_it_is_written(again: str) -> None:
    shown = masked_passage(Passage(f"{again}, so: ", "Jane Doe", f" and {again}."))
    left = unicodedata.normalize("NFKD", f"{shown.before} {shown.after}".lower()).replace("\u0301", "")
    assert "\u2022" in shown.before
    assert "\u2022" in shown.after
    assert not [part for part in ("jane", "doe", "do\u0308e", "j4ne", "d0e", "j a n e", "d o e") if part in left]
    assert shown.before.endswith(", so: ")


def test_words_that_only_hold_a_part_are_left() -> None:
    shown = masked_passage(Passage("She undoes planned things, ", "Ann-Li Doe", " as ever."))
    assert (shown.before, shown.after) == ("She undoes planned things, ", " as ever.")


def test_a_joined_spelling_masks_the_words_it_is_made_of_together() -> None:
    shown = masked_passage(Passage("by jane doe, ", "janedoe", ""))
    assert "jane" not in shown.before
    assert "doe" not in shown.before


def test_a_name_in_a_script_without_spaces_is_masked_within_a_sentence() -> None:
    shown = masked_passage(Passage("\u79c1\u306f\u5c71\u7530\u592a\u90ce\u3067\u3059", "\u5c71\u7530\u592a\u90ce", ""))
    assert "\u5c71\u7530" not in shown.before


@given(
    st.lists(st.text("abcdefgh", min_size=3, max_size=8), min_size=1, max_size=3),
    st.sampled_from(["", " ", "_", "-", ", "]),
)
def test_no_word_of_a_name_is_left_in_its_sentence(words: list[str], between: str) -> None:
    shown = masked_passage(
        Passage(between.join(words) + ". ", " ".join(words).title(), " " + " / ".join(words).upper())
    )
    left = re.findall(r"[a-z]+", f"{shown.before} {shown.after}".lower())
    assert not set(words) & set(left)


@given(st.text(max_size=60), st.text(min_size=1, max_size=30), st.text(max_size=60))
def test_no_word_of_a_term_is_left_whole(before: str, term: str, after: str) -> None:
    shown = masked_passage(Passage(before, term, after))
    assert len(shown.term) == len(term)
    words = [word for word in term.split() if len(word) > 2 and word.isalpha()]
    assert not [word for word in words if word in shown.term.split()]
