"""The command line: a thin skin over the library. ``likeness --help`` lists what there is."""

from __future__ import annotations

import click

from pipelines.cli import (
    calibration,
    content,
    decisions,
    models,
    operations,
    policy,
    registry,
    scanning,
    statements,
)
from pipelines.cli.spoken import PlainSpokenGroup, prepare_streams


@click.group(cls=PlainSpokenGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="likeness")
def main() -> None:
    """Scan a model-sharing platform for the faces of people who opted out.

    State lives under LIKENESS_HOME (--home), settings in likeness.toml (--config), keys and the takedown service's
    address in the environment. Exit codes: 0 done, 1 failed, 2 usage.
    """
    prepare_streams()


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
    operations.status,
    operations.verify,
):
    main.add_command(command)
scanning.hits.add_command(decisions.show_hit)
