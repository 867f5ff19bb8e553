"""The structure itself: which way imports go, who knows Dagster, and what the repository holds."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.source_code import dotted, imported, imported_at_run_time, nodes_of, tree_of

ROOT = Path(__file__).parent.parent
PACKAGES = ("embeddings", "indexes", "pipelines")
ALLOWED = {"embeddings": set(), "indexes": {"embeddings"}, "pipelines": {"embeddings", "indexes"}}
DAGSTER_MODULES = {"resources", "assets", "checks", "automation", "definitions"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def test_the_environment_is_read_in_one_place() -> None:
    reading = {p.name for package in PACKAGES for p in modules(package) if {"os.environ", "os.getenv"} & dotted(p)}
    assert reading == {"environment.py", "__main__.py"}  # the sample sets variables for the runs it starts


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    assert modules(package)
    for path in modules(package):
        for name in imported(path):
            top = name.partition(".")[0]
            assert top not in PACKAGES or top == package or top in ALLOWED[package], f"{path} imports {name}"


def test_imports_between_the_folders_of_pipelines_only_go_down_the_list_of_the_design() -> None:
    table = (ROOT / "docs/design.md").read_text(encoding="utf-8").split("| folder | owns |", 1)[1].split("\n\n", 1)[0]
    order = re.findall(r"^\| `(\w+)/` \|", table, flags=re.MULTILINE)
    folders = {path.name for path in (ROOT / "pipelines").iterdir() if (path / "__init__.py").exists()}
    assert len(order) == len(set(order))
    assert set(order) == folders
    for path in modules("pipelines"):
        own = path.relative_to(ROOT / "pipelines").parts[0]
        asked = {name.split(".")[1] for name in imported(path) if name.startswith("pipelines.")}
        wrong = {folder for folder in asked if own in order and order.index(folder) < order.index(own)}
        assert not wrong, f"{path} imports from {wrong}, which lie above {own}"


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Imports in functions count: they hide a circle and do not open it. What a type checker alone reads does not:
    :class:`Workspace` holds clock, engine and attempts, which work on workspaces."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in (*PACKAGES, "benchmarks")
        for path in modules(package)
        if "versions" not in path.parts  # Alembic's, named by numbers
    }
    graph = {name: imported_at_run_time(path, files) - {name} for name, path in files.items()}
    assert sum(map(len, graph.values())) > 1000
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_two_classes_share_a_name() -> None:
    named = Counter(
        node.name
        for package in PACKAGES
        for path in modules(package)
        for node in tree_of(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, times in named.items() if times > 1] == []


def test_what_belongs_to_pipelines_lies_in_its_folders() -> None:
    files = {path.name for path in (ROOT / "pipelines").iterdir() if path.is_file()}
    assert files == {"__init__.py", "py.typed"}


def test_only_five_modules_know_dagster() -> None:
    knowing = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in modules(package)
        if any(name.partition(".")[0] == "dagster" for name in imported(path))
    }
    assert knowing == {f"pipelines/orchestration/{name}.py" for name in DAGSTER_MODULES}


@pytest.mark.parametrize("package", ["embeddings", "indexes"])
def test_the_libraries_read_no_environment_and_no_database(package: str) -> None:
    for path in modules(package):
        names = set(imported(path))
        assert not any(name.partition(".")[0] in ("dagster", "sqlalchemy", "httpx", "click") for name in names), path
        assert not {"os.environ", "os.getenv"} & dotted(path), f"{path} reads the environment"


def test_nothing_heavy_is_imported_at_module_level() -> None:
    for package in PACKAGES:
        for path in modules(package):
            top = [node for node in tree_of(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
            names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
            names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
            heavy = {name for name in names if name.partition(".")[0] in ("torch", "torchvision", "open_clip")}
            assert not heavy, f"{path} imports {heavy} at module level"


def test_nothing_uploaded_can_be_unpickled() -> None:
    for package in PACKAGES:
        for path in modules(package):
            assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & set(imported(path)), path


def test_every_package_is_typed_and_every_file_is_of_readable_length() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()
        for path in modules(package):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_no_function_is_longer_than_fifty_lines_beside_its_docstring() -> None:
    for package in (*PACKAGES, "benchmarks"):
        for path in modules(package):
            for node in nodes_of(path):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "migrations" not in path.parts:
                    docstring = ast.get_docstring(node, clean=False) or ""
                    lines = (node.end_lineno or 0) - node.lineno + 1 - len(docstring.splitlines())
                    assert lines <= 50, f"{path}: {node.name} has {lines} lines"


def test_every_dependency_says_what_it_is_for() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pinned = tomllib.loads(text)["project"]["dependencies"]
    assert all(any(mark in dependency for mark in ("==", ">=")) for dependency in pinned)
    section = text.split("dependencies = [", 1)[1].split("]\n", 1)[0]
    assert section.count("# ") >= 10
