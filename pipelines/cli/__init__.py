"""The command line: a thin skin over the library. ``likeness --help`` lists what there is."""

from __future__ import annotations

import sys

import click

from pipelines.cli import (
    calibration,
    clock,
    content,
    decisions,
    models,
    operations,
    policy,
    registry,
    scanning,
    statements,
)
from pipelines.cli.spoken import report_unforeseen
from pipelines.cli.typed import CheckedGroup


@click.group(cls=CheckedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="likeness")
def main() -> None:
    """Scan a model-sharing platform for the faces of people who opted out.

    State lives under LIKENESS_HOME (--home), settings in likeness.toml (--config), keys and the takedown service's
    address in the environment. Exit codes: 0 done, 1 failed, 2 usage.
    """
    sys.excepthook = report_unforeseen


for command in (
    operations.init,
    registry.subject,
    registry.request,
    scanning.sweep,
    scanning.rescan,
    scanning.hits,
    scanning.verdicts,
    decisions.decide,
    decisions.decisions,
    decisions.look,
    statements.statement,
    statements.transparency,
    content.search,
    content.concepts,
    models.models,
    calibration.calibrate,
    calibration.calibration,
    policy.policy,
    operations.dispatch,
    operations.reconcile,
    operations.receiver,
    operations.report,
    operations.compact,
    clock.clock,
    operations.status,
    operations.verify,
    operations.restore,
):
    main.add_command(command)
scanning.hits.add_command(decisions.show_hit)
