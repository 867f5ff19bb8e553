"""A small home that has something of everything, its copies, and command lines for it made from the command tree.

What is typed comes from the tree itself: a new command or option is in the lines as soon as it is there, and a value
that fits it has to be entered in :func:`valid_values`.
"""

from __future__ import annotations

import functools
import random
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from pipelines.accounts.accounts import add_account
from pipelines.calibration.labels import read_folder
from pipelines.calibration.measure import Aim, measure_labels
from pipelines.calibration.measure import use as in_force
from pipelines.cases.requests import accept_request
from pipelines.cases.subject_update import Change, update_subject
from pipelines.cli import main
from pipelines.database import tables
from pipelines.decisions.decide import decide
from pipelines.decisions.log import list_decisions
from pipelines.hits.listing import list_hits
from pipelines.home.audit_export import export_audit
from pipelines.home.content_models import ContentModels
from pipelines.home.workspace import Workspace, create_workspace, open_unchecked, open_workspace
from pipelines.registry.templates import list_references
from pipelines.reviewing.passing_on import assign
from pipelines.reviewing.queue import waiting_cases
from pipelines.runs.sweep import sweep
from pipelines.settings.environment import Environment
from pipelines.takedown.receiver import Receiver
from tests.conftest import KEY, Clock, environment_for, use_fakes
from tests.fakes import FakeContentModels, person, picture
from tests.pipelines.takedown.delivering import SECRET
from tests.platform_actions import NAME, ask_for_removal, enrol, source_of, upload

NOTHING = "0" * 32
"""A digest that no preview has."""
NEEDED = {
    ("subject", "add"): ("name", "consent"),
    ("subject", "preview"): ("name",),
    ("request", "open"): ("name", "contact"),
    ("request", "reject"): ("reason",),
    ("day", "approve"): ("reason",),
    ("cases", "note"): ("note",),
    ("cases", "escalate"): ("note",),
}
"""Texts that a command asks for, by their option or by its sibling that reads a file: click requires neither."""


@dataclass(frozen=True)
class Place:
    """A home with what lies beside it, and the words by which its things are named on the command line."""

    folder: Path
    receiver: Receiver
    ids: dict[str, str]

    def copy(self, folder: Path) -> Place:
        """The same in another folder, to be changed."""
        shutil.copytree(self.folder, folder)
        return Place(folder, self.receiver, self.ids)

    def run(self, *arguments: str) -> Result:
        """One command, in this process."""
        variables = {
            "LIKENESS_HOME": str(self.folder / "home"),
            "LIKENESS_KEY": KEY,
            "LIKENESS_TAKEDOWN_URL": self.receiver.url,
            "LIKENESS_TAKEDOWN_CASES_URL": self.receiver.url.replace("/takedowns", "/cases"),
            "LIKENESS_TAKEDOWN_SECRET": SECRET,
        }
        return CliRunner().invoke(main, list(arguments), env=variables)


class ContentFakes(FakeContentModels):
    """With what ``likeness models`` asks of the CLIP weights; they are here, so that nothing is downloaded."""

    def __init__(self, real: ContentModels) -> None:
        super().__init__("clip-1")
        self.clip_facts = real.clip_facts

    def pull_clip(self) -> bool:
        """Nothing was to be fetched."""
        return False


@contextmanager
def commands_on_fakes(clock: Clock) -> Iterator[None]:
    """Commands run with fake models and a clock that stands, serve nobody, and reach no host but this one."""

    def faked(opening: Callable[..., Workspace]) -> Callable[[Environment], Workspace]:
        def opened(environment: Environment) -> Workspace:
            workspace = opening(environment, now=clock)
            content = ContentFakes(workspace.content_models)
            use_fakes(workspace).content_models = content  # type: ignore[assignment, misc]
            return workspace

        return opened

    def serve_nobody(host: str, port: int, secrets: Sequence[str], *, log_path: Path | None, ready: Any) -> None:
        with Receiver(host, port, secrets, log_path=log_path, now=clock) as receiver:
            ready(receiver.url)

    def show_nobody(environment: Environment, *, host: str, port: int, ready: Any) -> None:
        ready(f"http://{host}:{port}")

    known = socket.getaddrinfo

    def only_here(host: Any, *more: Any, **options: Any) -> Any:
        if host in ("127.0.0.1", "localhost"):
            return known("127.0.0.1", *more, **options)
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.cli.console.open_workspace", faked(open_workspace))
        patch.setattr("pipelines.home.workspace.open_unchecked", functools.partial(open_unchecked, now=clock))
        patch.setattr("pipelines.home.workspace.create_workspace", faked(create_workspace))
        patch.setattr("pipelines.takedown.receiver.serve", serve_nobody)
        patch.setattr("pipelines.web.serve.serve", show_nobody)
        patch.setattr(socket, "getaddrinfo", only_here)
        yield


def is_needed(path: tuple[str, ...], parameter: click.Parameter) -> bool:
    """Whether a command does nothing without this parameter; of a text and its file it is the text."""
    return parameter.required or parameter.name in {f"{text}__text" for text in NEEDED.get(path, ())}


def prepare(folder: Path, receiver: Receiver, clock: Clock) -> Place:
    """Fill a home: two people, hits by face and by text, decisions, messages in each state, requests, a calibration."""
    uploads = folder / "uploads"
    uploads.mkdir(parents=True)
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "likeness.toml").write_text(
        "[registry]\nmin_reference_pixels = 16\nmin_reference_score = 0.5\n[content]\nclip = 'off'\n", encoding="utf-8"
    )
    people = folder / "people"
    for number in range(9):
        (people / str(number)).mkdir(parents=True)
        for version in range(2):
            (people / str(number) / f"{version}.png").write_bytes(picture(person(10 + number)))
    (folder / "pairs.csv").write_text("a,b,same\npeople/0/0.png,people/0/1.png,1\npeople/0/0.png,people/1/0.png,0\n")
    (folder / "groups.csv").write_text("person,group\n0,a\n1,a\n2,b\n3,b\n")
    (folder / "reference.png").write_bytes(picture(person(3)))
    (folder / "same.png").write_bytes(picture(person(1)))
    (folder / "text.txt").write_text("somebody else\n", encoding="utf-8")
    for name, package, file in (
        ("policy.toml", "pipelines.policy", "default.toml"),
        ("concepts.toml", "pipelines.policy", "concepts.toml"),
    ):
        (folder / name).write_bytes(resources.files(package).joinpath(file).read_bytes())
    (folder / "likeness.toml").write_bytes((home / "likeness.toml").read_bytes())
    with create_workspace(environment_for(home), now=clock) as workspace:
        use_fakes(workspace)
        ids = _fill(workspace, uploads, people)
        export_audit(workspace, folder / "audit.csv", actor="tester")
    return Place(folder, receiver, ids)


def _fill(workspace: Workspace, uploads: Path, people: Path) -> dict[str, str]:
    subject = enrol(workspace, person(1))
    more = Change(
        add_aliases=("Tessa Examplesdaughter", "somebody else"), add_exclusions=("testina street", "somebody else")
    )
    update_subject(workspace, subject, more, actor="tester")
    with workspace.database.read() as connection:
        (reference,) = list_references(connection, subject)
    for number in range(5):
        about = {"uploader": f"u-{number % 2}", "parent_model": f"m-{number}"}
        upload(uploads, f"{number}.png", picture(person(1), person(50 + number)), **about)
    upload(uploads, "named.png", picture(person(60)), title=NAME, uploader="u-1")
    upload(uploads, "wanted.png", picture(person(2)))
    upload(uploads, "broken.png", b"no picture")
    sweep(workspace, source_of(uploads), day=None)
    asked, accepted = (ask_for_removal(workspace, person(number), name="Nobody Inparticular") for number in (3, 2))
    accept_request(workspace, accepted.request_id, actor="tester")
    with workspace.database.read() as connection:
        by_item = {hit.item_id: hit.hit_id for hit in list_hits(connection, subject_id=subject)}
    deciding = [by_item[f"{number}.png"] for number in range(3)]
    told = decide(workspace, deciding, decision="confirm", reason="same_person", actor="tester", note="as agreed")
    add_account(workspace, "ann", ["reviewer"], actor="tester")
    found = measure_labels(workspace, read_folder(people), Aim(0.2, 0.1, 0.51), actor="tester").calibration
    in_force(workspace, found.calibration_id, actor="tester")
    with workspace.database.write() as tx:
        own = sa.select(tables.outbox.c.message_id).where(tables.outbox.c.action == "takedown")
        done, held, dead = tx.execute(own.order_by(tables.outbox.c.message_id)).scalars().all()
        for message_id, state in ((held, "held"), (dead, "dead")):
            chosen = tables.outbox.c.message_id == message_id
            tx.execute(sa.update(tables.outbox).where(chosen).values(state=state, decided_by="automated"))
    with workspace.database.read() as connection:
        decision = list_decisions(connection)[0].decision_id
        (waiting, *_) = waiting_cases(connection, workspace)
    assign(workspace, waiting.key, "ann", "as agreed", actor="tester")
    return {
        "subject": subject,
        "reference": reference.reference_id,
        "hit": by_item["4.png"],
        "named": by_item["named.png"],
        "open": asked.request_id,
        "accepted": accepted.request_id,
        "batch": str(told.batch_id),
        "decision": decision,
        "case": waiting.key.case_id,
        "message": done,
        "held": held,
        "dead": dead,
        "calibration": found.calibration_id,
    }


def leaves(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it."""
    for name, command in sorted(group.commands.items()):
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield (*path, name), command
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))


def valid_values(place: Place) -> dict[str, str]:
    """A value that fits, by ``command parameter`` or by ``parameter`` alone."""
    ids, folder = place.ids, place.folder
    return {
        "home": str(folder / "home"),
        "config": str(folder / "likeness.toml"),
        "source": source_of(folder / "uploads"),
        "place": source_of(folder / "uploads"),
        "day": "2026-02-27",
        "subject_id": ids["subject"],
        "item_id": "4.png",
        "hit_id": ids["hit"],
        "hit_ids": ids["hit"],
        "hits show hit_id": ids["named"],
        "request_id": ids["open"],
        "rescan request_id": ids["accepted"],
        "decision_id": ids["decision"],
        "calibration_id": ids["calibration"],
        "release_ids": ids["held"],
        "revive_ids": ids["dead"],
        "undone": ids["batch"],
        "about": ids["message"],
        "parent_model": "m-4",
        "uploader": "u-0",
        "note": "look again",
        "most": "5",
        "expect": NOTHING,
        "reason": "same_person",
        "request reject reason": "not that person",
        "restore reason": "the disk was replaced",
        "chosen": "2026-02-27",
        "day approve reason": "the source was down",
        "retry": "format",
        "text_file": str(folder / "text.txt"),
        "name": "Nobody Inparticular",
        "aliases": "N. Inparticular",
        "exclusions": "inparticular street",
        "references": str(folder / "reference.png"),
        "consent": "record-1",
        "contact": "case-1",
        "received": "2026-02-27",
        "message_ids": ids["held"],
        "held_by": "hit_rate",
        "older_than": "1",
        "expires": "2027-01-31",
        "until": "2027-01-31",
        "days": "300",
        "ending": "30",
        "case_reference": "case-17",
        "added": str(folder / "same.png"),
        "removed": ids["reference"],
        "add_aliases": "T. Examplesdaughter",
        "remove_aliases": "Tessa Examplesdaughter",
        "add_exclusions": "examplesdaughter avenue",
        "remove_exclusions": "testina street",
        "pairs": str(folder / "pairs.csv"),
        "impostors": str(folder / "people"),
        "calibration background folder": str(folder / "people"),
        "groups": str(folder / "groups.csv"),
        "worst_pairs": str(folder / "worst.csv"),
        "fpir": "0.2",
        "strong_fpir": "0.1",
        "confidence": "0.51",
        "gallery": "1",
        "verdicts verdict": "review",
        "plot": str(folder / "plot.png"),
        "target": str(folder / "look.png"),
        "image": str(folder / "reference.png"),
        "text": "person 1",
        "limit": "5",
        "at_most": "0.5",
        "concept": "nudity",
        "file": str(folder / "policy.toml"),
        "concepts check file": str(folder / "concepts.toml"),
        "one": str(folder / "policy.toml"),
        "other": str(folder / "policy.toml"),
        "since": "2026-02-27",
        "who": "tester",
        "action": "subject",
        "audit export file": str(folder / "audit.jsonl"),
        "audit check file": str(folder / "audit.csv"),
        "first_day": "2026-02-01",
        "last_day": "2026-03-31",
        "pack": "opencv-zoo",
        "account_name": "ann",
        "case_id": ids["case"],
        "account add account_name": "bert",
        "roles": "reviewer",
        "host": "127.0.0.1",
        "port": "0",
        "log": str(folder / "cases.jsonl"),
        "out": str(folder / "reports"),
    }


def value_of(path: Sequence[str], parameter: click.Parameter, place: Place) -> str:
    """What may be typed for a parameter. Raises ``KeyError`` for one that nobody has said a value for."""
    if isinstance(parameter.type, click.Choice):
        return str(parameter.type.choices[0])
    values = valid_values(place)
    name, _, form = str(parameter.name).partition("__")
    if form == "file":  # the sibling of an option for a text
        return str(place.folder / "text.txt")
    own = " ".join((*path, name))
    if own not in values and name not in values:
        raise KeyError(f"say in tests/command_lines.py which value fits {own}")
    return values.get(own, values.get(name, ""))


def typed(parameter: click.Parameter, value: str | None) -> list[str]:
    """A parameter as it is typed; ``value`` is left out of a flag."""
    if isinstance(parameter, click.Argument):
        return [str(value)]
    return [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], str(value)]  # type: ignore[attr-defined]


ABSURD: tuple[str, ...] = (
    *("", " ", "-", "--", "-1", "0", "1", "-0.0", "1e400", "nan", "inf", "-inf", "0x10", "\u0661\u0662", "true"),
    *("9" * 19, "9" * 400, "-" + "9" * 30, "9223372036854775808", "2147483648", "0.0000000001", "0.999999999999999999"),
    *("0001-01-01", "9999-12-31", "2026-02-30", "10000-01-01", "2026-W01-1", "20260101", "-0001-01-01", "1900-01-01"),
    *("\x00", "a\x00b", "\x1b[2J\x1b]0;x\x07", "\u202egnp.exe", "\u2066\u200b\ufeff", "\ud800", "\udcff", "\uffff"),
    *(
        "\U0001f600" * 3,
        "e\u0301" * 500,
        "a" * 300,
        "a" * 5_000,
        "b" * 100_000,
        "\n",
        "a\tb\r",
        "'; DROP TABLE hits; --",
    ),
    *("%s%n", "{}", "{0.__class__}", "$(id)", "~", ".", "..", "nowhere.png", "nowhere/at/all.png", "a/" * 2000),
    *(
        "directory:",
        "directory:nowhere",
        "directory:.",
        "manifest:.",
        "manifest:nowhere.jsonl",
        "ftp://x",
        ":",
        "file:x",
    ),
    *("hit_0", "hit_" + "f" * 64, "sub_0", "req_0", "msg_0", "dec_0", "batch_0", "cal_0", "clip", "local:nowhere"),
    *(NOTHING, "F" * 32, "--help", "--json", "--no-such", "-x", "--to=", "--day=", "-h"),
)


def random_line(generator: random.Random, place: Place) -> list[str]:
    """One command line: mostly of the tree's form, with values that fit and values that cannot."""
    path, command = generator.choice(tuple(leaves()))
    files = (place.folder / "likeness.toml", place.folder / "home" / "likeness.db", place.folder / "uploads")
    strange = (
        *ABSURD,
        *map(str, files),
        *place.ids.values(),
        str(place.folder / "link"),
        str(place.folder / "plain" / "x"),
    )

    often = generator.choice((0.1, 0.2, 0.5))

    def value(parameter: click.Parameter) -> str | None:
        if isinstance(parameter, click.Option) and parameter.is_flag:
            return None
        if generator.random() < often:
            return generator.choice(strange)
        if isinstance(parameter.type, click.Choice):
            return str(generator.choice(parameter.type.choices))
        return value_of(path, parameter, place)

    parts: list[list[str]] = []
    for parameter in command.params:
        share = 0.95 if is_needed(path, parameter) else 0.6 if isinstance(parameter, click.Argument) else 0.2
        repeated = 1 + (generator.random() < 0.05) + (generator.random() < 0.01)
        parts += [typed(parameter, value(parameter)) for _ in range(repeated) if generator.random() < share]
    if generator.random() < 0.1:
        parts.append([generator.choice(strange)])
    if generator.random() < 0.5:
        generator.shuffle(parts)
    words = [word for part in parts for word in part]
    if words and generator.random() < 0.03:
        del words[generator.randrange(len(words))]
    return [*path, *words]


def complaint(result: Result) -> str | None:
    """What is wrong with how a command ended: an error that nobody turned into words, or a code that means nothing."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"{type(result.exception).__name__}: {result.exception}"
    if result.exit_code not in (0, 1, 2):
        return f"exit code {result.exit_code}"
    if "Traceback" in result.output:
        return "a traceback"
    return None
