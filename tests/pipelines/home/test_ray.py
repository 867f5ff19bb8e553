"""The engine on Ray: two workers on this machine, real models, one of them killed in the middle of its work."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.inputs.synthetic import real_references
from embeddings.errors import NotReadyError
from embeddings.types import vectors_of
from pipelines.corpus.manifest import list_shards
from pipelines.database.tables import hits, items, shards
from pipelines.home.workspace import Workspace, create_workspace, open_workspace
from pipelines.matching.comparison import Side, compare_shard
from pipelines.registry.subjects import active_versions
from pipelines.runs.sweep import sweep
from pipelines.sample.variants import generate_variants
from pipelines.settings.config_ray import RayConfig
from pipelines.settings.environment import read_environment
from tests.platform_actions import register
from tests.searching import in_clear

pytest.importorskip("ray")

SETTINGS = """
[sweep]
shard_items = 4
max_hit_rate = 1.0
[content]
rating = false
"""
ON_RAY = 'engine = "ray"\n' + SETTINGS
IMAGES = 16
KEY = {"LIKENESS_KEY": base64.b64encode(bytes(32)).decode()}


def home(folder: Path, settings: str) -> Path:
    folder.mkdir(mode=0o700)
    (folder / "likeness.toml").write_text(settings, encoding="utf-8")
    with create_workspace(read_environment({}, home=folder)) as workspace:
        for reference in real_references(workspace):
            register(workspace, [reference])
    return folder


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uploads")
    for name, data in generate_variants(IMAGES, seed=5):
        (folder / name).write_bytes(data)
    return folder


def found(workspace: Workspace) -> tuple[dict[str, tuple[str, int]], set[tuple[str, int, float]]]:
    """Every item's status and faces; every hit's item, face and score."""
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(items.c.item_id, items.c.status, items.c.faces))
        of_items = {row.item_id: (row.status, row.faces) for row in rows}
        scores = connection.execute(sa.select(hits.c.item_id, hits.c.face, hits.c.score))
        return of_items, {(row.item_id, row.face, round(row.score, 5)) for row in scores}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, uploads: Path) -> Iterator[Workspace]:
    with open_workspace(read_environment({}, home=home(tmp_path_factory.mktemp("local") / "home", SETTINGS))) as one:
        sweep(one, f"directory:{uploads}", day=None)
        yield one


@pytest.mark.filterwarnings("ignore")
def test_i6_a_sweep_on_two_workers_of_which_each_dies_at_its_second_shard_ends_like_a_local_one(
    tmp_path: Path, uploads: Path, expected: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = home(tmp_path / "home", ON_RAY)
    monkeypatch.setenv("LIKENESS_FAILPOINT", "during_comparison:2")  # what the workers' processes inherit
    with open_workspace(read_environment({}, home=place)) as workspace:
        summary = sweep(workspace, f"directory:{uploads}", day=None)
        assert (summary.embedded, summary.coverage, summary.pending) == (IMAGES, 1.0, 0)
        assert found(workspace) == found(expected)
        with workspace.database.read() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(shards)).scalar_one() == IMAGES // 4
    assert found(expected)[1], "something is found at all"


@pytest.mark.filterwarnings("ignore")
def test_i6_a_worker_that_dies_too_often_is_an_error_and_a_repetition_goes_on(
    tmp_path: Path, uploads: Path, expected: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = home(tmp_path / "home", ON_RAY + "[ray]\nmax_retries = 0\n")
    with monkeypatch.context() as armed:
        armed.setenv("LIKENESS_FAILPOINT", "before_manifest_commit:2")
        with open_workspace(read_environment({}, home=place)) as workspace, pytest.raises(NotReadyError, match="died"):
            sweep(workspace, f"directory:{uploads}", day=None)
    with open_workspace(read_environment({}, home=place)) as workspace:
        summary = sweep(workspace, f"directory:{uploads}", day=None)
        assert 0 < summary.embedded < IMAGES
        assert found(workspace) == found(expected)


def test_i8_what_a_task_is_given_and_returns_holds_no_vector(expected: Workspace) -> None:
    with expected.database.read() as connection:
        (shard, *_) = list_shards(connection, expected.sealer)
        subjects = tuple(active_versions(connection, now=expected.now()))
        thresholds = expected.thresholds_at(connection)
    side = Side("rescan", expected.models.model_id, subjects, 1, None, thresholds)
    table = expected.corpus.read(shard.entry, key=expected.sealer.shard_key(shard.entry.shard_id))
    vectors = vectors_of(table["vector"], shard.entry.dimension)
    sent = pickle.dumps((side, shard.entry, compare_shard(expected, side, shard.entry)))
    assert len(sent) < 8 * vectors.nbytes
    for vector in vectors:
        assert not in_clear(vector[:4].tobytes(), sent)
        assert not any(pickle.dumps(float(value))[3:11] in sent for value in vector)


def test_a_cluster_that_is_not_there_is_not_ready(tmp_path: Path) -> None:
    with create_workspace(read_environment(KEY, home=tmp_path / "home")) as workspace:
        config = RayConfig(address="127.0.0.1:1")
        from pipelines.home.ray_engine import RayEngine  # after it is known that Ray is there

        with pytest.raises(NotReadyError, match=r"ray\.address"):
            RayEngine(config, workspace.environment)
