"""A process that lives for weeks works by the settings that are in the files now, however an editor writes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources as packaged
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance

from embeddings.errors import ConfigError, LikenessError
from pipelines.database.tables import verdicts
from pipelines.home import settings_files
from pipelines.home.long_lived import KeptWorkspace
from pipelines.home.settings_files import SettingsFile, read_digests
from pipelines.home.settings_files import settings_files as listed_files
from pipelines.home.workspace import Workspace, create_workspace, open_workspace
from pipelines.orchestration.definitions import defs
from pipelines.orchestration.resources import LikenessHome
from pipelines.settings.config import Config, ContentConfig, EmbeddingConfig
from pipelines.settings.environment import Environment
from tests.conftest import KEY, Clock, environment_for, use_fakes
from tests.fakes import WHITE, person, picture
from tests.pipelines.calibration.stored import in_force
from tests.pipelines.orchestration.conftest import instance_on_disk
from tests.pipelines.orchestration.test_dagster_nightly import MONDAY, TUESDAY, instance
from tests.platform_actions import enrol, source_of, upload

__all__ = ["instance", "instance_on_disk"]  # fixtures

pytestmark = [
    pytest.mark.any_database,
    pytest.mark.filterwarnings("ignore:Parameter `owners` of initializer:dagster.BetaWarning"),
]
POLICY = packaged.files("pipelines.policy").joinpath("default.toml").read_text(encoding="utf-8")
CONCEPTS = packaged.files("pipelines.policy").joinpath("concepts.toml").read_text(encoding="utf-8")


def in_place(file: Path, text: str) -> None:
    """Write into the file itself."""
    file.write_text(text, encoding="utf-8")


def by_rename(file: Path, text: str) -> None:
    """Write another file and rename it over the first, with its times."""
    times = file.stat()
    other = file.with_suffix(".swp")
    other.write_text(text, encoding="utf-8")
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.rename(file)


def same_size_and_time(file: Path, text: str) -> None:
    """Write into the file, and set its time back; with a text of the same length nothing but the content differs."""
    times = file.stat()
    file.write_text(text.ljust(times.st_size), encoding="utf-8")
    assert file.stat().st_size == times.st_size
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


WAYS = [in_place, by_rename, same_size_and_time]
Write = Callable[[Path, str], None]


def version(name: str) -> str:
    """A policy of this version; a name of another length than the packaged one's is made up for by white space."""
    first = next(line for line in POLICY.splitlines() if line.startswith("version"))
    return POLICY.replace(first, f'version = "{name}"'.ljust(len(first) + 8))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is not the home."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "policy.toml").write_text(version("one"), encoding="utf-8")
    (folder / "concepts.toml").write_text(CONCEPTS, encoding="utf-8")
    return folder


@pytest.fixture
def environment(tmp_path: Path, outside: Path, uploads: Path) -> Environment:
    """A home whose settings name files outside of it."""
    found = environment_for(tmp_path / "home", LIKENESS_SOURCE=source_of(uploads))
    create_workspace(found).close()
    (tmp_path / "home" / "likeness.toml").write_text(
        f'policy = "{outside}/policy.toml"\n[content]\nconcepts = "{outside}/concepts.toml"\n', encoding="utf-8"
    )
    return found


@pytest.fixture
def kept() -> Iterator[KeptWorkspace]:
    opened = KeptWorkspace(open_workspace)
    yield opened
    opened.close()


@pytest.mark.parametrize("write", WAYS)
def test_i12_a_policy_outside_the_home_is_the_one_in_the_file(
    kept: KeptWorkspace, environment: Environment, outside: Path, write: Write
) -> None:
    first = kept.workspace(environment)
    assert first.policy.version.startswith("one-")
    assert kept.workspace(environment) is first
    write(outside / "policy.toml", version("two"))
    assert kept.workspace(environment).policy.version.startswith("two-")


@pytest.mark.parametrize("write", WAYS)
def test_i12_a_list_of_concepts_outside_the_home_is_the_one_in_the_file(
    kept: KeptWorkspace, environment: Environment, outside: Path, write: Write
) -> None:
    before = kept.workspace(environment).concept_list.version
    changed = "x" * len(before)
    write(outside / "concepts.toml", CONCEPTS.replace(f'version = "{before}"', f'version = "{changed}"'))
    assert kept.workspace(environment).concept_list.version == changed


@pytest.mark.parametrize("write", WAYS)
def test_i12_so_are_the_settings_themselves(kept: KeptWorkspace, environment: Environment, write: Write) -> None:
    file = environment.home / "likeness.toml"
    own = file.read_text(encoding="utf-8")
    in_place(file, f"{own}[sweep]\nmax_hit_rate = 0.25\n")
    assert kept.workspace(environment).config.sweep.max_hit_rate == 0.25
    write(file, f"{own}[sweep]\nmax_hit_rate = 0.75\n")
    assert kept.workspace(environment).config.sweep.max_hit_rate == 0.75
    elsewhere = replace(environment, config_path=file.with_name("other.toml"))
    (environment.home / "other.toml").write_text("[sweep]\nmax_hit_rate = 0.125\n", encoding="utf-8")
    assert kept.workspace(elsewhere).config.sweep.max_hit_rate == 0.125
    write(environment.home / "other.toml", "[sweep]\nmax_hit_rate = 0.875\n")
    assert kept.workspace(elsewhere).config.sweep.max_hit_rate == 0.875


@pytest.mark.parametrize("name", ["policy.toml", "concepts.toml", "likeness.toml"])
def test_i12_a_file_that_is_gone_stops_everything_until_it_is_back(
    kept: KeptWorkspace, environment: Environment, outside: Path, name: str
) -> None:
    file = next(path for path in (outside / name, environment.home / name) if path.exists())
    kept.workspace(environment)
    file.rename(outside / "away")
    for _ in range(2):
        with pytest.raises(ConfigError, match="is gone"):
            kept.workspace(environment)
    (outside / "away").rename(file)
    assert kept.workspace(environment).policy.version.startswith("one-")


def test_i12_a_broken_policy_stops_everything_and_a_mended_one_is_taken(
    kept: KeptWorkspace, environment: Environment, outside: Path
) -> None:
    kept.workspace(environment)
    in_place(outside / "policy.toml", "version = ")
    for _ in range(2):
        with pytest.raises(ConfigError, match="policy"):
            kept.workspace(environment)
    in_place(outside / "policy.toml", version("two"))
    assert kept.workspace(environment).policy.version.startswith("two-")


def test_i12_a_file_that_changes_while_it_is_read_is_read_again(environment: Environment, outside: Path) -> None:
    versions = iter(["two", "three"])

    def open_slowly(found: Environment) -> Workspace:
        workspace = open_workspace(found)
        _ = workspace.policy
        if (name := next(versions, None)) is not None:
            in_place(outside / "policy.toml", version(name))
        return workspace

    kept = KeptWorkspace(open_slowly)
    assert kept.workspace(environment).policy.version.startswith("three-")
    kept.close()


def test_i12_a_key_file_that_was_exchanged_is_noticed(tmp_path: Path, kept: KeptWorkspace) -> None:
    environment = Environment(home=tmp_path / "home")
    with pytest.warns(UserWarning, match="created the sealing key"):
        create_workspace(environment).close()
    kept.workspace(environment)
    key = environment.home / "likeness.key"
    same_size_and_time(key, f"{KEY}\n")
    with pytest.raises(ConfigError, match="not the one this home was made with"):
        kept.workspace(environment)


def test_i12_a_worker_of_ray_follows_the_files_as_well(
    environment: Environment, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    from pipelines.home import ray_engine

    monkeypatch.setenv("LIKENESS_KEY", KEY)
    worker = ray_engine._Worker(open_workspace, (str(environment.home), None), cpus=1)
    assert ray_engine._opened(worker).policy.version.startswith("one-")
    by_rename(outside / "policy.toml", version("two"))
    changed = ray_engine._opened(worker)
    assert (changed.policy.version[:4], changed.engine.name, changed.config.embedding.workers) == ("two-", "local", 1)
    ray_engine._kept(worker).close()
    ray_engine._kept.cache_clear()


def test_every_setting_that_names_a_file_is_listed(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    for name in ("detector.onnx", "recogniser.onnx"):
        (pack / name).write_bytes(b"a network")
    (pack / "pack.toml").write_text(
        'name = "ours"\ndimension = 8\nlicence = "MIT"\nnon_commercial = false\n'
        '[detector]\nkind = "scrfd"\nfile = "detector.onnx"\n[recognizer]\nkind = "sface"\nfile = "recogniser.onnx"\n',
        encoding="utf-8",
    )
    (tmp_path / "clip.safetensors").write_bytes(b"weights")
    config = Config(
        policy="p.toml",
        content=ContentConfig(concepts="c.toml", clip_checkpoint="clip.safetensors"),
        embedding=EmbeddingConfig(pack=f"local:{pack}"),
    )
    found = listed_files(Environment(home=tmp_path), config)
    assert {(one.setting, one.path.name) for one in found} == {
        ("likeness.toml", "likeness.toml"),
        ("LIKENESS_KEY", "likeness.key"),
        ("policy", "p.toml"),
        ("content.concepts", "c.toml"),
        ("embedding.pack", "pack.toml"),
        ("embedding.pack", "detector.onnx"),
        ("embedding.pack", "recogniser.onnx"),
        ("content.clip_checkpoint", "clip.safetensors"),
    }


@pytest.mark.parametrize("write", WAYS)
def test_i12_a_large_file_is_read_again_once_it_was_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    monkeypatch.setattr(settings_files, "_SMALL", 10)
    file = tmp_path / "weights"
    in_place(file, "a" * 1000)
    files = (SettingsFile("content.clip_checkpoint", file),)
    seen = [read_digests(files) for _ in range(3)]
    write(file, "b" * 1000)
    assert seen[0] == seen[1] == seen[2] != read_digests(files)


def test_a_large_file_is_not_read_at_every_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_files, "_SMALL", 10)
    monkeypatch.setattr(settings_files, "_SETTLED_SECONDS", -3600.0)
    file = tmp_path / "weights"
    in_place(file, "a" * 1000)
    files = (SettingsFile("content.clip_checkpoint", file),)
    first = read_digests(files)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("it was read again"))
    assert read_digests(files) == first


@pytest.fixture
def home(environment: Environment, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[LikenessHome]:
    """Dagster's own way to the home, with fake models and a clock that stands."""
    monkeypatch.setenv("LIKENESS_HOME", str(environment.home))
    monkeypatch.setenv("LIKENESS_KEY", KEY)
    monkeypatch.setenv("LIKENESS_SOURCE", str(environment.source))
    monkeypatch.setattr(
        "pipelines.orchestration.resources.open_workspace", lambda found: use_fakes(open_workspace(found, now=clock))
    )
    with open_workspace(environment, now=clock) as workspace:
        enrol(use_fakes(workspace), person(1))
    opened = LikenessHome()
    yield opened
    opened.close()


def night(home: LikenessHome, instance: DagsterInstance, day: str) -> bool:
    job = defs.resolve_job_def("nightly")
    return job.execute_in_process(
        partition_key=day, instance=instance, resources={"home": home}, raise_on_error=False
    ).success


@pytest.mark.parametrize("write", WAYS)
def test_i12_two_nights_in_one_process_judge_by_the_policy_that_is_in_the_file(
    home: LikenessHome, instance: DagsterInstance, uploads: Path, outside: Path, write: Write
) -> None:
    upload(uploads, "a.png", picture(person(1)), received=MONDAY)
    assert night(home, instance, str(MONDAY.date()))
    write(outside / "policy.toml", version("two"))
    upload(uploads, "b.png", picture(person(1), WHITE), received=TUESDAY)
    assert night(home, instance, str(TUESDAY.date()))
    with home.workspace().database.read() as connection:
        rows = connection.execute(sa.select(verdicts.c.item_id, verdicts.c.policy_version))
        assert {row.item_id: row.policy_version.partition("-")[0] for row in rows}["b.png"] == "two"


def test_i12_a_night_without_its_policy_fails_and_says_so(
    home: LikenessHome, instance: DagsterInstance, uploads: Path, outside: Path
) -> None:
    upload(uploads, "a.png", picture(person(1)), received=MONDAY)
    assert night(home, instance, str(MONDAY.date()))
    (outside / "policy.toml").unlink()
    assert not night(home, instance, str(TUESDAY.date()))
    with pytest.raises(LikenessError, match="policy: the file"):
        home.workspace()


def test_i12_a_calibration_that_another_process_puts_in_force_counts_at_once(
    home: LikenessHome, environment: Environment, clock: Clock
) -> None:
    before = home.workspace().thresholds
    with open_workspace(environment, now=clock) as other:
        in_force(use_fakes(other), templates=1)
    after = home.workspace().thresholds
    assert (before.source, before) != (after.source, after)
    assert after.source.startswith("calibration") or "cal_" in after.source
