"""What must not change when something else does, over the whole pipeline: people, the order of things, the batch size.

No test here knows what the right answer is; each compares two runs that have to agree. Real homes, models that see
colours.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cases.requests import accept_request
from pipelines.database import tables
from pipelines.hits.listing import list_hits
from pipelines.hits.verdicts import list_model_verdicts, list_verdicts
from pipelines.home.workspace import Workspace
from pipelines.judging import judge_pending
from pipelines.runs.backfill import backfill
from pipelines.runs.compaction import compact
from pipelines.runs.rescan import rescan
from pipelines.runs.sweep import list_source, sweep
from pipelines.runs.verify import verify
from tests.conftest import Clock, fresh_workspace, use_fakes
from tests.embeddings.model_files import data_url, model_file
from tests.examples import examples
from tests.fakes import WHITE, fake_canary, fake_models, person, picture
from tests.platform_actions import DAY, ask_for_removal, enrol, night, say, source_of, upload

COMMON = settings(max_examples=examples(12))
NAMES = ("Zdenicka Vymyslena", "Ondrej Nejsoucny", "Bozena Smyslena")
PEOPLE = range(len(NAMES))
RANKS = ("clear", "review", "takedown"), ("clear", "suspected", "likeness_model")


@dataclass(frozen=True)
class Planned:
    """One upload. ``named``: in its prompt; ``kind`` model: in the header as well, the first face as a thumbnail."""

    kind: str
    shows: tuple[int, ...]
    named: tuple[int, ...]
    model: str | None


PLANNED = st.builds(
    Planned,
    kind=st.sampled_from(["image", "image", "image", "model", "bounty"]),
    shows=st.lists(st.sampled_from(PEOPLE), max_size=2, unique=True).map(tuple),
    named=st.lists(st.sampled_from(PEOPLE), max_size=2, unique=True).map(tuple),
    model=st.sampled_from([None, "item-0", "m"]),
)
PLATFORMS = st.lists(PLANNED, min_size=1, max_size=8)


def put(
    folder: Path,
    plan: Sequence[Planned],
    *,
    order: Sequence[int] | None = None,
    received: Sequence[datetime] | None = None,
) -> None:
    """Upload a plan. ``order``: positions in which the source lists it, which goes by the names of files."""
    for place, number in enumerate(order or range(len(plan))):
        one = plan[number]
        names = " and ".join(NAMES[who] for who in one.named)
        pixels = picture(*(person(who) for who in one.shows) if one.shows else (WHITE,), person(100 + number))
        name, data = f"{place:02}.png", pixels
        if one.kind == "model":
            shown = {"modelspec.thumbnail": data_url(pixels, "png")} if one.shows else {}
            tensors = number.to_bytes(4, "little")
            name, data = f"{place:02}.safetensors", model_file({"modelspec.title": names, **shown}, payload=tensors)
        more: dict[str, object] = {"parent_model": one.model} if one.model and one.kind == "image" else {}
        more |= {"id": f"item-{number}", "kind": one.kind, "prompt": f"portrait of {names}"}
        upload(folder, name, data, received=received[number] if received else DAY, **more)


@contextmanager
def home(*, shard_items: int = 256) -> Iterator[tuple[Workspace, Path]]:
    """A fresh home and an empty folder to upload to."""
    with tempfile.TemporaryDirectory() as folder:
        uploads = Path(folder, "uploads")
        uploads.mkdir()
        with fresh_workspace(Path(folder, "home"), now=Clock()) as workspace:
            config = workspace.config
            workspace.config = replace(
                config, sweep=replace(config.sweep, shard_items=shard_items, examined_items=shard_items)
            )
            yield use_fakes(workspace), uploads


@dataclass(frozen=True)
class Outcome:
    """What was made of a platform: by item (or model) and person."""

    hits: frozenset[tuple[object, ...]]
    verdicts: dict[tuple[str, int], tuple[str, str]]
    models: dict[tuple[str, int], tuple[str, str, bool]]
    statuses: dict[str, str]


def outcome(workspace: Workspace, people: dict[str, int]) -> Outcome:
    """``people``: subject id -> who it is."""
    with workspace.database.read() as connection:
        found = list_hits(connection)
        verdicts, models = list_verdicts(connection), list_model_verdicts(connection)
        statuses = {row.item_id: row.status for row in connection.execute(sa.select(tables.items))}
    return Outcome(
        hits=frozenset(
            (
                hit.item_id,
                people[hit.subject_id],
                hit.tier,
                hit.band,
                hit.place,
                hit.match,
                hit.face,
                round(hit.score, 5),
            )
            for hit in found
        ),
        verdicts={(one.item_id, people[one.subject_id]): (one.verdict, one.rule) for one in verdicts},
        models={(one.model, people[one.subject_id]): (one.verdict, one.rule, one.generator_block) for one in models},
        statuses=statuses,
    )


def swept(
    plan: Sequence[Planned], people: Sequence[int], *, order: Sequence[int] | None = None, shard_items: int = 256
) -> Outcome:
    """Everything enrolled first, and one sweep."""
    with home(shard_items=shard_items) as (workspace, uploads):
        put(uploads, plan, order=order)
        known = {enrol(workspace, person(who), name=NAMES[who]): who for who in people}
        sweep(workspace, source_of(uploads), day=None)
        return outcome(workspace, known)


def of(found: Outcome, people: Sequence[int]) -> Outcome:
    """What is said of these people."""
    return Outcome(
        hits=frozenset(hit for hit in found.hits if hit[1] in people),
        verdicts={key: value for key, value in found.verdicts.items() if key[1] in people},
        models={key: value for key, value in found.models.items() if key[1] in people},
        statuses=found.statuses,
    )


def lowered(before: Outcome, after: Outcome) -> list[tuple[str, int]]:
    """Items and models with a verdict that is a lower one now, or none."""
    pairs = ((before.verdicts, after.verdicts, RANKS[0]), (before.models, after.models, RANKS[1]))
    return [
        key
        for was, now, ranks in pairs
        for key, value in was.items()
        if key not in now or ranks.index(now[key][0]) < ranks.index(value[0])
    ]


# --- Another subject; the order of listing, and the batch size ---


@COMMON
@given(plan=PLATFORMS, people=st.permutations(PEOPLE), known=st.integers(1, 2), data=st.data())
def test_another_subject_takes_no_hit_away_from_anybody_and_lowers_no_verdict_nor_does_the_order_or_the_batch_size(
    plan: list[Planned], people: list[int], known: int, data: st.DataObject
) -> None:
    """Whether they come later, by a request and its rescan, or were there from the beginning; and in whatever order
    items are listed and people enrolled, in batches of any size."""
    order = data.draw(st.permutations(range(len(plan))))
    shard_items = data.draw(st.integers(1, 4))
    first, later = people[:known], people[known:]
    with home() as (workspace, uploads):
        put(uploads, plan)
        labels = {enrol(workspace, person(who), name=NAMES[who]): who for who in first}
        sweep(workspace, source_of(uploads), day=None)
        before = outcome(workspace, labels)
        for who in later:
            request = ask_for_removal(workspace, person(who), name=NAMES[who])
            labels[request.subject_id] = who
            accept_request(workspace, request.request_id, actor="tester")
        rescan(workspace)
        after = outcome(workspace, labels)
    assert lowered(before, after) == []
    assert of(after, first).hits == before.hits
    assert {item for item, status in before.statuses.items() if status == "hit"} <= {
        item for item, status in after.statuses.items() if status == "hit"
    }
    together = swept(plan, people)
    assert (after.hits, after.verdicts, after.models) == (together.hits, together.verdicts, together.models)
    assert swept(plan, PEOPLE, order=order, shard_items=shard_items) == together


# --- Texts before their pictures ---


@COMMON
@given(plan=PLATFORMS, first=st.integers(0, 8))
def test_texts_that_are_read_before_their_pictures_are_weighed_as_those_that_come_together(
    plan: list[Planned], first: int
) -> None:
    """A night reads the texts of all that is listed, and only looks at one day's pictures."""
    alone = [replace(one, model=None) for one in plan]
    with home() as (workspace, uploads):
        put(uploads, alone, received=[DAY + timedelta(days=number >= first) for number in range(len(alone))])
        known = {enrol(workspace, person(who), name=NAMES[who]): who for who in PEOPLE}
        list_source(workspace, source_of(uploads), day=None)
        for day in (DAY, DAY + timedelta(days=1)):
            sweep(workspace, source_of(uploads), day=day.date())
        by_day = outcome(workspace, known)
    together = swept(alone, PEOPLE)
    assert (by_day.hits, by_day.verdicts, by_day.statuses) == (together.hits, together.verdicts, together.statuses)


# --- What somebody rejected ---


def delete_and_upload_again(workspace: Workspace, uploads: Path) -> None:
    for sidecar in uploads.glob("*.json"):
        kept = json.loads(sidecar.read_text(encoding="utf-8"))
        sidecar.write_text(json.dumps(kept | {"deleted": True}), encoding="utf-8")
        night(workspace, uploads)
        sidecar.write_text(json.dumps(kept | {"deleted": False}), encoding="utf-8")
    night(workspace, uploads)


def rescan_for_somebody_else(workspace: Workspace, uploads: Path) -> None:
    request = ask_for_removal(workspace, person(150), name="Nikdo Nikdovic")
    accept_request(workspace, request.request_id, actor="tester")
    rescan(workspace)


def forget_coverage(workspace: Workspace, uploads: Path) -> None:
    """As if nothing had ever been examined or judged."""
    with workspace.database.write() as tx:
        tx.execute(sa.delete(tables.examined))
        tx.execute(sa.update(tables.hits).values(judged_at=None))
    night(workspace, uploads)
    judge_pending(workspace)


def backfill_again(workspace: Workspace, uploads: Path) -> None:
    backfill(workspace, actor="tester")


def compact_everything(workspace: Workspace, uploads: Path) -> None:
    compact(workspace, purge=True)


HAPPENINGS = (
    *(night, delete_and_upload_again, rescan_for_somebody_else),
    *(forget_coverage, backfill_again, compact_everything),
)


REJECTED = ("face.png", "text.png", "header.safetensors", "exact.safetensors")


def pass_over(workspace: Workspace, uploads: Path) -> None:
    """Reject one hit of each tier, each on an item of its own."""
    enrol(workspace, person(1), name=NAMES[1])
    upload(uploads, "face.png", picture(person(1), person(60)))
    upload(uploads, "text.png", picture(person(61)), prompt=f"portrait of {NAMES[1]}")
    upload(uploads, "header.safetensors", model_file({"ss_output_name": NAMES[1]}, payload=b"abcd"))
    upload(uploads, "seed.safetensors", model_file({"modelspec.title": NAMES[1]}, payload=b"efgh"))
    upload(uploads, "exact.safetensors", model_file({"modelspec.title": "style"}, payload=b"efgh"))
    sweep(workspace, source_of(uploads), day=None)
    say(workspace, "seed.safetensors", "confirm", reason="reproduces_person")  # nothing else speaks of its tensors
    sweep(workspace, source_of(uploads), day=None)
    for item_id in REJECTED:
        assert counted(workspace, item_id) == {item_id.partition(".")[0]}
        say(workspace, item_id, "reject")


def counted(workspace: Workspace, *item_ids: str) -> set[str]:
    """Tiers of the hits in force on these items."""
    with workspace.database.read() as connection:
        return {hit.tier for hit in list_hits(connection) if hit.item_id in item_ids}


def asked_for(workspace: Workspace) -> set[str]:
    with workspace.database.read() as connection:
        left = tables.outbox.c.state != "withdrawn"
        return set(connection.execute(sa.select(tables.outbox.c.item_id).where(left)).scalars())


@settings(max_examples=examples(8))
@given(happenings=st.lists(st.sampled_from(HAPPENINGS), min_size=1, max_size=5))
def test_what_was_rejected_never_returns_in_any_tier_while_content_text_and_models_are_the_same(
    happenings: list[Callable[[Workspace, Path], object]],
) -> None:
    with home() as (workspace, uploads):
        pass_over(workspace, uploads)
        for happening in happenings:
            happening(workspace, uploads)
            assert counted(workspace, *REJECTED) == set()
            assert asked_for(workspace).isdisjoint(REJECTED)
        assert counted(workspace, "seed.safetensors") == {"exact", "header"}
        assert [one.check for one in verify(workspace) if not one.ok and one.check != "model files"] == []


def test_what_was_rejected_returns_only_where_that_very_thing_changed() -> None:
    with home() as (workspace, uploads):
        pass_over(workspace, uploads)
        later = DAY + timedelta(minutes=1)
        other = f"a statue of {NAMES[1]}"
        upload(uploads, "text.png", picture(person(61)), prompt=other, received=later)
        night(workspace, uploads)
        assert counted(workspace, *REJECTED) == {"text"}
        upload(uploads, "face.png", picture(person(1), person(62)), received=later)
        night(workspace, uploads)
        assert counted(workspace, *REJECTED) == {"text", "face"}
        again = model_file({"ss_output_name": NAMES[1], "modelspec.title": "2"}, payload=b"abcd")
        upload(uploads, "header.safetensors", again, received=later)
        night(workspace, uploads)
        assert counted(workspace, *REJECTED) == {"text", "face", "header"}


def test_other_face_models_bring_back_a_rejected_face_and_nothing_else() -> None:
    with home() as (workspace, uploads):
        pass_over(workspace, uploads)
        workspace.models = fake_models("fake-2")  # type: ignore[misc]
        workspace.canary = fake_canary("fake-2")  # type: ignore[misc]
        backfill(workspace, actor="tester")
        night(workspace, uploads)
        assert counted(workspace, *REJECTED) == {"face"}
