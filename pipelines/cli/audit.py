"""``likeness audit``: who did what, and the chain as a file that can be checked."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final

import click

from pipelines.cli.console import COUNT, actor, command_options, emit, opened, parse_day, say
from pipelines.home.audit_export import require_format
from pipelines.settings.environment import Environment

_SHOWN_AT_ONCE: Final = 200
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def audit() -> None:
    """The chain of what people and programs did."""


@audit.command("list")
@click.option("--since", callback=parse_day, help="Only from this UTC day on.")
@click.option("--until", callback=parse_day, help="Only to the end of this UTC day.")
@click.option("--actor", "who", help="Only by this account (its name or uid:N) or this name.")
@click.option("--action", help="Only this action, such as subject.view, or all of subject.")
@click.option("--subject", "subject_id", help="Only about this subject.")
@click.option("--limit", type=COUNT, help=f"At most so many [{_SHOWN_AT_ONCE}; with --json all].")
@command_options
def list_command(
    environment: Environment,
    as_json: bool,
    since: date | None,
    until: date | None,
    who: str | None,
    action: str | None,
    subject_id: str | None,
    limit: int | None,
) -> None:
    """List rows of the audit chain, the newest first."""
    from pipelines.home.audit_export import list_audit

    most = limit or (None if as_json else _SHOWN_AT_ONCE)
    with opened(environment) as workspace, workspace.database.read() as connection:
        chosen = {"since": since, "until": until}
        more = None if most is None else min(most + 1, 2**31 - 1)
        found = list_audit(connection, **chosen, actor=who, action=action, subject_id=subject_id, limit=more)
    emit(found[:most], as_json=as_json)
    if most is not None and len(found) > most:
        say(f"these are the newest {most}: there are more, see --limit", err=True)


@audit.command("export")
@click.argument("file", type=_FILE)
@click.option("--overwrite", is_flag=True, help="Replace the file if there is one.")
@command_options
def export_command(environment: Environment, as_json: bool, file: Path, overwrite: bool) -> None:
    """Write the whole chain with its MACs to a new file that only its owner can read: .jsonl, or .csv."""
    from pipelines.home.audit_export import export_audit

    require_format(file)
    with opened(environment) as workspace:
        rows = export_audit(workspace, file, actor=actor(), overwrite=overwrite)
    emit({"file": file, "rows": rows}, as_json=as_json)


@audit.command("check")
@click.argument("file", type=_FILE)
@command_options
def check_command(environment: Environment, as_json: bool, file: Path) -> None:
    """Check an exported file: every MAC, the end, and that it is of this home."""
    from pipelines.home.audit_export import check_export

    require_format(file)
    with opened(environment) as workspace:
        emit({"file": file, "holds": check_export(workspace, file)}, as_json=as_json)
