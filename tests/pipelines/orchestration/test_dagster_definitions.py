"""The Dagster definitions as a whole: they load, they touch nothing, and the instance's settings are real ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance, Definitions
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG

from pipelines.orchestration.definitions import defs
from pipelines.orchestration.run_tags import MAX_RUNTIME_SECONDS
from pipelines.settings.config import Config

ROOT = Path(__file__).parents[3]
# Dagster's own sensors pass an argument that Dagster calls beta.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `owners` of initializer:dagster.BetaWarning")
NIGHTLY_ORDER = ["uploads", "scanned_items", "matches", "verdicts", "takedowns", "match_report"]
JOBS = ("nightly", "rescan", "dispatch", "backfill", "compaction")
BLOCKING = {
    "matches_canary_is_found": "verdicts",
    "matches_hit_rate_is_plausible": "verdicts",
    "verdicts_coverage_is_total": "takedowns",
}


def test_the_definitions_are_valid() -> None:
    Definitions.validate_loadable(defs)


def test_the_nightly_job_runs_the_stages_in_order_in_one_process() -> None:
    job = defs.resolve_job_def("nightly")
    names = [node.name for node in job.nodes_in_topological_order]
    assert [name for name in names if name in NIGHTLY_ORDER] == NIGHTLY_ORDER
    assert {defs.resolve_job_def(name).executor_def.name for name in JOBS} == {"in_process"}


@pytest.mark.parametrize(("check", "held"), BLOCKING.items())
def test_a_blocking_check_stands_between_its_asset_and_the_next(check: str, held: str) -> None:
    structure = defs.resolve_job_def("nightly").graph.dependency_structure
    waits_for = structure.input_to_upstream_outputs_for_node(held).values()
    assert check in {output.node_name for outputs in waits_for for output in outputs}


@pytest.mark.parametrize(
    ("job", "step"), [("nightly", "takedowns"), ("rescan", "deliver_takedowns"), ("dispatch", "deliver_takedowns")]
)
def test_delivery_is_limited_to_one_step_at_a_time(job: str, step: str) -> None:
    pools = {node.name: node.definition.pools for node in defs.resolve_job_def(job).nodes}
    assert {name: pool for name, pool in pools.items() if pool} == {step: {"takedown"}}


def test_loading_opens_no_database_and_creates_no_home(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "def refuse(event, args):\n"
        "    if event == 'sqlite3.connect' or (event == 'open' and str(args[0]).endswith('.onnx')):\n"
        "        raise SystemExit(f'{event}: {args[0]}')\n"
        "sys.addaudithook(refuse)\n"
        "import pipelines.orchestration.definitions\n"
    )
    environment = {"LIKENESS_HOME": str(tmp_path / "home"), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert not (tmp_path / "home").exists()


def test_the_instance_settings_are_those_that_dagster_understands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds == 24 * 3600
        assert (instance.run_retries_enabled, instance.run_retries_max_retries) == (True, 2)
        assert not instance.run_retries_retry_on_asset_or_op_failure
        concurrency = instance.get_concurrency_config()
        assert concurrency.pool_config.default_pool_limit == 1
        assert concurrency.run_queue_config is not None
        limits = concurrency.run_queue_config.tag_concurrency_limits
        assert {limit["value"]: limit["limit"] for limit in limits} == dict.fromkeys(JOBS, 1)
        assert concurrency.run_queue_config.max_concurrent_runs == len(JOBS), "none waits for another kind"


def test_the_queue_s_limits_go_by_a_tag_that_each_job_has() -> None:
    for name in JOBS:
        assert defs.resolve_job_def(name).tags["likeness/job"] == name


def test_no_run_may_take_for_ever_and_a_rescan_leaves_time_for_another_before_its_deadline() -> None:
    assert MAX_RUNTIME_SECONDS.keys() == set(JOBS)
    for name, most in MAX_RUNTIME_SECONDS.items():
        assert float(defs.resolve_job_def(name).tags[MAX_RUNTIME_SECONDS_TAG]) == most > 0
    assert 2 * MAX_RUNTIME_SECONDS["rescan"] <= Config().registry.request_hours * 3600


def test_the_workspace_file_names_the_definitions() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))
    assert workspace["load_from"] == [
        {"python_module": {"module_name": "pipelines.orchestration.definitions", "location_name": "likeness"}}
    ]
