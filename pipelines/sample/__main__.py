"""``make sweep``: the whole system on a platform whose truth is known.

    build uploads and references -> register one person -> nightly job for two days (Dagster's schedule)
    -> a second person asks for removal -> the sensor's rescan finds the earlier uploads -> takedowns are delivered
    -> an analyst decides, and takes back -> a rescan finds the copies of what was confirmed
    -> a poisoned request is refused, another trips the circuit breaker -> the second person withdraws consent
    -> the second person asks again, and is served to the last acknowledgement by a service that refuses at first
    -> an item behind a URL, whose server sends a login page first, is scanned when it is asked for again
    -> an older manifest listed again revives no deletion and reverts no picture

Everything runs through the same jobs, schedules and sensors that production runs. Exits 1 if a planted case comes out
wrong, and says which.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import tempfile
import warnings
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import click

from pipelines.cases.ending import withdraw
from pipelines.cases.requests import accept_request
from pipelines.home.sealing import KeyFileWarning
from pipelines.home.workspace import Workspace, create_workspace
from pipelines.runs.delivery import deliver
from pipelines.runs.verify import verify
from pipelines.sample import Phase, SamplePlatform, build_platform
from pipelines.sample import people as act
from pipelines.sample.expectation import SIMULATED
from pipelines.sample.messages import check_deadlines, check_deliveries, check_held
from pipelines.sample.older_listing import PASSED_OVER, survive_an_older_listing
from pipelines.sample.passing_fault import survive_a_login_page
from pipelines.sample.policies import write_settings
from pipelines.sample.request_served import serve_a_request
from pipelines.sample.scoring import Score, score_phase
from pipelines.sample.table import print_scores
from pipelines.settings.environment import Environment, read_environment
from pipelines.takedown.outbox import counts_by_state
from pipelines.takedown.receiver import Receiver

Runs = Callable[[], list[bool]]
"""Has Dagster run what is due; returns the success of each run."""


def main() -> int:
    """Run the sample and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.sample", description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the sample here [a new temporary folder]")
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp(prefix="likeness-sample-"))
    if folder.exists() and any(folder.iterdir()):
        click.echo(f"error: {folder} is not empty", err=True)
        return 2
    dagster_home = Path(os.environ["DAGSTER_HOME"]) if "DAGSTER_HOME" in os.environ else folder / "dagster"
    return run_sample(folder, dagster_home)


def run_sample(folder: Path, dagster_home: Path) -> int:
    """Build the platform below ``folder``, run everything on it, print the table; 0 if all planted cases came out."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    platform = build_platform(folder / "platform", days=(yesterday - timedelta(days=1), yesterday))
    click.echo(f"built {len(platform.planted)} uploads of two days")
    secret = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
    with Receiver("127.0.0.1", 0, [secret], log_path=folder / "cases.jsonl") as receiver:
        environment = set_environment(folder, platform, receiver.url, secret)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", KeyFileWarning)  # a sample's key may lie beside its data
            workspace = create_workspace(environment)
        with workspace:
            run = SampleRun(workspace, platform, receiver)
            run.all_phases(dagster_home)
            facts = run.facts | facts_of(workspace, receiver, folder)
    shutil.rmtree(folder / "platform" / "references")
    print_scores(run.scores, facts, run.problems)
    return 1 if run.problems or any(score.wrong for score in run.scores) else 0


def set_environment(folder: Path, platform: SamplePlatform, url: str, secret: str) -> Environment:
    """Point ``LIKENESS_*`` at the sample, for this process and the Dagster runs in it."""
    home = folder / "home"
    home.mkdir(mode=0o700)
    write_settings(home)
    os.environ |= {
        "LIKENESS_HOME": str(home),
        "LIKENESS_SOURCE": platform.source_uri,
        "LIKENESS_TAKEDOWN_URL": url,
        "LIKENESS_TAKEDOWN_SECRET": secret,
    }
    return read_environment()


class SampleRun:
    """One run of the sample: what was done so far, the score after each phase, and what else came out wrong."""

    def __init__(self, workspace: Workspace, platform: SamplePlatform, receiver: Receiver) -> None:
        self.workspace, self.platform, self.receiver = workspace, platform, receiver
        self.scores: list[Score] = []
        self.problems: list[str] = []
        self.facts: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        """Subject id -> label."""

    def all_phases(self, dagster_home: Path) -> None:
        """Run all phases in order; a Dagster run that fails ends the program."""
        warnings.filterwarnings("ignore", message=".* is currently in beta", category=Warning)  # Dagster's, at import
        from pipelines.orchestration.definitions import (  # Dagster takes a second to import
            open_instance,
            run_schedule,
            run_sensor,
        )

        tonight = datetime.combine(self.platform.days[1] + timedelta(days=1), datetime.min.time(), UTC)
        alpha = act.register(self.workspace, self.platform.registered)
        self.labels[alpha] = self.platform.registered.label
        with open_instance(dagster_home) as instance:
            nights = partial(run_schedule, "nightly_schedule", tonight + timedelta(hours=2), instance=instance)
            rescan = partial(run_sensor, "removal_requests", instance=instance)
            require_success("the nightly job for both days", nights, 2)
            self._score("nights")
            beta = self._removal_request(rescan)
            self._score("request")
            self._decisions(rescan, alpha)
            self._score("decisions")
            gamma = self._poisoned_request(rescan)
            self._score("poison")
        self._withdrawals(beta, gamma)
        self._score("withdrawal")
        self.problems += check_deliveries(self.platform, self.receiver, self.labels)
        self.problems += check_deadlines(self.workspace, self.platform, alpha)
        click.echo("serving a removal request to its end, with a service that refuses first")
        self.problems += serve_a_request(self.workspace, self.platform)
        click.echo("sweeping an item behind a URL whose server sends a login page first")
        self.problems += survive_a_login_page(self.workspace, self.platform)
        click.echo("listing a manifest, a newer one, and the older one again")
        self.problems += survive_an_older_listing(self.workspace, self.platform)
        self.facts["passed over"] = f"{sum(PASSED_OVER.values())} rows of an older manifest that was listed again"
        self.problems += [f"verify: {one.check}: {one.detail}" for one in verify(self.workspace) if not one.ok]

    def _score(self, phase: Phase) -> None:
        self.scores.append(score_phase(self.workspace, self.platform, phase, self.labels))

    def _removal_request(self, rescan: Runs) -> str:
        request_id, subject_id = act.ask_for_removal(self.workspace, self.platform.requested)
        self.labels[subject_id] = self.platform.requested.label
        if accept_request(self.workspace, request_id, actor=act.ACTOR).state != "accepted":
            self.problems.append("an ordinary request needed two people")
        require_success("the rescan that the removal request asks for", rescan, 1)
        return subject_id

    def _decisions(self, rescan: Runs, alpha: str) -> None:
        click.echo("deciding, delivering, taking back")
        self.problems += act.decide_all(self.workspace, self.platform, alpha, self.receiver)
        require_success("the rescan that confirmations ask for, which finds copies of them", rescan, 1)
        self.problems += act.deliver_copies(self.workspace, self.receiver)
        self.problems += act.simulate_other_policy(self.workspace, self.platform, self.labels)
        self.facts["simulated"] = f"another policy, which changes {len(SIMULATED)} verdicts"

    def _poisoned_request(self, rescan: Runs) -> str:
        self.problems += act.try_to_enrol_everybody(self.workspace, self.platform)
        request_id, subject_id = act.ask_for_removal(self.workspace, self.platform.poisoned)
        self.labels[subject_id] = self.platform.poisoned.label
        self.problems += act.accept_between_two(self.workspace, request_id)
        require_success("the rescan that the poisoned request asks for", rescan, 1)
        self.problems += check_held(self.workspace, self.platform, self.labels)
        with self.workspace.database.read() as connection:
            held = counts_by_state(connection)["held"]
        self.facts["held"] = f"{held} messages of the poisoned request, and none of them sent"
        return subject_id

    def _withdrawals(self, beta: str, gamma: str) -> None:
        """Withdraw the second person at her own wish, and the poisoned one because somebody looked at the held
        messages."""
        for subject_id in (beta, gamma):
            withdraw(self.workspace, subject_id, actor=act.ACTOR)
        deliver(self.workspace)


def require_success(what: str, runs: Runs, expected: int) -> None:
    """Say what is run, and exit unless exactly ``expected`` runs were asked for and all succeeded."""
    click.echo(f"running {what}")
    successes = runs()
    if len(successes) != expected or not all(successes):
        click.echo(f"error: {sum(successes)} of {len(successes)} runs succeeded, expected {expected}", err=True)
        sys.exit(1)


def facts_of(workspace: Workspace, receiver: Receiver, folder: Path) -> dict[str, str]:
    """Return what was delivered, where the report is, and which commands show the state."""
    actions = Counter(case["action"] for case in receiver.cases())
    reports = sorted((workspace.home / "reports").glob("report-*.html"))
    return {
        "delivered": ", ".join(f"{count} {action}" for action, count in sorted(actions.items())),
        "reports": "  ".join(str(path) for path in reports),
        "state": f"LIKENESS_HOME={folder / 'home'} .venv/bin/likeness status",
        "an account": f"LIKENESS_HOME={folder / 'home'} .venv/bin/likeness account add me --role reviewer --role lead",
        "pages": f"LIKENESS_HOME={folder / 'home'} .venv/bin/likeness review   then open "
        "http://127.0.0.1:8400/invitation and type the code of the account",
        "Dagster": f"make dev LIKENESS_HOME={folder / 'home'}   then open http://127.0.0.1:3000",
    }


if __name__ == "__main__":
    sys.exit(main())
