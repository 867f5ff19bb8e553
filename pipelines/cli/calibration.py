"""``likeness calibrate`` and ``likeness calibration``: thresholds from labelled photographs, and which are in force."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

import click

from embeddings.errors import StateError
from pipelines.calibration.fit import read_fit
from pipelines.calibration.labels import Labels, read_folder, read_pairs, with_groups
from pipelines.calibration.measure import Aim, Measured, measure_labels, stop_using, use_anyway
from pipelines.calibration.measure import use as put_in_force
from pipelines.calibration.plot import draw_det
from pipelines.cli.console import (
    COUNT,
    actor,
    command_options,
    emit,
    opened,
    progress,
    say,
    to_plain,
)
from pipelines.cli.measurements import explain_refusal, print_calibration
from pipelines.home.calibrations import (
    Calibration,
    calibration_in_force,
    list_calibrations,
    read_calibration,
)
from pipelines.home.private_files import publish, require_writable
from pipelines.home.workspace import Workspace
from pipelines.settings.environment import Environment
from pipelines.text.spreadsheets import neutralised

_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.option(
    "--pairs", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="CSV with a,b,same[,group] of paths."
)
@click.option(
    "--impostors",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder with a subfolder, or a photograph, for each person.",
)
@click.option(
    "--groups",
    "groups",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="With --impostors: CSV with person,group of the names in the folder.",
)
@click.option(
    "--worst-pairs",
    "worst_pairs",
    type=click.Path(path_type=Path, dir_okay=False),
    help="New CSV, for your eyes, with the files of the most alike pairs of different people.",
)
@click.option("--fpir", type=_SHARE, help="Target at the review threshold [calibration.fpir].")
@click.option("--strong-fpir", type=_SHARE, help="Target at the strong threshold [calibration.strong_fpir].")
@click.option("--confidence", type=click.FloatRange(0.5, 1, min_open=True, max_open=True), help="Of the bounds [0.95].")
@click.option("--gallery", type=COUNT, help="Templates to calibrate for [those in the registry now].")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="New PNG [HOME/calibrations/ID.png].")
@click.option("--overwrite", is_flag=True, help="Replace the files of --plot and --worst-pairs if there are any.")
@click.option("--use", is_flag=True, help="Put it in force at once; see `likeness calibration use`.")
@command_options
def calibrate(
    environment: Environment,
    as_json: bool,
    pairs: Path | None,
    impostors: Path | None,
    groups: Path | None,
    worst_pairs: Path | None,
    fpir: float | None,
    strong_fpir: float | None,
    confidence: float | None,
    gallery: int | None,
    plot: Path | None,
    overwrite: bool,
    use: bool,
) -> None:
    """Measure error rates on labelled photographs, and the thresholds for a false positive identification rate.

    Exit code 1 when the data cannot support a threshold that was asked for: the rates are printed and stored, the
    threshold is not. --worst-pairs names files, so that people who are there twice, or under a wrong name, are found;
    nothing of it is stored.
    """
    if (pairs is None) == (impostors is None):
        raise click.UsageError("give either --pairs or --impostors")
    if groups is not None and impostors is None:
        raise click.UsageError("--groups goes with --impostors: a list of pairs has a column group")
    for file in (plot, worst_pairs):
        if file is not None:
            require_writable(file, overwrite=overwrite)
    labels = read_pairs(pairs) if pairs else read_folder(impostors or Path())
    labels = with_groups(labels, impostors, groups) if groups and impostors else labels
    with opened(environment) as workspace, progress(as_json) as report:
        given = workspace.config.calibration
        aim = Aim(fpir or given.fpir, strong_fpir or given.strong_fpir, confidence or given.confidence, gallery)
        measured = measure_labels(workspace, labels, aim, actor=actor(), progress=report)
        found = measured.calibration
        if worst_pairs is not None:
            write_worst_pairs(worst_pairs, measured, labels, overwrite=overwrite)
        picture = write_plot(workspace, found, plot, overwrite=overwrite)
        refusal = _use(workspace, found) if use and found.complete else None
    _show(found, picture, in_force=use and found.complete and refusal is None, as_json=as_json)
    if refusal is not None:
        raise refusal
    if not found.complete:
        explain_refusal(found)
        sys.exit(1)
    if use:
        say("in force; compare what it newly reaches: likeness rescan --pending", err=True)


def _show(found: Calibration, picture: Path, *, in_force: bool, as_json: bool) -> None:
    """Show what was measured, and whether it is in force."""
    if as_json:
        emit(to_plain(found) | {"complete": found.complete, "in_force": in_force, "plot": str(picture)}, as_json=True)
    else:
        print_calibration(found, picture)


def _use(workspace: Workspace, found: Calibration) -> StateError | None:
    """Put a calibration in force, or return the error, to be shown after the measurements."""
    try:
        put_in_force(workspace, found.calibration_id, actor=actor())
    except StateError as error:
        return error
    _warn_of_bands(workspace, found)
    return None


@click.group()
def calibration() -> None:
    """Stored calibrations, and which one is in force."""


@calibration.command("list")
@command_options
def list_command(environment: Environment, as_json: bool) -> None:
    """List calibrations, oldest first."""
    with opened(environment) as workspace, workspace.database.read() as connection:
        current = calibration_in_force(connection, workspace.sealer, model_id=workspace.model_id)
        rows = [
            {
                "calibration_id": found.calibration_id,
                "in_force": current is not None and found.calibration_id == current.calibration_id,
                "created_at": found.created_at,
                "model_id": found.model_id,
                "impostors": found.impostors,
                "mated": found.mated,
                "templates": found.templates,
                "review": found.review.point.threshold,
                "strong": found.strong.point.threshold,
            }
            for found in list_calibrations(connection, workspace.sealer)
        ]
    emit(rows, as_json=as_json)


@calibration.command("show")
@click.argument("calibration_id", metavar="ID")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="New PNG [HOME/calibrations/ID.png].")
@click.option("--overwrite", is_flag=True, help="Replace the file of --plot if there is one.")
@command_options
def show_command(
    environment: Environment, as_json: bool, calibration_id: str, plot: Path | None, overwrite: bool
) -> None:
    """Show one calibration, and write its plot again."""
    if plot is not None:
        require_writable(plot, overwrite=overwrite)
    with opened(environment) as workspace:
        with workspace.database.read() as connection:
            found = read_calibration(connection, workspace.sealer, calibration_id)
        picture = write_plot(workspace, found, plot, overwrite=overwrite)
    if as_json:
        emit(to_plain(found) | {"complete": found.complete, "plot": str(picture)}, as_json=True)
    else:
        print_calibration(found, picture)


@calibration.command("use")
@click.argument("calibration_id", metavar="ID")
@click.option("--anyway", is_flag=True, help="For a larger gallery than it bears: two people have to say so.")
@command_options
def use_command(environment: Environment, as_json: bool, calibration_id: str, anyway: bool) -> None:
    """Put a calibration in force. A lower review threshold makes everything compared again by the next rescan.

    Refused where the registry has more templates than it bears. What only the calibration before it caused is
    withdrawn.
    """

    def change(workspace: Workspace) -> None:
        used = use_anyway(workspace, calibration_id, actor=actor(), anyway=anyway)
        if used.in_force:
            _warn_of_bands(workspace, used.calibration)
        else:
            say("put on record, and nothing is in force by it: a second person has to say the same", err=True)

    _change(environment, as_json, change)


@calibration.command("background")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True), required=False)
@click.option("--fpir", type=_SHARE, help="Target at the review threshold [calibration.fpir].")
@click.option("--strong-fpir", type=_SHARE, help="Target at the strong threshold [calibration.strong_fpir].")
@click.option("--confidence", type=click.FloatRange(0.5, 1, min_open=True, max_open=True), help="Of the bounds [0.95].")
@click.option("--gallery", type=COUNT, help="Templates it is for [twice those in the registry now].")
@click.option("--platform", is_flag=True, help="By faces of different uploaders here, of which nothing is kept.")
@click.option("--no-use", is_flag=True, help="Measure, and put nothing in force.")
@click.option("--forget", is_flag=True, help="Delete the stored vectors instead.")
@command_options
def background_command(
    environment: Environment,
    as_json: bool,
    folder: Path | None,
    fpir: float | None,
    strong_fpir: float | None,
    confidence: float | None,
    gallery: int | None,
    platform: bool,
    no_use: bool,
    forget: bool,
) -> None:
    """Calibrate by a folder of strangers from your platform, a subfolder or a photograph each, and keep their vectors.

    The thresholds are put in force unless others were calibrated by labelled photographs or --no-use is given, and
    follow the registry from then on. Without a folder the stored vectors are measured again. From then on `subject add`
    says how many of these strangers a person would be taken for. No such cohort is packaged: see docs/calibration.md.
    """
    from pipelines.calibration import background as cohorts
    from pipelines.calibration import platform as own_platform

    if (folder is not None) + platform + forget > 1:
        raise click.UsageError("give a folder, --platform or --forget")
    if forget and no_use:
        raise click.UsageError("--no-use goes with what is measured, and --forget measures nothing")
    labels = read_folder(folder) if folder else None
    with opened(environment) as workspace, progress(as_json) as report:
        if forget:
            emit({"forgotten": cohorts.forget_cohort(workspace)}, as_json=as_json)
            return
        given = workspace.config.calibration
        aim = Aim(fpir or given.fpir, strong_fpir or given.strong_fpir, confidence or given.confidence, gallery)
        if platform:
            measured = cohorts.calibrate_platform(workspace, aim, actor=actor())
        elif labels:
            measured = cohorts.calibrate_background(workspace, labels, aim, actor=actor(), progress=report)
        else:
            measured = cohorts.refit_background(workspace, aim, actor=actor())
        found = measured.calibration
        picture = write_plot(workspace, found, None, overwrite=True)
        usable = found.has_thresholds(workspace.policy.thresholds_or_none(workspace.pack_name))
        wanted = usable and not no_use and cohorts.may_be_put_in_force(workspace)
        refusal = _use(workspace, found) if wanted else None
    in_force = wanted and refusal is None
    _show(found, picture, in_force=in_force, as_json=as_json)
    say(f"warning: {own_platform.WARNING if platform else cohorts.WARNING}", err=True)
    if refusal is not None:
        raise refusal
    if not usable:
        explain_refusal(found)
        sys.exit(1)
    if not found.complete:
        say("warning: no strong threshold follows: the published one, or that of review if higher, is strong", err=True)
    say(_why_in_force(found, in_force=in_force, no_use=no_use), err=True)


def _why_in_force(found: Calibration, *, in_force: bool, no_use: bool) -> str:
    if no_use:
        return f"not in force; put it in force: likeness calibration use {found.calibration_id}"
    return "in force" if in_force else "not in force: another calibration is, by labelled photographs"


@calibration.command("stop")
@command_options
def stop_command(environment: Environment, as_json: bool) -> None:
    """Go back to the thresholds that the pack's publisher states.

    What only the calibration caused is withdrawn: hits below those thresholds count no more, and messages that rest on
    them alone are taken back, unsent and delivered ones.
    """

    def change(workspace: Workspace) -> None:
        stop_using(workspace, actor=actor())

    _change(environment, as_json, change)


def write_plot(workspace: Workspace, found: Calibration, path: Path | None, *, overwrite: bool) -> Path:
    """Draw a calibration into a file and return its path; the plot in the home folder is always replaced."""
    target = path or workspace.home / "calibrations" / f"{found.calibration_id}.png"
    picture = draw_det(found)
    if path is None:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    publish(target, lambda file: file.write(picture), overwrite=overwrite or path is None)
    return target


def write_worst_pairs(path: Path, measured: Measured, labels: Labels, *, overwrite: bool) -> None:
    """Write the most alike impostor pairs into a CSV that only its owner can read: score, band and the two files."""
    own = measured.calibration
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["score", "band", "a", "b"])
    for left, right, score in measured.worst:
        names = (neutralised(str(labels.paths[at])) for at in (left, right))
        writer.writerow([f"{score:.4f}", _band(score, own), *names])
    publish(path, lambda file: file.write(text.getvalue().encode()), overwrite=overwrite)


def _band(score: float, own: Calibration) -> str:
    """Say what a score would be called by the thresholds that were measured."""
    for name, point in (("strong", own.strong.point), ("review", own.review.point)):
        if point.threshold is not None and score >= point.threshold:
            return name
    return "below"


def _change(environment: Environment, as_json: bool, change: Callable[[Workspace], None]) -> None:
    """Make a change of what is in force, and show the result."""
    with opened(environment) as workspace:
        change(workspace)
        with workspace.database.read() as connection:
            fit = read_fit(connection, workspace)
    emit(to_plain(fit) | {"outgrown": fit.outgrown}, as_json=as_json)


def _warn_of_bands(workspace: Workspace, found: Calibration) -> None:
    if workspace.thresholds.calibration_id != found.calibration_id:
        say("warning: the policy has bands for this pack, which go before any calibration", err=True)
