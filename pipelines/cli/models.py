"""``likeness models``: packs, their licences and downloads."""

from __future__ import annotations

import sys

import click

from embeddings.models.packs import LOCAL, find_pack, packs
from pipelines.cli.console import actor, command_options, emit, opened, progress, say
from pipelines.home.downloads import PullLimits, downloads, missing
from pipelines.home.downloads import pull as pull_files
from pipelines.home.licences import accept as accept_terms
from pipelines.home.licences import is_accepted, require_accepted, terms_of
from pipelines.home.workspace import Workspace
from pipelines.runs.backfill import BackfillSummary
from pipelines.runs.backfill import backfill as run_backfill
from pipelines.settings.environment import Environment

CLIP = "clip"
"""Stands in place of a pack's name for the CLIP weights that the settings name."""

MOST_DAYS = 10
"""Most days that an error names; ``--json`` has all."""


@click.group()
def models() -> None:
    """List packs of models, fetch them, read and accept their licences."""


@models.command("list")
@command_options
def list_packs(environment: Environment, as_json: bool) -> None:
    """List the known packs; the configured one is marked."""
    with opened(environment) as workspace, workspace.database.read() as connection:
        configured = workspace.config.embedding.pack
        known = list(packs().values()) + ([find_pack(configured)] if configured.startswith(LOCAL) else [])
        chosen = find_pack(configured).name
        rows: list[dict[str, object]] = [
            {
                "pack": pack.name,
                "configured": pack.name == chosen,
                "dimension": pack.dimension,
                "detector": pack.detector.name,
                "recognizer": pack.recognizer.name,
                "licence": pack.recognizer.licence,
                "accepted": is_accepted(connection, pack),
                "files": "missing"
                if missing(pack, folder=workspace.home / "models")
                else "downloaded"
                if downloads(pack)
                else "installed",
            }
            for pack in known
        ]
        rows.append(_clip_row(workspace))
    emit(rows, as_json=as_json)


@models.command()
@click.argument("pack")
@command_options
def pull(environment: Environment, as_json: bool, pack: str) -> None:
    """Fetch the files of PACK, or with `clip` the configured CLIP weights. After an interruption, repeat it."""
    if pack == CLIP:
        with opened(environment) as workspace:
            facts = _pull_clip(workspace)
        emit(facts, as_json=as_json)
        return
    wanted = find_pack(pack)
    with opened(environment) as workspace:
        with workspace.database.read() as connection:
            require_accepted(connection, wanted)
        limits = workspace.config.models
        with workspace.database.exclusive("pull"), progress(as_json) as report:
            counts = pull_files(
                wanted,
                folder=workspace.home / "models",
                limits=PullLimits(
                    attempts=limits.pull_attempts,
                    timeout_seconds=limits.pull_timeout_seconds,
                    min_bytes_per_second=limits.pull_min_bytes_per_second,
                    max_redirects=limits.pull_max_redirects,
                    max_bytes=limits.max_bytes,
                    head=workspace.config.exchange,
                ),
                proxy=environment.https_proxy,
                progress=report,
            )
    emit({"pack": wanted.name, "fetched": counts.fetched, "present": counts.present}, as_json=as_json)


@models.command()
@click.argument("pack")
@click.option("--accept", is_flag=True, help="Record that you accept the terms, as the account you are logged in with.")
@command_options
def licence(environment: Environment, as_json: bool, pack: str, accept: bool) -> None:
    """Show the terms of PACK (or `clip`), and record with --accept that they are accepted."""
    if pack == CLIP:
        if accept:
            raise click.UsageError("CLIP weights are not withheld: there is nothing to accept")
        with opened(environment) as workspace:
            clip = workspace.content_models.clip_facts()
        emit({"pack": CLIP, "weights": f"{clip.name}: {clip.licence} ({clip.origin})"}, as_json=as_json)
        return
    wanted = find_pack(pack)
    with opened(environment) as workspace:
        if accept:
            with workspace.database.write() as tx:
                accept_terms(tx, workspace.sealer, wanted, actor=actor(), now=workspace.now())
        with workspace.database.read() as connection:
            facts = terms_of(wanted) | {"accepted": is_accepted(connection, wanted)}
    emit(facts, as_json=as_json)


def _clip_row(workspace: Workspace) -> dict[str, object]:
    clip = workspace.content_models.clip_facts()
    return {
        "pack": CLIP,
        "configured": workspace.content_models.clip_wanted,
        "dimension": None,
        "detector": None,
        "recognizer": clip.name,
        "licence": clip.licence,
        "accepted": True,
        "files": clip.state,
    }


def _pull_clip(workspace: Workspace) -> dict[str, object]:
    clip = workspace.content_models.clip_facts()
    with workspace.database.exclusive("pull"):
        fetched = workspace.content_models.pull_clip()
    return {
        "pack": CLIP,
        "weights": clip.name,
        "licence": clip.licence,
        "origin": clip.origin,
        "fetched": int(fetched),
        "present": int(not fetched),
    }


@models.command()
@command_options
def backfill(environment: Environment, as_json: bool) -> None:
    """After a change of pack: embed the references and all live items again. Old results stay in force meanwhile."""
    with opened(environment) as workspace, progress(as_json) as report:
        summary = run_backfill(workspace, actor=actor(), progress=report)
    emit(summary, as_json=as_json)
    fail_if_incomplete(summary)


def fail_if_incomplete(summary: BackfillSummary) -> None:
    """If a backfill is incomplete, say which days it has left behind, and exit with 1."""
    if summary.outcome == "complete":
        return
    days = ", ".join(summary.days_failed[:MOST_DAYS]) or "no day"
    more = f" and {len(summary.days_failed) - MOST_DAYS} more days" if len(summary.days_failed) > MOST_DAYS else ""
    say(
        f"error: the backfill is not complete: {summary.items_outdated} items of {days}{more} and "
        f"{summary.subjects_missing} subjects keep the results of earlier models: repeat it, it goes on with them",
        err=True,
    )
    sys.exit(1)
