"""What documents and docstrings say that can be compared with the code is compared (I11)."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pipelines
from embeddings.faults import SCANNER_REASONS
from pipelines.decisions.decide import REASONS
from pipelines.judging.request_progress import STATES, OpenWork
from pipelines.orchestration import checks
from pipelines.orchestration.automation import (
    compaction_schedule,
    dispatch_schedule,
    failed_runs,
    nightly_schedule,
    pack_changes,
    removal_requests,
)
from pipelines.runs.day_checks import APPROVABLE
from pipelines.runs.days import STATES as DAY_STATES
from pipelines.settings.config import Config
from pipelines.takedown.outbox import STATES as MESSAGE_STATES
from tests.source_code import called, tree_of

ROOT = Path(__file__).parent.parent
COMMANDS, SETTINGS, NIGHTS = (
    (ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("commands", "settings", "nights")
)
PACKAGE = Path(pipelines.__file__).parent


def test_i11_the_list_of_checks_names_each_with_its_asset() -> None:
    table = re.findall(r"^    (\w+) +(\w+)  +(?:blocking|a warning)", checks.__doc__ or "", flags=re.MULTILINE)
    there_are = {(spec.asset_key.to_user_string(), spec.name) for one in checks.CHECKS for spec in one.check_specs}
    assert set(table) == there_are


def test_i11_the_page_about_nights_says_of_each_check_that_blocks_whether_it_may_be_approved() -> None:
    page = (ROOT / "docs/nights.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (yes|no) \|$", page, flags=re.MULTILINE)
    blocking = {spec.name for one in checks.CHECKS for spec in one.check_specs if spec.blocking}
    assert dict(rows) == {name: "yes" if name in APPROVABLE else "no" for name in blocking}
    assert re.findall(r"^\| `(blocked|approved|open|complete)` \|", page, flags=re.MULTILINE) == sorted(
        DAY_STATES, key=("open", "blocked", "approved", "complete").index
    )


def test_i11_the_settings_that_are_shown_have_the_defaults_that_are_shown() -> None:
    shown = SETTINGS.split("# Settings", 1)[1].split("| variable", 1)[0]
    lines = "\n".join(line[4:] for line in shown.splitlines() if line.startswith("    "))
    examples = {("source",), ("policy",), ("fetch", "allowed_hosts")}
    for path, value in entries(tomllib.loads(lines)):
        if path not in examples:
            default: Any = Config()
            for name in path:
                default = getattr(default, name)
            assert (tuple(value) if isinstance(value, list) else value) == default, ".".join(path)


def entries(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            assert is_dataclass(getattr(Config(), name))
            yield from entries(value, (*path, name))
        else:
            yield (*path, name), value


def test_i11_the_reasons_that_are_documented_are_those_that_there_are() -> None:
    for word, reasons in REASONS.items():
        (row,) = re.findall(rf"^\| `{word}` \| (.*) \|$", COMMANDS, flags=re.MULTILINE)
        assert re.findall(r"`(\w+)`", row) == list(reasons)


def test_i11_the_schedules_that_are_documented_are_those_that_there_are() -> None:
    table = NIGHTS.split("| what | when | does |", 1)[1].split("\n\n", 1)[0]
    named = {match for line in table.splitlines() for match in re.findall(r"^\| `(\w+)` \|", line)}
    kinds = (nightly_schedule, compaction_schedule, dispatch_schedule, removal_requests, pack_changes, failed_runs)
    assert named == {kind.name for kind in kinds}


def test_i11_every_fact_of_the_state_table_is_listed_beside_it() -> None:
    text = (PACKAGE / "database/tables/record.py").read_text(encoding="utf-8")
    listed = set(re.findall(r"``([a-z_]+:?)", text.split('"""Single facts:', 1)[1].split('"""', 1)[0]))
    assert written_facts() <= listed
    assert listed <= written_facts()


def test_i11_every_reason_why_an_item_gave_nothing_is_in_the_table_of_what_is_tried_again() -> None:
    table = (ROOT / "docs/retries.md").read_text(encoding="utf-8")
    raised = re.compile(r'(?:Fetch|Unscannable)Error\(\s*"([a-z_]+)"')
    found = {
        reason
        for package in ("embeddings", "pipelines")
        for path in (ROOT / package).rglob("*.py")
        for reason in raised.findall(path.read_text(encoding="utf-8"))
    } | set(SCANNER_REASONS)
    assert {reason for reason in found if not re.search(rf"[`:]{reason}`", table)} == set()


def test_i11_the_states_of_a_request_and_the_causes_of_alarms_are_those_that_there_are() -> None:
    text = (ROOT / "docs/requests.md").read_text(encoding="utf-8")
    table = text.split("| state | when |", 1)[1].split("\n\n", 1)[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == STATES
    counted = text.split("`open`: how many", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"`(\w+)`", counted)) == set(OpenWork.__dataclass_fields__)
    causes = text.split("| cause | meaning |", 1)[1]
    raised = re.findall(r'Alarm\(\s*"(\w+)"', (PACKAGE / "runs/alarms.py").read_text(encoding="utf-8"))
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", causes, flags=re.MULTILINE)))) == set(raised)


def test_i11_the_states_of_a_message_are_those_that_the_table_of_them_names() -> None:
    text = (PACKAGE / "database/tables/messages.py").read_text(encoding="utf-8")
    column = text.split("outbox = sa.Table(", 1)[1].split('sa.Column("state"', 1)[1].split("\n", 1)[0]
    assert tuple(re.findall(r"[a-z]+", column.split("#", 1)[1])) == MESSAGE_STATES


def written_facts() -> set[str]:
    """The names, or beginnings of names, that any module passes to ``set_state``."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if "sample" in path.parts or path == PACKAGE / "database/__init__.py":
            continue
        for name, call in called(path):
            if name.split(".")[-1] == "set_state":
                found |= {fact.partition("<")[0] for fact in possible(call.args[1], tree_of(path))}
    return found


def possible(value: ast.expr, tree: ast.Module) -> set[str]:
    """What an expression that names a fact may begin with."""
    if isinstance(value, ast.Constant):
        return {str(value.value)}
    if isinstance(value, ast.JoinedStr):
        return possible(value.values[0], tree)
    if isinstance(value, ast.BinOp):
        return possible(value.left, tree)
    if isinstance(value, ast.Dict):
        return {name for one in value.values for name in possible(one, tree)}
    wanted = ast.unparse(value.func if isinstance(value, ast.Call) else value)
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if wanted in {ast.unparse(target) for target in targets}:
                return possible(node.value, tree)
        if isinstance(node, ast.FunctionDef) and node.name == wanted:
            returned = next(one.value for one in ast.walk(node) if isinstance(one, ast.Return))
            if isinstance(returned, ast.JoinedStr):
                return possible(returned, tree)
            names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and one.id.lstrip("_").isupper()}
            return {fact for name in names for fact in possible(ast.Name(name), tree)}
        if isinstance(node, ast.ImportFrom) and wanted in {one.asname or one.name for one in node.names}:
            module = ROOT.joinpath(*str(node.module).split(".")).with_suffix(".py")
            return possible(value, tree_of(module))
    raise AssertionError(f"cannot tell what {wanted} may be")
