"""Names in texts: what counts as a name, and that the index finds exactly what the definition does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import EnrolmentError
from indexes import names
from indexes.name_fits import fits_fast
from indexes.name_rules import NameSettings, SubjectNames, brute_force_names, forms_of, read_name, require_usable
from indexes.name_text import join_texts, read_text
from indexes.names import NameMatcher, matcher_id
from tests.examples import examples

SETTINGS = NameSettings(least_letters=3, joined_letters=6, inside_letters=8, most_letters=300)
JANE = SubjectNames("jane", ("Jane Doe", "Doeling"), ("Jane Doe County",))
PEOPLE = [
    JANE,
    SubjectNames("jose", ("José Álvarez-Núñez",)),
    SubjectNames("rose", ("Rosé",), ("rosé wine", "rose garden")),
    SubjectNames("stage", ("2pac", "A$AP Rocky", "50 Cent")),
    SubjectNames("will", ("Will Ow Hillington",)),
    SubjectNames("wang", ("王小明",)),
    SubjectNames("kim", ("김철수", "Kim Chul-soo")),
    SubjectNames("anna", ("Анна Петрова",)),
    SubjectNames("neil", ("Sean O'Neil",)),
]


def found(text: str, *people: SubjectNames) -> list[tuple[str, str, str]]:
    """(subject, rule, term as written), checked against the definition."""
    subjects = people or PEOPLE
    matches = NameMatcher(subjects, settings=SETTINGS).find(text)
    assert matches == brute_force_names(subjects, text, settings=SETTINGS)
    return [(match.subject_id, match.rule, text[match.start : match.end]) for match in matches]


@pytest.mark.parametrize(
    ("text", "rule", "term"),
    [
        ("a portrait of Jane Doe, smiling", "full_name", "Jane Doe"),
        ("JANE\tDOE", "full_name", "JANE\tDOE"),
        ("jane.doe", "full_name", "jane.doe"),
        ("jane-doe-lora", "full_name", "jane-doe"),
        ("(jane doe:1.3), 8k", "full_name", "jane doe"),
        ("((jane)) doe", "full_name", "jane)) doe"),
        ("[jane|doe]", "full_name", "jane|doe"),
        ("j4ne_d0e", "full_name", "j4ne_d0e"),
        ("jane2doe", "full_name", "jane2doe"),
        ("jane1doe", "full_name", "jane1doe"),
        ("wow! jane! doe!", "full_name", "jane! doe"),
        ("Jane Doe's car", "full_name", "Jane Doe"),
        ("doe, jane", "reordered", "doe, jane"),
        ("janedoe", "joined", "janedoe"),
        ("doejane", "joined", "doejane"),
        ("JaneDoe_v2", "joined", "JaneDoe"),
        ("<lora:janeDoe_v10:0.8>", "joined", "janeDoe"),
        ("AIJaneDoe", "joined", "JaneDoe"),
        ("j4ned0e10", "joined", "j4ned0e"),
        ("j a n e d o e", "joined", "j a n e d o e"),
        ("doeling", "token", "doeling"),
        ("ｊａｎｅ　ｄｏｅ", "full_name", "ｊａｎｅ　ｄｏｅ"),
        ("j\u200ba\u00adne do\u2060e", "full_name", "j\u200ba\u00adne do\u2060e"),
        ("ja\x00ne doe", "full_name", "ja\x00ne doe"),
        ("jаnе dое", "full_name", "jаnе dое"),
        ("jαne dοe", "full_name", "jαne dοe"),
        ("𝕵𝖆𝖓𝖊 𝕯𝖔𝖊", "full_name", "𝕵𝖆𝖓𝖊 𝕯𝖔𝖊"),
        ("🅹🅰🅽🅴 🅳🅾🅴", "full_name", "🅹🅰🅽🅴 🅳🅾🅴"),
        ("ᴊᴀɴᴇ ᴅᴏᴇ", "full_name", "ᴊᴀɴᴇ ᴅᴏᴇ"),
        ("jane\u0301 doe\u0301, red", "full_name", "jane\u0301 doe\u0301"),
    ],
)
def test_a_name_is_found_however_it_is_written_and_reported_as_it_was(text: str, rule: str, term: str) -> None:
    assert found(text, JANE) == [("jane", rule, term)]


@pytest.mark.parametrize(
    "text",
    [
        "jane",
        "doe",
        "jane eyre and john doe",
        "superjane doe",
        "janes doe",
        "xxjanedoexx",
        "jan edoe",
        "jane 4 doe 5".replace("doe", "d o"),
        "doelings",
        "a view of Jane Doe County",
        "",
        "1 0 3 4",
    ],
)
def test_what_is_not_the_whole_name_is_not_found(text: str) -> None:
    assert found(text, JANE) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jose alvarez nunez", [("jose", "full_name", "jose alvarez nunez")]),
        ("AlvarezNunez, José", [("jose", "joined", "AlvarezNunez, José")]),
        ("xxjosealvareznunezxx", [("jose", "joined", "josealvareznunez")]),
        ("the rose, the roses", [("rose", "token", "rose")]),
        ("r0se", [("rose", "token", "r0se")]),
        ("RoseGold", [("rose", "token", "Rose")]),
        ("rosewood, rose wine, a rose_garden", []),
        ("2Pac forever, pac man", [("stage", "token", "2Pac")]),
        ("asap rocky", [("stage", "alias", "asap rocky")]),
        ("50 cent", [("stage", "alias", "50 cent")]),
        ("one cent, so cent", []),
        ("大王小明的照片", [("wang", "full_name", "王小明")]),
        ("김철수는 kimchulsoo", [("kim", "full_name", "김철수")]),
        ("a kimchulsoo style", [("kim", "joined", "kimchulsoo")]),
        ("анна ПЕТРОВА", [("anna", "full_name", "анна ПЕТРОВА")]),
        ("ONeil, Sean", [("neil", "reordered", "ONeil, Sean")]),
    ],
)
def test_aliases_exclusions_and_other_scripts_follow_their_rules(
    text: str, expected: list[tuple[str, str, str]]
) -> None:
    assert found(text) == expected


def test_a_final_consonant_makes_another_syllable_and_so_another_name() -> None:
    assert found("김가", SubjectNames("k", ("김가",))) == [("k", "full_name", "김가")]
    assert found("김각", SubjectNames("k", ("김가",))) == []


def test_no_name_is_found_across_two_tags() -> None:
    assert found(join_texts(["jane", "doe"]), JANE) == []
    assert found(join_texts(["lora", "jane doe"]), JANE) == [("jane", "full_name", "jane doe")]
    assert found(join_texts(["jane\x1edoe"]), JANE) == [("jane", "full_name", "jane doe")]


def test_the_strongest_rule_is_reported_and_then_the_first_place() -> None:
    assert found("doe jane, janedoe, JANE DOE, jane doe", JANE) == [("jane", "full_name", "JANE DOE")]


def test_an_exclusion_counts_against_its_own_subject_only() -> None:
    other = SubjectNames("other", ("Jane Doe",))
    assert [subject for subject, _, _ in found("jane doe county", JANE, other)] == ["other"]


@pytest.mark.parametrize("name", ["Jo", "J.", "12", "", "!!", "王", "123 456"])
def test_names_that_would_be_found_everywhere_are_refused_without_being_repeated(name: str) -> None:
    with pytest.raises(EnrolmentError) as error:
        require_usable(["Jane Doe", name], (), settings=SETTINGS)
    assert "name 2" in str(error.value)
    assert len(name) < 3 or name not in str(error.value)
    assert NameMatcher([SubjectNames("x", (name,))], settings=SETTINGS).unusable == 1


def test_short_names_of_two_characters_are_names_in_chinese_and_korean() -> None:
    require_usable(["王明", "김철", "Bo Li"], ["the may"], settings=SETTINGS)
    with pytest.raises(EnrolmentError):
        require_usable(["Jane Doe"], ["..."], settings=SETTINGS)


def test_settings_are_part_of_what_a_matcher_is_called() -> None:
    assert matcher_id(SETTINGS) == "names-2-3-6-8"
    assert NameMatcher(PEOPLE, settings=SETTINGS).matcher_id == "names-2-3-6-8"


def test_names_are_not_shown() -> None:
    assert "Jane" not in repr(JANE)


WORDS = st.sampled_from(
    ["jane", "Doe", "DOE", "ann", "Lee", "An", "nlee", "ro", "Rose", "may", "MAY", "roSE", "j4ne", "d0e", "4nn", "l33",
     "l", "i", "1", "2", "10", "é", "王", "小明", "김", "가", "각", "o", "Ｎ", "о", "ß", "ﬁ", "A", "$", "@", "!"]
)  # fmt: skip
GLUE = st.sampled_from(["", "", " ", "_", ".", "'", "\u200b", "\u0301", ", ", "2", "1", ":", "\x1e", "("])
TEXTS = st.lists(st.tuples(WORDS, GLUE), max_size=12).map(lambda parts: "".join(word + glue for word, glue in parts))
NAMES = st.lists(
    st.builds(
        lambda words: " ".join(words),
        st.lists(
            st.sampled_from(["Jane", "Doe", "Ann", "Lee", "Li", "Rose", "May", "O'Doe", "4nn", "2o", "王小明", "김가"]),
            min_size=1,
            max_size=3,
        ),
    ),
    min_size=1,
    max_size=3,
)
SUBJECTS = st.lists(
    st.tuples(NAMES, st.lists(TEXTS.filter(lambda text: bool(read_text(text, figures=True).letters)), max_size=1)),
    min_size=1,
    max_size=4,
).map(lambda rows: [SubjectNames(f"s{n}", tuple(names), tuple(out)) for n, (names, out) in enumerate(rows)])


@settings(max_examples=examples(600))
@given(SUBJECTS, TEXTS)
def test_the_index_finds_exactly_what_every_name_tried_at_every_letter_finds(
    subjects: list[SubjectNames], text: str
) -> None:
    matcher = NameMatcher(subjects, settings=SETTINGS)
    assert matcher.find(text) == brute_force_names(subjects, text, settings=SETTINGS)


@settings(max_examples=examples(300))
@given(SUBJECTS, st.text(max_size=40))
def test_no_text_breaks_it_and_every_match_lies_within_the_text(subjects: list[SubjectNames], text: str) -> None:
    matches = NameMatcher(subjects, settings=SETTINGS).find(text)
    assert matches == brute_force_names(subjects, text, settings=SETTINGS)
    assert all(0 <= match.start < match.end <= len(text) for match in matches)


@settings(max_examples=examples(200))
@given(SUBJECTS, SUBJECTS, TEXTS)
def test_more_subjects_take_nothing_away_from_the_ones_there_are(
    subjects: list[SubjectNames], more: list[SubjectNames], text: str
) -> None:
    renamed = [SubjectNames(f"t{subject.subject_id}", subject.names, subject.exclusions) for subject in more]
    before = NameMatcher(subjects, settings=SETTINGS).find(text)
    after = NameMatcher([*renamed, *subjects], settings=SETTINGS).find(text)
    assert set(before) <= set(after)
    assert {match.subject_id for match in after} - {match.subject_id for match in before} <= {
        subject.subject_id for subject in renamed
    }


UNITS = ["a", "4", "!", "1l", "jane", "aA", "\u200b", "\u0301", "janedoe ", "'", "j a n e ", "王", "1"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_text_made_to_be_slow_is_decided_at_no_more_places_than_it_has_letters(
    unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [JANE, SubjectNames("aa", ("Aaaa Aaaa", "Aaa")), SubjectNames("l", ("Lili Lilil", "Lll"))]
    matcher = NameMatcher(people, settings=SETTINGS)
    tried = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal tried
        tried += 1
        return fits_fast(*args, **options)

    monkeypatch.setattr(names, "fits_fast", counted)
    text = unit * (20_000 // len(unit))
    matcher.find(text)
    forms = sum(len(forms_of(read_name(name), primary=True)) for person in people for name in person.names)
    assert tried <= 2 * forms * len(text)


def test_a_text_that_repeats_a_long_name_is_decided_once_where_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal tried
        tried += 1
        return fits_fast(*args, **options)

    monkeypatch.setattr(names, "fits_fast", counted)
    name = " ".join(["jane"] * 1_600)
    (match,) = NameMatcher([SubjectNames("x", (name,))], settings=SETTINGS).find("jane " * 12_000)
    assert (match.rule, match.start) == ("full_name", 0)
    assert tried == 1


REPEATED = st.lists(
    st.sampled_from(["jane ", "Jane", "j4ne", "doe", "d0e ", "a", "4", "1l", " ", "王", "Aa"]), max_size=12
)


@given(REPEATED.map("".join), REPEATED.map(lambda parts: "".join(parts) * 5), REPEATED.map("".join))
def test_names_and_texts_of_repeats_are_found_as_the_definition_finds_them(name: str, text: str, phrase: str) -> None:
    people = [SubjectNames("x", (name, "jane doe"), (phrase,) if phrase.strip() else ())]
    expected = brute_force_names(people, text, settings=SETTINGS)
    assert NameMatcher(people, settings=SETTINGS).find(text) == expected


def test_a_name_longer_than_any_name_is_refused_without_being_repeated() -> None:
    for names_given, exclusions in ((["Jane Doe", "x" * 301], ()), (["Jane Doe", "Jane"], ("x" * 301,))):
        with pytest.raises(EnrolmentError, match="300 letters") as error:
            require_usable(names_given, exclusions, settings=SETTINGS)
        assert "xx" not in str(error.value)
