"""Evidence of every tier stands in the report and in what scripts read, each with what explains it, and no term."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from pipelines.cli import main
from pipelines.database.tables import outbox
from pipelines.hits.listing import TIERS, list_hits
from pipelines.hits.verdicts import ModelVerdict, list_model_verdicts, list_verdicts
from pipelines.home.workspace import Workspace
from pipelines.intake.ledger import Scope
from pipelines.report import PageLimits, write_report
from pipelines.report.export import MODEL_SCHEMA
from pipelines.runs.sweep import summarise
from pipelines.runs.verify import verify
from pipelines.takedown.outbox import Wanted, enqueue
from tests.pipelines.report.reading import hit_rows, read_page, section
from tests.pipelines.report.rows import (
    DAY,
    NOW,
    add_evidence,
    add_hit,
    add_item,
    add_model_verdict,
    add_shard,
    add_subject,
    add_takedown,
    text_of,
)
from tests.searching import in_clear

TERM = b"Jane Q. Fictitious"


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """A picture with a face and a name in its prompt, a copied file, a model with a telling header, a bounty."""
    with workspace.database.write() as tx:
        add_subject(tx, "sub_a")
        add_shard(tx, workspace, covered_version=1)
        add_item(tx, "picture", status="hit", parent_model="model", text_digest=text_of("picture"))
        add_hit(tx, workspace, "picture", "sub_a", score=0.42)
        add_evidence(tx, workspace, "picture", "sub_a", tier="text", place="prompt", band="review", sealed_term=TERM)
        add_item(tx, "copy", status="hit")
        add_evidence(tx, workspace, "copy", "sub_a", tier="exact", place="pdq", verdict="takedown", priority=7)
        add_takedown(tx, "copy", "sub_a")
        file = {"kind": "model", "status": "hit", "faces": 0, "shard_id": None, "model_id": None}
        add_item(tx, "model", **file, width=None, height=None)
        place = "header:ss_output_name"
        add_evidence(tx, workspace, "model", "sub_a", tier="header", place=place, sealed_term=TERM)
        add_item(tx, "bounty", **(file | {"kind": "bounty"}), content_sha256=None, text_digest=text_of("bounty"))
        add_evidence(tx, workspace, "bounty", "sub_a", tier="text", place="title", verdict="takedown", sealed_term=TERM)
        wanted = Wanted("takedown", "bounty", text_of("bounty"), "sub_a", 24, 0, "automated", {}, ("bounty",))
        enqueue(tx, wanted, policy_version="policy-1", due_at=NOW, now=NOW)
        add_model_verdict(tx, workspace, "model", "sub_a")
        add_model_verdict(tx, workspace, "bounty", "sub_a", verdict="suspected", priority=30, generator_block=False)
    return workspace


def run(workspace: Workspace, *arguments: str) -> Result:
    key = base64.b64encode(workspace.environment.key or b"").decode()
    environment = {"LIKENESS_KEY": key, "LIKENESS_HOME": str(workspace.home)}
    return CliRunner().invoke(main, list(arguments), env=environment)


def test_every_tier_is_listed_and_only_a_face_has_a_frame(filled: Workspace) -> None:
    with filled.database.read() as connection:
        found = list_hits(connection)
        by_tier = {tier: [hit.item_id for hit in list_hits(connection, tier=tier)] for tier in TIERS}
    assert by_tier.pop("pooled_face") == by_tier.pop("made_by") == []
    assert by_tier == {"exact": ["copy"], "face": ["picture"], "header": ["model"], "text": ["bounty", "picture"]}
    assert {hit.tier for hit in found if hit.face_box or hit.reference_id or hit.frame is not None} == {"face"}
    assert {(hit.tier, hit.place) for hit in found if hit.seed_id} == {("exact", "pdq")}


def test_a_hit_in_a_text_has_the_verdict_of_its_item(filled: Workspace) -> None:
    with filled.database.read() as connection:
        verdicts = {(hit.item_id, hit.tier): hit.verdict for hit in list_hits(connection)}
    assert verdicts["picture", "text"] == verdicts["picture", "face"] == "review"
    assert verdicts["bounty", "text"] == "takedown"


def test_verdicts_on_texts_and_copies_are_counted_like_those_on_faces(filled: Workspace) -> None:
    counts = write_report(filled, day=DAY, folder=filled.home / "reports").counts
    summary = summarise(filled, Scope(None, DAY), run_id="run_1")
    assert (counts.takedowns, counts.review) == (summary.takedowns, summary.review) == (2, 2)
    assert counts.hits_by_tier == {"exact": 1, "face": 1, "header": 1, "text": 2}
    assert counts.hits_by_earlier_models == 0


def test_a_takedown_for_a_text_alone_is_verified_by_that_text(filled: Workspace) -> None:
    def finding() -> tuple[bool, str]:
        (found,) = (one for one in verify(filled) if one.check == "takedowns have outbox rows")
        return found.ok, found.detail

    assert finding() == (True, "2 takedown verdicts, each with its message")
    with filled.database.write() as tx:
        tx.execute(sa.delete(outbox).where(outbox.c.item_id == "bounty"))
    assert finding() == (False, "1 of 2 takedown verdicts have no message in the outbox")


def test_the_page_shows_place_and_rule_of_a_name_and_never_the_term(filled: Workspace, folder: Path) -> None:
    files = write_report(filled, day=DAY, folder=folder)
    page = read_page(files.html)
    rows = {row.all("bdi")[0].text: row for row in hit_rows(page)}
    assert rows.keys() == {"picture", "copy", "model", "bounty"}
    assert [name for name, row in rows.items() if row.all("svg", class_="frame")] == ["picture"]
    chips = {name: [chip.text for chip in row.all("summary", class_="chip")] for name, row in rows.items()}
    assert chips == {
        "picture": ["prompt"],
        "copy": ["near-duplicate"],
        "model": ["header: ss_output_name"],
        "bounty": ["title"],
    }
    assert "name in the prompt , by rule: full name" in rows["picture"].text.replace("prompt,", "prompt ,")
    assert "near-duplicate (PDQ) of confirmed content" in rows["copy"].text
    assert "matches seed seed_" in rows["copy"].text
    assert "detector" not in rows["bounty"].text
    assert "earlier models" not in page.all("main")[0].text
    for path in folder.iterdir():
        assert not in_clear(TERM, path.read_bytes())


def test_evidence_of_one_item_is_one_row_with_faces_before_copies_before_names(filled: Workspace, folder: Path) -> None:
    with filled.database.write() as tx:
        add_evidence(tx, filled, "picture", "sub_a", tier="exact", place="sha256")
        add_evidence(tx, filled, "picture", "sub_a", tier="header", place="header:modelspec.title", band="review")
    page = read_page(write_report(filled, day=DAY, folder=folder).html)
    (row,) = (row for row in hit_rows(page) if row.all("bdi")[0].text == "picture")
    places = [row.text.index(lead) for lead in ("detector", "same file", "header: modelspec.title", "prompt")]
    assert places == sorted(places)


def test_the_most_pressing_item_of_a_kind_comes_first_whatever_its_scores(filled: Workspace, folder: Path) -> None:
    page = read_page(write_report(filled, day=DAY, folder=folder).html)
    order = [row.all("bdi")[0].text for row in hit_rows(page)]
    assert order.index("copy") < order.index("bounty")  # both are takedowns of score 1; the copy has the priority


def test_exports_have_all_tiers_with_nulls_where_there_is_no_face(filled: Workspace, folder: Path) -> None:
    files = write_report(filled, day=DAY, folder=folder)
    rows = {(row["item_id"], row["tier"]): row for row in pq.read_table(files.parquet).to_pylist()}
    assert len(rows) == 5
    name = rows["bounty", "text"]
    assert (name["place"], name["match"], name["content_sha256"]) == ("title", "full_name", text_of("bounty"))
    assert [name[key] for key in ("frame", "face", "x1", "detector_score", "reference_id", "seed_id")] == [None] * 6
    assert (name["verdict"], name["tiers"], name["decided_by"]) == ("takedown", "text", "automated")
    assert name["takedown_state"] == "pending"
    assert rows["copy", "exact"]["priority"] == 7
    assert "sealed_term" not in name


def test_models_stand_on_the_page_the_most_pressing_first(filled: Workspace, folder: Path) -> None:
    with filled.database.write() as tx:
        add_item(tx, "harmless", kind="model", shard_id=None)
        add_model_verdict(tx, filled, "harmless", "sub_a", verdict="clear", priority=0, generator_block=False)
    files = write_report(filled, day=DAY, folder=folder)
    page = read_page(files.html)
    rows = section(page, "models").all("tr")[1:]
    assert [row.all("bdi")[0].text for row in rows] == ["model", "bounty"]
    facts = ["likeness model", "face in distinct images", "9 of 12", "7", "0.812", "0.710", "face, header", "mature"]
    assert [fact for fact in [*facts, "block", "100"] if fact not in rows[0].text] == []
    assert "no block" in rows[1].text
    assert "1 clear verdict left out here" in section(page, "models").text
    assert (files.counts.likeness_models, files.counts.suspected_models) == (1, 1)
    assert "1 likeness model" in page.all("p", class_="lead")[0].text


def test_a_page_without_room_says_how_many_models_more_there_are(filled: Workspace, folder: Path) -> None:
    files = write_report(filled, day=DAY, folder=folder, limits=PageLimits(models=1))
    assert "The first 1 are shown, 1 more are in the files." in section(read_page(files.html), "models").text


def test_model_files_hold_the_same_rows(filled: Workspace, folder: Path) -> None:
    files = write_report(filled, day=DAY, folder=folder)
    table = pq.read_table(files.models_parquet)
    assert table.schema.equals(MODEL_SCHEMA)
    assert MODEL_SCHEMA.names == [field.name for field in fields(ModelVerdict)]
    with files.models_csv.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == table["model"].to_pylist() == ["model", "bounty"]
    assert rows[0]["median_score"] == "0.71"


Change = Callable[[Workspace], None]


def end_subject(workspace: Workspace) -> None:
    with workspace.database.write() as tx:
        tx.execute(sa.text("UPDATE subjects SET state = 'withdrawn'"))


def delete_items(workspace: Workspace) -> None:
    with workspace.database.write() as tx:
        tx.execute(sa.text("UPDATE items SET live = :no"), {"no": False})


@pytest.mark.parametrize("change", [end_subject, delete_items])
def test_verdicts_that_are_not_in_force_are_not_listed(filled: Workspace, change: Change) -> None:
    with filled.database.read() as connection:
        assert len(list_verdicts(connection)) == 4
        assert len(list_model_verdicts(connection)) == 2
    change(filled)
    with filled.database.read() as connection:
        assert list_verdicts(connection) == []
        assert list_model_verdicts(connection) == []


def test_a_model_counts_for_the_days_of_its_images(filled: Workspace) -> None:
    with filled.database.write() as tx:
        add_item(tx, "later-image", day="2026-11-21", parent_model="model")
    with filled.database.read() as connection:
        of_day = list_model_verdicts(connection, scope=Scope(None, DAY.replace(day=21)))
    assert [verdict.model for verdict in of_day] == ["model"]


def test_the_commands_list_hits_by_tier_and_verdicts_by_priority(filled: Workspace) -> None:
    (hit,) = json.loads(run(filled, "hits", "--tier", "header", "--json").output)
    assert (hit["place"], hit["face_box"]) == ("header:ss_output_name", None)
    assert "header:ss_output_name" in run(filled, "hits", "--tier", "header").output
    verdicts = json.loads(run(filled, "verdicts", "--json").output)
    assert [verdict["item_id"] for verdict in verdicts] == ["copy", "picture", "bounty", "model"]
    assert [row["item_id"] for row in json.loads(run(filled, "verdicts", "--verdict", "review", "--json").output)] == [
        "picture",
        "model",
    ]
    models = json.loads(run(filled, "verdicts", "--model", "--json").output)
    assert [(row["model"], row["generator_block"]) for row in models] == [("model", True), ("bounty", False)]
    assert run(filled, "verdicts", "--model", "--verdict", "takedown").exit_code == 2
    assert "likeness_model" in run(filled, "verdicts", "--model").output
