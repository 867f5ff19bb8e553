"""What each name of somebody would bring by itself, and what is proposed about it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from indexes.name_rules import SubjectNames
from pipelines.cases.aliases import ProposedExclusion, in_latin_letters, weigh_names
from pipelines.database.tables import audit
from pipelines.home.workspace import Workspace
from pipelines.runs.sweep import list_source
from tests.fakes import WHITE, picture
from tests.platform_actions import source_of, upload


def test_a_name_that_is_a_word_is_weighed_by_itself_with_the_phrases_it_stands_in(
    workspace: Workspace, uploads: Path
) -> None:
    for number in range(4):
        texts = {"prompt": f"a rose garden at night, number {number}", "uploader": f"u{number % 2}"}
        upload(uploads, f"{number}.png", picture(WHITE), **texts)
    upload(uploads, "4.png", picture(WHITE), title="Rose Vymyslena", tags=["rose", "garden"], uploader="u3")
    upload(uploads, "5.png", picture(WHITE), title="rose wine, rose wine", uploader="u1")
    list_source(workspace, source_of(uploads), day=None)
    names = SubjectNames("x", ("Rose Vymyslena", "Rose"))
    whole, word = weigh_names(workspace, names, actor="test", latin=False)
    assert (whole.position, whole.items, whole.alone, whole.one_word, whole.exclusions) == (1, 1, 0, False, ())
    assert (word.position, word.items, word.alone, word.one_word) == (2, 6, 5, True)
    assert word.exclusions == (ProposedExclusion("rose garden", 4, 2),)
    assert "rose" not in repr(word)
    excluded = SubjectNames("x", names.names, ("rose garden",))
    assert weigh_names(workspace, excluded, actor="test", latin=False)[1].items == 2
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(audit.c.facts).where(audit.c.action == "subject.weigh_names")).scalars()
        assert not any("ose" in str(row) for row in rows)


@pytest.mark.parametrize(
    ("name", "latin"),
    [
        ("Jane Doe", None),
        ("Thomas Müller", None),
        ("Анна Петрова", "Anna Petrova"),
        ("王小明", "Wang Xiaoming"),
        ("김철수", "Gim Cheolsu"),
        ("スミス・タロウ", "Sumisu Tarou"),
        ("محمد صلاح", None),
        ("דוד", None),
    ],
)
def test_a_name_of_another_script_is_proposed_in_latin_letters(name: str, latin: str | None) -> None:
    assert in_latin_letters(name) == latin
