"""The documents say what there is: every command, make target, variable and setting that they name exists."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import pipelines.home.workspace
from pipelines.cli import main
from pipelines.home.workspace import Workspace, open_workspace
from pipelines.policy import RULES
from pipelines.settings.config import Config
from tests.conftest import Clock, use_fakes
from tests.fakes import person, picture
from tests.platform_actions import enrol, upload

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
VARIABLE = re.compile(r"LIKENESS_[A-Z_]+[A-Z]")
FAILPOINT = "LIKENESS_FAILPOINT"  # for tests alone, so that no document tells an operator of it
OF_BENCHMARKS = ("LIKENESS_PHOTOGRAPHS",)
EXAMPLES = ("source", "policy", "fetch.allowed_hosts", "dagster.owners", "dagster.first_day")  # shown with other values
DOCUMENTS = {path.name: path.read_text(encoding="utf-8") for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))}


def commands(group: click.Group = main, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{prefix}{name}", command


def rows_of(document: str, head: str) -> list[list[str]]:
    """The cells of each row of a table, by the beginning of its head."""
    table = DOCUMENTS[document].split(f"\n{head}", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def test_the_table_of_commands_lists_every_command_and_no_other() -> None:
    listed = []
    for first, *others in (re.findall(r"`([^`]+)`", cells[0]) for cells in rows_of("commands.md", "| command |")):
        group = first.split()[0]
        listed += [first, *(name if name.split()[0] == group else f"{group} {name}" for name in others)]
    assert sorted(listed) == sorted(name for name, _ in commands())


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_help_json_home_and_config(name: str, command: click.Command) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--home", "--config"} <= options
    assert command.help


def test_commands_that_documents_show_exist() -> None:
    for document, text in DOCUMENTS.items():
        for line in re.findall(r"^    likeness ([a-z][^\n]*)", text, flags=re.MULTILINE):
            command: click.Command = main
            for word in line.split():
                if isinstance(command, click.Group) and word in command.commands:
                    command = command.commands[word]
            assert command is not main, f"{document}: likeness {line}"
            alone = not isinstance(command, click.Group) or command.invoke_without_command
            assert alone, f"{document}: likeness {line}"


def test_the_readme_opens_with_the_two_commands_and_is_short() -> None:
    lines = [line.strip() for line in README.splitlines() if line.startswith("    ")]
    assert lines[0].startswith("make sweep")
    assert lines[1].startswith("make test")
    assert len(README.splitlines()) <= 150


@pytest.mark.any_database
def test_the_example_of_the_readme_runs_and_prints_a_hit(
    workspace: Workspace,
    uploads: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    subject = enrol(workspace, person(1))
    upload(uploads, "one.png", picture(person(1)))
    environment = workspace.environment
    monkeypatch.setattr(
        pipelines.home.workspace, "open_workspace", lambda _: use_fakes(open_workspace(environment, now=clock))
    )
    code = README.split("## From Python", 1)[1].split("\n## ", 1)[0]
    lines = "\n".join(line.removeprefix("    ") for line in code.splitlines())
    exec(compile(lines.replace("/data/uploads", str(uploads)), "README.md", "exec"), {})
    assert f"one.png {subject} face" in capsys.readouterr().out


def test_make_targets_that_the_documents_name_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"^    make (\w+)|`make (\w+)", DOCUMENTS[document], flags=re.MULTILINE))
        words = {word for pair in named for word in pair if word}
        assert words
        assert words <= targets, document


def test_the_variables_in_the_documents_are_those_that_are_read() -> None:
    read = set(VARIABLE.findall((ROOT / "pipelines/settings/environment.py").read_text(encoding="utf-8")))
    assert set(VARIABLE.findall(DOCUMENTS["settings.md"].split("| variable |", 1)[1])) == read - {FAILPOINT}
    for document, text in DOCUMENTS.items():
        assert set(VARIABLE.findall(text)) <= read | set(OF_BENCHMARKS), document


def test_settings_are_shown_with_their_defaults() -> None:
    shown = DOCUMENTS["settings.md"].split("# Settings", 1)[1].split("| variable", 1)[0]
    values = tomllib.loads("\n".join(line[4:] for line in shown.splitlines() if line.startswith("    ")))
    assert set(EXAMPLES) <= {
        *values,
        *(f"{name}.{key}" for name, own in values.items() if is_a_table(own) for key in own),
    }
    for name, own in values.items():
        for key, value in (own if is_a_table(own) else {name: own}).items():
            default = getattr(getattr(Config(), name) if is_a_table(own) else Config(), key)
            place = f"{name}.{key}" if is_a_table(own) else name
            if place not in EXAMPLES:
                assert value == (list(default) if isinstance(default, tuple) else default), place


def is_a_table(value: object) -> bool:
    return isinstance(value, dict)


def test_the_rules_of_the_policy_are_listed_in_the_order_in_which_they_are_asked() -> None:
    listed = [rule for cells in rows_of("policy.md", "| rule |") for rule in re.findall(r"`([^`]+)`", cells[0])]
    assert listed == list(RULES)


def test_every_question_of_the_design_is_answered_in_two_hops_from_the_readme() -> None:
    rows = rows_of("design.md", "| question |")
    assert len(rows) >= 8
    for question, first, second in rows:
        named = re.search(r"\(([\w.]+)\)", first)
        document = named[1] if named else "design.md"
        assert f"](docs/{document})" in README, question
        paths = re.findall(r"`((?:pipelines|embeddings|indexes)/[\w/]+(?:\.py|/))`", second)
        assert paths, question
        for path in paths:
            assert f"`{path}`" in DOCUMENTS[document], f"{document} does not lead to {path}"
            assert (ROOT / path).exists(), path


def test_every_invariant_that_is_cited_is_defined_and_has_a_test() -> None:
    defined = set(re.findall(r"^- \*\*I(\d+),", DOCUMENTS["design.md"], flags=re.MULTILINE))
    code = [
        path.read_text(encoding="utf-8") for name in ("embeddings", "indexes", "pipelines") for path in modules(name)
    ]
    groups = [group for text in (*code, *DOCUMENTS.values()) for group in re.findall(r"\((I\d+(?:, I\d+)*)\)", text)]
    cited = {number.removeprefix("I") for group in groups for number in group.split(", ")}
    tested = {number for path in modules("tests") for number in re.findall(r"def test_i(\d+)_", path.read_text())}
    assert cited == defined
    assert tested == defined


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def test_links_between_documents_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target, _, anchor in re.findall(r"\]\(([^)#:]*)(#([^)]+))?\)", document.read_text(encoding="utf-8")):
            linked = document.parent / target if target else document
            assert linked.exists(), f"{document.name} -> {target}"
            if anchor:
                heads = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, anchor


def test_files_that_documents_name_exist() -> None:
    for document, text in DOCUMENTS.items():
        for path in re.findall(r"`((?:pipelines|embeddings|indexes|tests)/[\w/]+\.(?:py|toml))`", text):
            assert (ROOT / path).exists(), f"{document} names {path}"
