"""Names as people of every script write them, and as they are hidden: each way is found as the definition finds it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes.look_alikes import latin_for
from indexes.name_rules import NameSettings, SubjectNames, brute_force_names, forms_of_name
from indexes.name_views import as_meant
from indexes.names import NameMatcher
from tests.examples import examples

SETTINGS = NameSettings(least_letters=3, joined_letters=6, inside_letters=8, most_letters=300)


def found(name: str, text: str, *exclusions: str) -> tuple[str, str] | None:
    """The rule and the words found, checked against the definition."""
    people = [SubjectNames("x", (name,), exclusions)]
    matches = NameMatcher(people, settings=SETTINGS).find(text)
    assert matches == brute_force_names(people, text, settings=SETTINGS)
    return (matches[0].rule, text[matches[0].start : matches[0].end]) if matches else None


@pytest.mark.parametrize(
    ("name", "text", "term"),
    [
        ("山田太郎", "写真: 山田 太郎さん", "山田 太郎"),
        ("山田太郎", "山田・太郎", "山田・太郎"),
        ("山田太郎", "山田_太郎_v2", "山田_太郎"),
        ("山田 太郎", "大山田太郎の", "山田太郎"),
        ("王小明", "王 小明", "王 小明"),
        ("王小明", "王·小明", "王·小明"),
        ("山田太郎", "山田/太郎", "山田/太郎"),
        ("山田太郎", "山田＝太郎", "山田＝太郎"),
        ("山田太郎", "山田゠太郎", "山田゠太郎"),
        ("山田太郎", "山田\n太郎", "山田\n太郎"),
        ("김철수", "김 철수는", "김 철수"),
        ("김 철수", "김철수", "김철수"),
        ("ญาญ่าอุรัสยา", "ภาพ ญาญ่า อุรัสยา", "ญาญ่า อุรัสยา"),
        ("ジョン・スミス", "ジョンスミス、ジョン", "ジョンスミス"),
    ],
)
def test_a_name_in_a_script_without_spaces_is_found_with_a_gap_and_without(name: str, text: str, term: str) -> None:
    assert found(name, text) == ("full_name", term)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("김민수", "민수 김"),
        ("김민수", "배우 민수·김, lora"),
        ("남궁민수", "민수_남궁"),
        ("山田太郎", "太郎 山田"),
        ("山田太郎", "lora_太郎_山田_v1"),
        ("王小明", "小明 王"),
        ("高橋みなみ", "みなみ・高橋"),
    ],
)
def test_a_name_registered_without_a_space_is_found_with_the_given_name_first(name: str, text: str) -> None:
    match = found(name, text)
    assert match is not None
    assert match[0] == "reordered"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("김민수", "민수 김밥"),
        ("김민수", "철민수 김"),
        ("김민수", "민수김"),
        ("김민수", "민수, 김"),
        ("김민수", "민수\n김"),
        ("김민수", "민 수 김"),
        ("王明", "明 王"),
        ("山田太郎", "太郎山田"),
        ("山田太郎", "大山田\n太郎"),
        ("山田太郎", "山田\n太郎さん"),
        ("ญาญ่าอุรัสยา", "อุรัสยา ญาญ่า"),
    ],
)
def test_words_in_the_other_order_are_no_name_where_they_go_on_or_stop(name: str, text: str) -> None:
    assert found(name, text) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("王小明", "大王 小明天"),
        ("王小明", "王, 小明"),
        ("王小明", "王\n小明"),
        ("王明", "国王 明天"),
        ("王明", "王 明天"),
        ("山田太郎", "山 田 太郎"),
        ("김철수", "김 철순"),
    ],
)
def test_a_gap_that_parts_sentences_makes_no_name(name: str, text: str) -> None:
    assert found(name, text) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Thomas Müller", "thomas mueller"),
        ("Thomas Mueller", "Thomas Müller"),
        ("Thomas Mueller", "Thomas Mu\u0308ller"),
        ("Thomas Müller", "Thomas Muller"),
        ("Björk Müller", "Bjork Mueller"),
        ("Björk Müller", "bjoerk muller"),
        ("Björk Müller", "Björk Mueller"),
        ("Jörg Schäfer", "Joerg Schafer"),
        ("Søren Åse", "Soeren Ase"),
        ("Åse Bjørk Müller", "aase bjork mueller"),
        ("Søren Åse", "soeren aase"),
        ("Søren Åse", "soren ase"),
        ("Soeren Aase", "SØREN ÅSE"),
        ("Þóra Jónsdóttir", "thora jonsdottir"),
        ("Thora Jonsdottir", "Þóra Jónsdóttir"),
        ("Hans Groß", "hans gross"),
        ("Ægir Œuvre", "aegir oeuvre"),
    ],
)
def test_letters_that_are_also_written_as_two_are_found_either_way(name: str, text: str) -> None:
    assert found(name, text) == ("full_name", text)


def test_a_name_of_many_words_with_such_letters_has_no_more_spellings_than_it_is_bounded_to() -> None:
    assert len(forms_of_name("Åse Bjørk Müller Öst", primary=True, settings=SETTINGS)) <= 2 * 8
    assert found("Åse Bjørk Müller Öst", "aase bjoerk mueller oest") is not None
    assert found("Åse Bjørk Müller Öst", "aase bjork muller ost") is None


def test_two_letters_do_not_become_one_that_nobody_wrote() -> None:
    assert found("Michael Noel", "michal nol") is None
    assert found("Thomas Mueller", "Thomas Muller") is None


@pytest.mark.parametrize(
    ("name", "text", "term"),
    [
        ("علی کریمی", "علي كريمي", "علي كريمي"),
        ("فاطمة أحمد", "فاطمه احمد", "فاطمه احمد"),
        ("أحمد زكي", "احـمـد زكى", "احـمـد زكى"),
        ("محمد صلاح", "مُحَمَّد صَلاح", "مُحَمَّد صَلاح"),
        ("محمد صلاح", "صورة ومحمد صلاح", "محمد صلاح"),
        ("محمد صلاح", "لمحمد صلاح", "محمد صلاح"),
        ("محمد صلاح", "بمحمد_صلاح", "محمد_صلاح"),
        ("דוד לוי", "תמונה של דוד לוי", "דוד לוי"),
        ("דוד לוי", "ודוד לוי", "דוד לוי"),
    ],
)
def test_arabic_and_hebrew_letters_and_prefixes_make_no_difference(name: str, text: str, term: str) -> None:
    assert found(name, text) == ("full_name", term)


def test_a_prefix_is_no_end_of_a_word_and_one_word_behind_it_is_found() -> None:
    assert found("فيروز", "أغاني والفيروز") == ("token", "فيروز")
    assert found("والتر", "والتر") == ("token", "والتر")
    assert found("محمد صلاح", "قمحمد صلاح") is None


@pytest.mark.parametrize(
    "text",
    ["sean obrien", "Sean O’Brien", "sean o_brien", "sean o-brien", "sean o brien", "Sean O&#39;Brien",
     "sean_o&#x27;brien", "Sean O&rsquo;Brien", "Sean O&amp;#39;Brien", "sean&nbsp;obrien", "sean\u00a0o`brien"],
)  # fmt: skip
def test_an_apostrophe_may_be_anything_or_nothing(text: str) -> None:
    assert found("Sean O'Brien", text) == ("full_name", text)


def test_a_word_is_parted_only_where_the_name_has_a_seam() -> None:
    assert found("Lupita Nyong'o", "lupita nyong-o") == ("full_name", "lupita nyong-o")
    assert found("Ewan McGregor", "ewan mc gregor") == ("full_name", "ewan mc gregor")
    assert found("O'Brien", "the o brien file") == ("token", "o brien")
    assert found("Sean O'Brien", "sean ob rien") is None
    assert found("O'Brien", "xxo-brien") is None


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("Jane Doe", "photo of Jane A. Doe", "middle"),
        ("Jane Doe", "jane_a_doe_v2", "middle"),
        ("Jane Doe", "Jane A.B. Doe", "middle"),
        ("Jane Alice Doe", "jane doe", "middle"),
        ("Jane Alice Doe", "Jane A. Doe", "middle"),
        ("Jane A. Doe", "jane doe", "middle"),
        ("Jane Doe", "Jane A. Doe<br>", "middle"),
        ("Jane Doe", "<a title='Jane A. Doe'>x</a>", "middle"),
        ("Jane Alice Doe", "janedoe", "middle"),
        ("Jane Alice Doe", "jane alice doe", "full_name"),
        ("J. Doe", "j. doe", "full_name"),
    ],
)
def test_middle_names_may_be_missing_or_initials(name: str, text: str, rule: str) -> None:
    match = found(name, text)
    assert match is not None
    assert match[0] == rule


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Jane Doe", "J. Doe"),
        ("Jane Doe", "Jane, A. Doe"),
        ("Vincent van Gogh", "vincent gogh"),
        ("Maria del Carmen", "maria carmen"),
        ("Doe", "jane a."),
    ],
)
def test_what_belongs_to_a_name_is_no_middle_name(name: str, text: str) -> None:
    assert found(name, text) is None


@pytest.mark.parametrize(
    "text",
    ["eileen_collinsv2", "eileen_collinsxl", "eileen-collinslora", "eileen collinsflux", "eileen_collinspony",
     "collins_eileensdxl", "eileen_collinsfluxv3", "eileen_collinsxllora", "eileen_collinssd15", "eileen_m_collinsxl",
     "a eileencollinsv2 b"],
)  # fmt: skip
def test_the_last_word_of_a_name_may_be_joined_to_what_a_model_is_called_by(text: str) -> None:
    match = found("Eileen Collins", text)
    assert match is not None
    assert match[0] in ("joined", "middle")


def test_a_short_name_that_is_joined_may_have_such_a_tail_as_well() -> None:
    assert found("Jane Doe", "janedoexl") == ("joined", "janedoe")
    assert found("Ann Lee", "ann_leev2") == ("joined", "ann_lee")
    assert found("Ann Li", "annlixl") is None


@pytest.mark.parametrize(
    "text",
    ["ivan petrov", "ivan petrov, 2 cats", "ivan petroville", "ivan petrovik2", "ivan petroxlarge", "xivan petroxl",
     "ivan petrov 2", "ivan petrolora\u0436", "ivan petrosd"],
)  # fmt: skip
def test_a_name_that_goes_on_otherwise_is_another(text: str) -> None:
    assert found("Ivan Petro", text) is None


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("see \u202eeod enaj", "eod enaj"),
        ("ja\u202ene doe", "ja\u202ene doe"),
        ("ja😀ne d❤️oe", "ja😀ne d❤️oe"),
        ("jane 😀 doe", "jane 😀 doe"),
        ("ꓙꓮꓠꓰ ꓓꓳꓰ", "ꓙꓮꓠꓰ ꓓꓳꓰ"),
        ("ᎫᎪNᎬ ᎠOᎬ", "ᎫᎪNᎬ ᎠOᎬ"),
        ("JAΝE DOE", "JAΝE DOE"),
        ("<b>Jane</b> Doe", "Jane</b> Doe"),
        ("<p>jane<br>doe</p>", "jane<br>doe"),
        ("jane<BR/>doe", "jane<BR/>doe"),
        ("Jane</p><p class='x'>Doe", "Jane</p><p class='x'>Doe"),
        ("<b>J</b>ane <strong>Doe</strong>", "J</b>ane <strong>Doe"),
        ("&lt;b&gt;Jane&lt;/b&gt; Doe", "Jane&lt;/b&gt; Doe"),
        ("<a href='jane_doe'>x</a>", "jane_doe"),
        ("<i>JAΝE</i> DOE", "JAΝE</i> DOE"),
        ("jane&nbsp;doe", "jane&nbsp;doe"),
        ("j&#97;ne doe", "j&#97;ne doe"),
        ("jane\u2003doe", "jane\u2003doe"),
    ],
)
def test_a_name_is_found_however_it_is_hidden(text: str, term: str) -> None:
    match = found("Jane Doe", text)
    assert match is not None
    assert match[1] == term


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Mary Hyams", "ΜARY HYAMS"),
        ("Mary Hyams", "ΜΑRΥ ΗΥAΜS"),
        ("Tom Nunes", "ΤΟΜ ΝUNES"),
        ("Eileen Collins", "EILEEΝ COLLIΝS"),
        ("Νίκος Παπάς", "ΝΙΚΟΣ ΠΑΠΑΣ"),
        ("Νίκος Παπάς", "νίκος παπάς"),
        ("Victor Nunes", "νictor nunes"),
    ],
)
def test_a_greek_letter_stands_for_what_it_looks_like_and_for_itself(name: str, text: str) -> None:
    assert found(name, text) == ("full_name", text)


@pytest.mark.parametrize(
    "text",
    ["<li>jane</li><li>doe</li>", "<td>jane</td> <td>doe</td>", "jane <lora:x:1> doe", "jane <blob> doe",
     "jane <b " + "x" * 501 + "> doe"],
)  # fmt: skip
def test_what_is_no_tag_within_a_sentence_keeps_words_apart(text: str) -> None:
    assert found("Jane Doe", text) is None


def test_an_exclusion_is_written_in_as_many_ways_as_a_name() -> None:
    assert found("Rose", "rose o&#39;brien", "rose o'brien") is None
    assert found("Rose", "rose o-brien", "rose o'brien") is None


def test_letters_in_which_names_are_written_are_never_taken_for_latin_ones() -> None:
    assert latin_for("ꓙ") == "j"
    assert latin_for("Ꭻ") == "j"
    assert latin_for("ꓲ") == "1"
    assert {latin_for(letter) for letter in "оاוഠ〇王あ각"} == {None}


def test_a_text_as_it_is_meant_is_as_long_as_it_is_written() -> None:
    for text in ("&#39;", "&nbsp;x&unknown;&amp;", "&nGt;&#0;&#xD800;", "u\u0308&&;", "&amp;amp;#39;"):
        assert len(as_meant(text)) == len(text)


WORDS = st.sampled_from(
    ["jane", "Doe", "O'Brien", "obrien", "o", "brien", "Müller", "mueller", "MU\u0308LLER", "Åse", "aase", "ase", "Þ",
     "山田", "太郎", "山", "田太郎", "김", "철수", "각", "فيروز", "و", "ال", "وال", "علی", "علي", "דוד", "ה", "A.",
     "b", "a", "McGregor", "gregor", "ꓙane", "ꓲ", "Ꭰ", "rose", "4nn", "ญา", "ญ่า", "1", "ß", "ــ",
     "xl", "v", "lora", "JAΝE", "ΜΥ"]
)  # fmt: skip
GLUE = st.sampled_from(
    ["", "", " ", " ", "_", "-", ".", ", ", "'", "’", "&#39;", "&nbsp;", "😀", "\u200d", "・", "·", "\u202e", "\u202c",
     "\n", "/", "＝", "\x1e", "2", "❤️", "<b>", "</b>", "<br>", "\u064e", "ـ"]
)  # fmt: skip
PARTS = st.lists(st.tuples(WORDS, GLUE), max_size=10)
TEXTS = PARTS.map(lambda parts: "".join(word + glue for word, glue in parts))
NAMES = st.sampled_from(
    ["Jane Doe", "Sean O'Brien", "O'Brien", "Thomas Müller", "Mueller", "Müller", "Åse", "Aase Åse",
     "山田太郎", "山田 太郎", "山田", "김철수", "김 철수", "فيروز", "علی فيروز", "والفيروز", "דוד", "Jane Alice Doe",
     "Jane A. Doe", "Ewan McGregor", "McGregor", "Jane Ase", "Rose", "ญาญ่า", "Jane O'Brien Müller", "Åse Müller"]
)  # fmt: skip
SUBJECTS = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3), st.lists(TEXTS, max_size=1)), max_size=4).map(
    lambda rows: [SubjectNames(f"s{n}", tuple(names), tuple(out)) for n, (names, out) in enumerate(rows)]
)


@settings(max_examples=examples(600))
@given(SUBJECTS, TEXTS)
def test_the_index_finds_exactly_what_the_definition_does_in_every_script(
    subjects: list[SubjectNames], text: str
) -> None:
    assert NameMatcher(subjects, settings=SETTINGS).find(text) == brute_force_names(subjects, text, settings=SETTINGS)


@settings(max_examples=examples(300))
@given(NAMES, GLUE, GLUE, TEXTS, TEXTS)
def test_the_index_finds_a_name_between_any_texts_as_the_definition_does(
    name: str, before: str, after: str, left: str, right: str
) -> None:
    people = [SubjectNames("x", (name,))]
    text = f"{left}{before}{name}{after}{right}"
    assert NameMatcher(people, settings=SETTINGS).find(text) == brute_force_names(people, text, settings=SETTINGS)
