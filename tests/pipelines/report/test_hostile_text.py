"""What an uploader calls an item stays text: on the page, in a spreadsheet and in Parquet (I9)."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.home.workspace import Workspace
from pipelines.report import ReportFiles, write_report
from pipelines.text.spreadsheets import neutralised, original
from pipelines.text.visible import visible
from tests.pipelines.report.reading import Element, hit_rows, read_page
from tests.pipelines.report.rows import DAY, add_hit, add_item, add_shard, add_subject

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    '=HYPERLINK("http://evil.example","click")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    " =1",
    "\r\n=1",
    "'=1",
    "id;=1+1",
    "id\t@SUM(1)",
    'id"=1',
    'id",+1',
    "id; '-1",
    "＝1",
    "x" * 512,
    "fdp.\u202egpj",
    "zero\u200bwidth",
    "日本語-ключ-😀",
    'quote"comma,newline\nend',
]


@pytest.fixture
def files(workspace: Workspace, folder: Path) -> ReportFiles:
    with workspace.database.write() as tx:
        add_subject(tx, "sub_a")
        add_shard(tx, workspace, covered_version=1)
        for name in HOSTILE:
            add_item(tx, name, status="hit", parent_model=name)
            add_hit(tx, workspace, name, "sub_a")
            add_item(tx, f"{name}-failed"[:512], status="fetch_failed:timeout") if len(name) < 500 else None
    return write_report(workspace, day=DAY, folder=folder)


def test_no_id_becomes_an_element_or_an_attribute(files: ReportFiles) -> None:
    page = read_page(files.html)
    for tag in ("script", "img", "iframe", "link", "object", "form", "base"):
        assert page.all(tag) == []
    assert all(not name.startswith("on") and name != "style" for name in attribute_names(page))
    assert all(not (link.attributes["href"] or "").startswith(("http", "javascript", "//")) for link in page.all("a"))


def attribute_names(element: Element) -> set[str]:
    names = set(element.attributes)
    for child in element.children:
        if isinstance(child, Element):
            names |= attribute_names(child)
    return names


def test_every_id_is_on_the_page_as_text(files: ReportFiles) -> None:
    shown = {part.text for row in hit_rows(read_page(files.html)) for part in row.all("bdi")}
    assert {" ".join(visible(name).split()) for name in HOSTILE} <= shown


def test_no_character_hides_or_turns_the_text_around(files: ReportFiles) -> None:
    text = files.html.read_text(encoding="utf-8")
    assert "\u202e" not in text
    assert "\u200b" not in text
    assert "fdp.\\u202egpj" in text


def test_the_page_admits_only_its_own_style_sheet(files: ReportFiles) -> None:
    page = read_page(files.html)
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    (style,) = page.all("style")
    source = "".join(child for child in style.children if isinstance(child, str))
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    assert policy.attributes["content"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in source
    assert "@import" not in source


def test_no_cell_of_the_csv_is_a_formula(files: ReportFiles) -> None:
    with files.csv.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {original(row["item_id"]) for row in rows} == set(HOSTILE)
    with files.unscanned_csv.open(encoding="utf-8", newline="") as file:
        rows += list(csv.DictReader(file))
    for row in rows:
        for name, cell in row.items():
            if not name.startswith(("x", "y")):  # coordinates are our own numbers, and may be negative
                assert not cell.lstrip().startswith(("=", "+", "-", "@")), name


def test_parquet_keeps_the_exact_text(files: ReportFiles) -> None:
    table = pq.read_table(files.parquet)
    assert set(table["item_id"].to_pylist()) == set(HOSTILE)
    assert table["parent_model"].to_pylist() == table["item_id"].to_pylist()


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ['"', None])
def test_i9_no_program_finds_a_formula_whatever_it_splits_a_line_at(
    separator: str, quote: str | None, files: ReportFiles
) -> None:
    for file in (files.csv, files.models_csv, files.unscanned_csv):
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.reader(
                lines, delimiter=separator, quotechar=quote, quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
            )
            cells = [cell for row in reader for cell in row]
        for cell in cells:
            assert re.fullmatch(NUMBER, cell) or not DANGEROUS.match(cell), cell


NUMBER = r"-?\d+(\.\d+)?(e[+-]?\d+)?(,-?\d+(\.\d+)?(e[+-]?\d+)?)*,*"
"""Our own numbers, several of them where the program does not split at commas."""
DANGEROUS = re.compile(r"[\s\u200b\ufeff\"]*[=+\-@＝＋－＠]|[\t\r\n]")


def spreadsheet_cells(text: str) -> list[str]:
    """Every way in which a program may split a text, quotes included."""
    return [text, *re.split(r'[,;|"\t\r\n]', text)]


@given(st.text(alphabet=st.one_of(st.sampled_from("=+-@;,|\"'\t\r\n ＝\u200b"), st.characters())))
def test_i9_no_part_of_a_cell_is_a_formula_and_the_text_comes_back(text: str) -> None:
    cell = neutralised(text)
    assert original(cell) == text
    for part in spreadsheet_cells(cell):
        assert not re.match(r"[\s\u200b\ufeff]*[=+\-@＝＋－＠]", part)
    assert not cell.startswith(("\t", "\r", "\n"))


def test_an_ordinary_id_is_written_as_it_is() -> None:
    for text in ("photo - copy (2).jpg", "a-b_c=d", "12:30+02:00", "u@example", "x,y;z"):
        assert neutralised(text) == text


@pytest.mark.parametrize("part", ["\t", "\t ", "; ", "       ;", "'", "\u200b"])
def test_i9_a_long_id_of_separators_is_neutralised_in_linear_work(part: str) -> None:
    text = part * 200_000  # in quadratic work this would not end
    assert original(neutralised(text)) == text


def test_i9_numbers_stay_numbers_and_only_text_is_marked(files: ReportFiles) -> None:
    with files.csv.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert float(row["score"]) > 0
            assert row["x1"] == "" or float(row["x1"]) == float(row["x1"])


@given(st.text())
def test_what_is_shown_always_prints_as_itself(text: str) -> None:
    assert visible(text).isprintable()
    assert not text.isprintable() or visible(text) == text
