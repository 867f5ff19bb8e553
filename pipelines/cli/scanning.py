"""``likeness sweep``, ``rescan``, ``hits`` and ``verdicts``."""

from __future__ import annotations

from datetime import date
from typing import Any

import click

from pipelines.cli.console import COUNT, actor, command_options, emit, opened, parse_day, progress, say, to_plain
from pipelines.cli.lazy import LazyGroup, Place
from pipelines.hits.listing import TIERS
from pipelines.home.workspace import Workspace
from pipelines.policy import RULES
from pipelines.runs.sweep import SweepSummary
from pipelines.settings.environment import Environment

_EVERY_REASON = "all"
_SHOWN = (
    "hit_id",
    "item_id",
    "subject_id",
    "tier",
    "place",
    "band",
    "strength",
    "score",
    "threshold",
    "second_opinion",
    "view",
    "model_id",
    "verdict",
    "rule",
    "decision",
)
_SHOWN_OF_MODEL = ("model", "subject_id", "verdict", "rule", "generator_block", "priority", "tiers", "distinct_images")
_SHOWN_OF_ITEM = ("item_id", "parent_model", "subject_id", "verdict", "rule", "priority", "tiers", "decided_by")


@click.command()
@click.option("--source", help="directory:PATH or manifest:PATH [LIKENESS_SOURCE, or `source` in likeness.toml].")
@click.option("--day", callback=parse_day, help="Only items received on this UTC day.")
@click.option("--all", "everything", is_flag=True, help="All days (the default).")
@click.option(
    "--retry",
    is_flag=False,
    flag_value=_EVERY_REASON,
    metavar="[REASON]",
    help="First ask again for items whose status is settled: of this reason (format, missing), or all of them.",
)
@click.option("--backfill", "with_backfill", is_flag=True, help="After a change of pack: then embed old items again.")
@command_options
def sweep(
    environment: Environment,
    as_json: bool,
    source: str | None,
    day: date | None,
    everything: bool,
    retry: str | None,
    with_backfill: bool,
) -> None:
    """Compare new items with everybody in the registry. Repeat it after an interruption: it goes on where it was."""
    from pipelines.cli.models import fail_if_incomplete
    from pipelines.intake.ledger import Scope, source_id
    from pipelines.intake.retries import ask_again
    from pipelines.runs.backfill import backfill as run_backfill
    from pipelines.runs.backfill import backfill_templates
    from pipelines.runs.sweep import configured_source
    from pipelines.runs.sweep import sweep as run_sweep

    if day and everything:
        raise click.UsageError("--day and --all exclude each other")
    with opened(environment) as workspace:
        uri = configured_source(workspace, source)
        if retry is not None:
            scope = Scope(source_id(uri), day)
            asked = ask_again(workspace, scope.where(), reason=None if retry == _EVERY_REASON else retry, actor=actor())
            say(f"{asked} settled items are asked for again", err=True)
        with progress(as_json) as report:
            if with_backfill:  # first what new items need, last what is only old
                backfill_templates(workspace, actor=actor(), progress=report)
            summary = run_sweep(workspace, uri, day=day, progress=report)
        if not (as_json and with_backfill):
            emit(summary, as_json=as_json)
        if not with_backfill:
            _say_what_is_left(workspace, summary)
            return
        with progress(as_json) as report:
            backfilled = run_backfill(workspace, actor=actor(), progress=report)
    emit(to_plain(summary) | {"backfill": to_plain(backfilled)} if as_json else backfilled, as_json=as_json)
    fail_if_incomplete(backfilled)


def warn_if_outgrown(workspace: Workspace) -> None:
    """Warn that the gallery has outgrown its calibration, so that more false matches are to be expected."""
    from pipelines.calibration.fit import read_fit

    with workspace.database.read() as connection:
        fit = read_fit(connection, workspace)
    if fit.outgrown:
        say(f"warning: {fit.remark}", err=True)


def _say_what_is_left(workspace: Workspace, summary: SweepSummary) -> None:
    from pipelines.runs.backfill_progress import read_backfill

    _say_what_was_listed(summary)
    warn_if_outgrown(workspace)
    config = workspace.config.sweep
    for count, share, what in (
        (summary.fetch_failed, config.max_fetch_failed_rate, "could not be fetched"),
        (summary.unscannable, config.max_unscannable_rate, "could not be read"),
    ):
        if summary.items >= config.min_items_for_rates and count > share * summary.items:
            say(f"warning: {count} of {summary.items} items {what}: is the source in order?", err=True)
    if summary.unsettled:
        text = "gave nothing and will be asked for again by later sweeps: see sweep.retry_hours"
        say(f"{summary.unsettled} items {text}", err=True)
    if summary.scanner_faults:
        say(
            f"{summary.scanner_faults} items made the scanner fail and were not looked at: see `likeness status`, and "
            "the log for what it raised",
            err=True,
        )
    with workspace.database.read() as connection:
        left = read_backfill(connection, model_id=workspace.model_id)
    if left.due:
        say(
            f"a backfill is due: {left.items_outdated} items and {left.subjects_missing} subjects have vectors of "
            "earlier models, whose results stand until then: run `likeness models backfill`",
            err=True,
        )
    elif summary.coverage < 1 or summary.unexamined or summary.unpooled:
        say("some items are not compared with everybody yet: run `likeness rescan --pending`", err=True)


def _say_what_was_listed(summary: SweepSummary) -> None:
    """Say which listed rows changed nothing, or could not be read."""
    words = {
        "older": "older than what is known",
        "deletion_stands": "of a deleted item, without saying that it is not",
        "repeated": "a state that the item has left behind",
    }
    passed = ", ".join(f"{count} {words[reason]}" for reason, count in summary.passed_over.items())
    if passed:
        say(
            f"{sum(summary.passed_over.values())} listed rows were passed over: {passed}; see docs/sources.md", err=True
        )
    if summary.bad_fields or summary.undated:
        fields = ", ".join(f"{name} {count}" for name, count in summary.bad_fields.items())
        say(
            f"warning: {summary.undated} listed rows have no date that can be read"
            + (f", and fields could not be read: {fields}" if fields else "")
            + "; `likeness source check` says which",
            err=True,
        )


@click.command()
@click.option("--request", "request_id", help="Only this request's subject.")
@click.option("--pending", is_flag=True, help="Every subject not compared with everything yet (the default).")
@command_options
def rescan(environment: Environment, as_json: bool, request_id: str | None, pending: bool) -> None:
    """Compare new subjects with everything on the platform. Resumes by shard."""
    from pipelines.runs.rescan import rescan as run_rescan

    if request_id and pending:
        raise click.UsageError("--request and --pending exclude each other")
    with opened(environment) as workspace:
        with progress(as_json) as report:
            summary = run_rescan(workspace, request_id=request_id, progress=report)
        warn_if_outgrown(workspace)
    emit(summary, as_json=as_json)


_UNDER_HITS = {
    "show": Place("decisions", "show_hit", "Show everything that explains one hit, in force or not."),
}


@click.group(cls=LazyGroup, places=_UNDER_HITS, invoke_without_command=True)
@click.option("--subject", "subject_id", help="Only hits of this subject.")
@click.option("--item", "item_id", help="Only hits of this item.")
@click.option("--parent-model", help="Only hits of this model's pictures.")
@click.option("--uploader", help="Only hits of this uploader's items.")
@click.option("--tier", type=click.Choice(TIERS), help="Only evidence of this tier.")
@click.option("--band", type=click.Choice(["strong", "review"]), help="Only hits in this band.")
@click.option("--day", callback=parse_day, help="Only items received on this UTC day.")
@click.option("--verdict", type=click.Choice(["takedown", "review", "clear"]), help="Only hits with this verdict.")
@click.option("--rule", type=click.Choice(RULES), help="Only hits whose verdict is by this rule.")
@click.option("--undecided", is_flag=True, help="Only hits that nobody has confirmed or rejected.")
@click.option("--limit", type=COUNT, help="At most so many, the strongest.")
@command_options
def hits(environment: Environment, as_json: bool, **chosen: Any) -> None:
    """List hits in force, faces first, the strongest first. --json gives every field that explains them.

    `strength` is one scale for all tiers, 0 to 1: a face from 0.5 at its threshold to 1, below that copies of what was
    confirmed, names in headers, names in texts. What a second network denies comes last, unless the policy says
    otherwise. `likeness hits show HIT` explains one.
    """
    from pipelines.hits.listing import list_hits

    if click.get_current_context().invoked_subcommand is not None:
        return
    with opened(environment) as workspace, workspace.database.read() as connection:
        rank = workspace.policy.settings.second_opinion.rank
        found = list_hits(connection, **chosen, denied_last=rank)
    if as_json:
        emit(found, as_json=True)
    else:
        emit([{name: row[name] for name in _SHOWN} for row in to_plain(found)], as_json=False)


@click.command()
@click.option("--model", "of_models", is_flag=True, help="Verdicts on models instead of on items.")
@click.option("--subject", "subject_id", help="Only verdicts about this subject.")
@click.option(
    "--verdict", help="Only this verdict: takedown, review, clear; of a model likeness_model, suspected, clear."
)
@command_options
def verdicts(
    environment: Environment, as_json: bool, of_models: bool, subject_id: str | None, verdict: str | None
) -> None:
    """List verdicts in force on items, or on models, the most pressing first."""
    from pipelines.hits.verdicts import list_model_verdicts, list_verdicts

    known = ("likeness_model", "suspected", "clear") if of_models else ("takedown", "review", "clear")
    if verdict is not None and verdict not in known:
        raise click.UsageError(f"--verdict is one of {', '.join(known)} here")
    with opened(environment) as workspace, workspace.database.read() as connection:
        reading = list_model_verdicts if of_models else list_verdicts
        found = reading(connection, subject_id=subject_id, verdict=verdict)
    shown = _SHOWN_OF_MODEL if of_models else _SHOWN_OF_ITEM
    rows = to_plain(found)
    emit(rows if as_json else [{name: row[name] for name in shown} for row in rows], as_json=as_json)
