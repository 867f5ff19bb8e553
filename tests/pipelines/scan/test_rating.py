"""Ratings: the highest of what is known counts, and a platform that says "none" lowers nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import CorruptionError
from pipelines.database.tables import contents, items
from pipelines.home.workspace import Workspace
from pipelines.policy.concept_list import load_concepts
from pipelines.policy.levels import LEVELS, UNKNOWN, platform_level
from pipelines.runs.sweep import list_source
from pipelines.scan.rating import Rating, rate, ratings_of
from pipelines.settings.config import ContentConfig
from tests.fakes import WHITE, person, picture
from tests.pipelines.scan.listing import SMALL, use_clip, use_list
from tests.pipelines.scan.test_concepts import swept
from tests.platform_actions import upload

pytestmark = pytest.mark.any_database

PACKAGED = load_concepts(None)
CONFIG = ContentConfig()
SCORES = st.none() | st.floats(0, 1)
PLATFORM = st.none() | st.integers(0, 3)
CONCEPTS = st.none() | st.dictionaries(st.sampled_from([*PACKAGED.names, "gone"]), st.floats(-0.2, 0.2))


def rated(
    nsfw: float | None = None, concepts: Mapping[str, float] | None = None, platform: int | None = None
) -> Rating:
    return rate(nsfw_score=nsfw, concepts=concepts, platform=platform, concept_list=PACKAGED, config=CONFIG)


def height(rating: Rating) -> int:
    return -1 if rating.level == UNKNOWN else LEVELS.index(rating.level)


@given(SCORES, CONCEPTS, PLATFORM)
def test_what_the_platform_says_never_lowers_a_rating(
    nsfw: float | None, concepts: dict[str, float] | None, platform: int | None
) -> None:
    without, with_it = rated(nsfw, concepts), rated(nsfw, concepts, platform)
    assert height(with_it) == max(height(without), -1 if platform is None else platform)
    marks = ("minor_looking", "drawing", "violence")
    assert [getattr(with_it, name) for name in marks] == [getattr(without, name) for name in marks]


@given(SCORES, CONCEPTS, PLATFORM, st.floats(0, 1), st.floats(0, 0.2), st.integers(0, 3), st.data())
def test_a_rating_rises_with_each_of_its_inputs(
    nsfw: float | None,
    concepts: dict[str, float] | None,
    platform: int | None,
    more_nsfw: float,
    more: float,
    more_platform: int,
    data: st.DataObject,
) -> None:
    before = rated(nsfw, concepts, platform)
    assert height(rated(max(nsfw or 0.0, more_nsfw), concepts, platform)) >= height(before)
    assert height(rated(nsfw, concepts, max(platform or 0, more_platform))) >= height(before)
    name = data.draw(st.sampled_from(PACKAGED.names))
    raised = dict(concepts or {})
    raised[name] = raised.get(name, 0.0) + more if name in raised else more
    after = rated(nsfw, raised, platform)
    assert height(after) >= height(before)
    for mark in ("minor_looking", "drawing", "violence"):
        assert bool(getattr(after, mark)) >= bool(getattr(before, mark))


@given(SCORES, CONCEPTS, PLATFORM)
def test_a_rating_is_known_as_soon_as_anything_is_and_names_what_gave_it(
    nsfw: float | None, concepts: dict[str, float] | None, platform: int | None
) -> None:
    found = rated(nsfw, concepts, platform)
    levels = {name for name, entry in PACKAGED.settings.concepts.items() if entry.level}
    known = nsfw is not None or platform is not None or bool(levels & set(concepts or ()))
    assert (found.level != UNKNOWN) == known == bool(found.sources)
    for source in found.sources:
        name = source.removeprefix("concept:")
        alone = {
            "platform": lambda: rated(platform=platform),
            "open_nsfw": lambda: rated(nsfw),
        }.get(source, lambda name=name: rated(concepts={name: (concepts or {})[name]}))
        assert alone().level == found.level


@pytest.mark.parametrize(
    ("score", "level"),
    [(0.0, "none"), (0.199, "none"), (0.2, "suggestive"), (0.8, "mature"), (0.95, "explicit"), (1.0, "explicit")],
)
def test_open_nsfw_scores_count_from_the_configured_bounds_on(score: float, level: str) -> None:
    assert rated(score) == Rating(level, None, None, None, ("open_nsfw",))


def test_concepts_count_from_their_thresholds_on() -> None:
    at = {name: entry.threshold for name, entry in PACKAGED.settings.concepts.items()}
    below = {name: threshold - 1e-4 for name, threshold in at.items()}
    assert rated(concepts=at) == Rating("explicit", True, True, True, ("concept:sexual",))
    assert rated(concepts=below).level == "none"
    assert (rated(concepts=below).minor_looking, rated(concepts={}).minor_looking) == (False, None)
    assert rated(concepts=below | {"nudity": at["nudity"]}, platform=2).sources == ("platform", "concept:nudity")


def test_nothing_known_is_unknown_and_not_none() -> None:
    assert rated() == Rating(UNKNOWN, None, None, None, ())


def read(workspace: Workspace, *item_ids: str) -> dict[str, Rating]:
    with workspace.database.read() as connection:
        return ratings_of(connection, workspace, item_ids)


def test_ratings_of_items_combine_what_is_stored(workspace: Workspace, uploads: Path) -> None:
    use_clip(use_list(workspace))
    upload(uploads, "dark.png", picture(person(5)))
    upload(uploads, "light.png", picture(WHITE), nsfw_level="none")
    upload(uploads, "named.png", picture(person(7)), nsfw_level="Soft")
    upload(uploads, "young.png", picture(person(8)))
    upload(uploads, "text.png", b"no picture", nsfw_level="Mature")
    upload(uploads, "silent.png", b"no picture either")
    swept(workspace, uploads)
    found = read(workspace, "dark.png", "light.png", "named.png", "young.png", "text.png", "silent.png", "unheard.png")
    assert "unheard.png" not in found
    assert found["light.png"].level == "explicit"  # white, which the fake rates as worst; the platform says none
    assert found["light.png"].sources == ("open_nsfw",)
    assert (found["named.png"].level, found["named.png"].sources) == ("mature", ("concept:nudity",))
    assert (found["young.png"].minor_looking, found["dark.png"].minor_looking) == (True, False)
    assert found["text.png"] == Rating("mature", None, None, None, ("platform",))
    assert found["silent.png"] == Rating(UNKNOWN, None, None, None, ())
    assert found["dark.png"].violence is None  # the small list does not ask for it


def test_scores_of_another_list_do_not_count_until_they_are_made_anew(workspace: Workspace, uploads: Path) -> None:
    use_clip(use_list(workspace))
    upload(uploads, "named.png", picture(person(7)))
    swept(workspace, uploads)
    assert read(workspace, "named.png")["named.png"].sources == ("concept:nudity",)
    use_list(workspace, SMALL.replace("person 8", "person 11"))
    assert read(workspace, "named.png")["named.png"].minor_looking is None
    swept(workspace, uploads)
    assert read(workspace, "named.png")["named.png"].sources == ("concept:nudity",)


def test_ratings_need_no_weights_at_hand(workspace: Workspace, uploads: Path) -> None:
    use_clip(use_list(workspace))
    upload(uploads, "named.png", picture(person(7)))
    swept(workspace, uploads)
    before = read(workspace, "named.png")
    use_clip(workspace, None)
    assert read(workspace, "named.png") == before


def test_items_listed_before_levels_were_kept_have_what_else_is_known(workspace: Workspace, uploads: Path) -> None:
    upload(uploads, "a.png", picture(person(7)), nsfw_level="X")
    list_source(workspace, f"directory:{uploads}", day=None)
    assert read(workspace, "a.png")["a.png"].level == "explicit"
    with workspace.database.write() as tx:
        tx.execute(sa.update(items).values(platform_level=None))
    assert read(workspace, "a.png")["a.png"].level == UNKNOWN


def test_more_items_than_one_statement_takes_are_all_rated(workspace: Workspace, uploads: Path) -> None:
    for number in range(3):
        upload(uploads, f"{number}.png", picture(person(number)), nsfw_level="R")
    list_source(workspace, f"directory:{uploads}", day=None)
    asked = [f"{number}.png" for number in range(1203)]
    assert set(read(workspace, *asked)) == {"0.png", "1.png", "2.png"}
    assert read(workspace) == {}


def test_i7_altered_scores_stop_a_rating(workspace: Workspace, uploads: Path) -> None:
    use_clip(use_list(workspace))
    upload(uploads, "a.png", picture(person(7)))
    swept(workspace, uploads)
    with workspace.database.write() as tx:
        tx.execute(sa.update(contents).values(concepts='{"nudity": null}'))
    with pytest.raises(CorruptionError):
        read(workspace, "a.png")


@pytest.mark.parametrize(
    ("given_level", "level"),
    [("None", 0), ("Soft", 1), ("r", 2), ("XXX", 3), ("1", 0), ("6", 2), ("32", 3), (None, None), ("who knows", None)],
)
def test_levels_of_platforms_become_positions_in_one_scale(given_level: str | None, level: int | None) -> None:
    assert platform_level(given_level) == level
