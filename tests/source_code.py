"""The project's own modules as syntax trees, each parsed once for all tests that look at the structure."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a module. It is shared: nobody changes it."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a module's tree."""
    return tuple(ast.walk(tree_of(path)))


def name_of(node: ast.AST) -> str:
    """A name as it is written, ``os.environ`` for instance; empty for what is no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        whose = name_of(node.value)
        return f"{whose}.{node.attr}" if whose else ""
    return ""


def dotted(path: Path) -> set[str]:
    """Every attribute that a module names, ``os.environ`` for instance."""
    return {name_of(node) for node in nodes_of(path) if isinstance(node, ast.Attribute)}


def called(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Each call in a module with the name of what is called."""
    for node in nodes_of(path):
        if isinstance(node, ast.Call):
            yield name_of(node.func), node


def imported(path: Path) -> Iterator[str]:
    """The modules that a module imports, wherever in it."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def imported_at_run_time(path: Path, known: Collection[str]) -> set[str]:
    """Those of the ``known`` modules that a module imports, wherever in it, but for what only a type checker reads."""
    found: set[str] = set()
    left: list[ast.AST] = [tree_of(path)]
    while left:
        node = left.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(name if name in known else node.module for name in whole)
        elif isinstance(node, ast.If) and name_of(node.test) == "TYPE_CHECKING":
            left.extend(node.orelse)
        else:
            left.extend(ast.iter_child_nodes(node))
    return found & set(known)
