"""``make sweep``: the whole system on a platform whose truth is known.

    build uploads and references -> register one person -> nightly job for two days (Dagster's schedule)
    -> a second person asks for removal -> the sensor's rescan finds the earlier uploads -> takedowns are delivered

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
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from pipelines.enrolment import Reference, read_references
from pipelines.environment import Environment, read_environment
from pipelines.registry import Identity, insert_subject
from pipelines.requests import accept_request, open_request
from pipelines.sample import SamplePlatform, build_platform
from pipelines.sample.scoring import Score, print_scores, score_phase
from pipelines.sealing import KeyFileWarning
from pipelines.takedown.receiver import Receiver
from pipelines.workspace import Workspace, create_workspace

ACTOR = "sample"


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
            scores = run_phases(workspace, platform, dagster_home)
            facts = facts_of(workspace, platform, receiver, folder)
    shutil.rmtree(folder / "platform" / "references")
    print_scores(scores, facts)
    return 1 if any(score.wrong for score in scores) or "WRONG" in facts["deliveries"] else 0


SETTINGS = """\
# Half of the sample's uploads show a registered person; on a real platform so many would mean a broken model.
[sweep]
max_hit_rate = 0.9
"""


def set_environment(folder: Path, platform: SamplePlatform, url: str, secret: str) -> Environment:
    """Point ``LIKENESS_*`` at the sample, for this process and the Dagster runs in it."""
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "likeness.toml").write_text(SETTINGS, encoding="utf-8")
    os.environ |= {
        "LIKENESS_HOME": str(home),
        "LIKENESS_SOURCE": platform.source_uri,
        "LIKENESS_TAKEDOWN_URL": url,
        "LIKENESS_TAKEDOWN_SECRET": secret,
    }
    return read_environment()


def run_phases(workspace: Workspace, platform: SamplePlatform, dagster_home: Path) -> list[Score]:
    """Nightly runs, then the removal request; scored after each."""
    warnings.filterwarnings("ignore", message=".* is currently in beta", category=Warning)  # Dagster's, at import
    from pipelines.definitions import open_instance, run_schedule, run_sensor  # Dagster takes a second to import

    expected_first = {upload.item_id: (upload, upload.expected_after_sweep) for upload in platform.planted}
    expected_last = {upload.item_id: (upload, upload.expected_after_rescan) for upload in platform.planted}
    labels = {register(workspace, platform): platform.registered.label}
    with open_instance(dagster_home) as instance:
        tonight = datetime.combine(platform.days[1] + timedelta(days=1), datetime.min.time(), UTC) + timedelta(hours=2)
        click.echo("running the nightly job for both days")
        require_success(run_schedule("nightly_schedule", tonight, instance=instance), 2)
        first = score_phase(workspace, "nightly runs", expected_first, labels)
        labels[ask_for_removal(workspace, platform)] = platform.requested.label
        click.echo("running the rescan that the removal request asks for")
        require_success(run_sensor("removal_requests", instance=instance), 1)
        last = score_phase(workspace, "removal request", expected_last, labels)
    return [first, last]


def require_success(successes: list[bool], expected: int) -> None:
    """Stop unless exactly this many runs were asked for and all succeeded."""
    if len(successes) != expected or not all(successes):
        click.echo(f"error: {sum(successes)} of {len(successes)} runs succeeded, expected {expected}", err=True)
        sys.exit(1)


def register(workspace: Workspace, platform: SamplePlatform) -> str:
    """Register the person who opted out before the uploads."""
    person = platform.registered
    read = _read(workspace, person.references)
    with workspace.database.write() as tx:
        subject_id, _ = insert_subject(
            tx,
            workspace,
            identity=Identity(names=(person.name,), consent="sample-consent", contact=None),
            references=read,
            expires_at=workspace.now() + timedelta(days=30),
            active=True,
            actor=ACTOR,
        )
    return subject_id


def ask_for_removal(workspace: Workspace, platform: SamplePlatform) -> str:
    """The other person asks for removal, and an operator accepts."""
    person = platform.requested
    request = open_request(
        workspace,
        names=(person.name,),
        references=_read(workspace, person.references),
        contact="sample-contact",
        consent=None,
        actor=ACTOR,
    )
    return accept_request(workspace, request.request_id, actor=ACTOR).subject_id


def _read(workspace: Workspace, files: tuple[Path, ...]) -> list[Reference]:
    return read_references(
        [path.read_bytes() for path in files],
        workspace.models,
        limits=workspace.limits,
        config=workspace.config.registry,
        agreement=workspace.thresholds.review,
    )


def facts_of(workspace: Workspace, platform: SamplePlatform, receiver: Receiver, folder: Path) -> dict[str, str]:
    """Deliveries against what was planted, where the report is, and how to look around."""
    wanted = {(upload.item_id, label) for upload in platform.planted for label in upload.expected_after_rescan.takedown}
    cases = receiver.cases()
    keys = {case["key"] for case in cases}
    right = len(cases) == len(keys) == len(wanted)
    reports = sorted((workspace.home / "reports").glob("report-*.html"))
    return {
        "deliveries": f"{len(cases)} cases received, {len(wanted)} planted" + ("" if right else "  WRONG"),
        "reports": "  ".join(str(path) for path in reports),
        "state": f"LIKENESS_HOME={folder / 'home'} .venv/bin/likeness status",
        "Dagster": f"make dev LIKENESS_HOME={folder / 'home'}   then open http://127.0.0.1:3000",
    }


if __name__ == "__main__":
    sys.exit(main())
