"""``likeness concepts`` and ``likeness search``: what pictures show, beside faces."""

from __future__ import annotations

from pathlib import Path

import click

from pipelines.cli.console import COUNT, actor, command_options, emit, opened, progress, say, to_plain
from pipelines.cli.private_text import STDIN, read_text
from pipelines.policy.concept_list import load_concepts
from pipelines.scan.concept_scores import concept_coverage, list_scores
from pipelines.scan.concepts import apply_concepts
from pipelines.scan.search import search_image, search_text
from pipelines.settings.environment import Environment


@click.group()
def concepts() -> None:
    """The concepts that every picture is scored for: the list, its scores, and scoring anew."""


@concepts.command("list")
@command_options
def list_concepts(environment: Environment, as_json: bool) -> None:
    """List the concepts in force: what is asked, from which score on, and what follows."""
    with opened(environment) as workspace:
        coverage = concept_coverage(workspace)
        listed = workspace.concept_list
    rows = [
        {
            "concept": name,
            "prompts": len(entry.prompts),
            "weight": entry.weight,
            "threshold": entry.threshold,
            "against": list(entry.against) or "neutral",
            "frames": entry.frames,
            "level": entry.level,
        }
        for name, entry in listed.settings.concepts.items()
    ]
    if as_json:
        emit({"version": listed.version, "concepts": rows} | to_plain(coverage), as_json=True)
        return
    emit(rows, as_json=False)
    say(
        f"version {listed.version}: {coverage.scored} contents scored, {coverage.due} with vectors still to be scored",
        err=True,
    )


@concepts.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@command_options
def check(environment: Environment, as_json: bool, file: Path) -> None:
    """Read FILE as a list of concepts, and say what is wrong with it. Changes nothing and needs no home."""
    del environment
    listed = load_concepts(file)
    neutral = list(listed.settings.neutral)
    texts = sum(len(group) for group in listed.texts())
    facts = {"version": listed.version, "concepts": list(listed.names), "neutral": neutral, "texts": texts}
    emit(facts, as_json=as_json)


@concepts.command()
@command_options
def apply(environment: Environment, as_json: bool) -> None:
    """Score stored vectors that the list in force was not applied to. A sweep does so as well; safe to interrupt."""
    with opened(environment) as workspace, progress(as_json) as report:
        counts = apply_concepts(workspace, progress=report)
    emit(counts, as_json=as_json)


@concepts.command()
@click.argument("concept")
@click.option("--limit", default=100, show_default=True, type=COUNT, help="Items at most, best first.")
@click.option("--at-most", type=float, help="Only scores up to this one: for looking around a threshold.")
@command_options
def scores(environment: Environment, as_json: bool, concept: str, limit: int, at_most: float | None) -> None:
    """List live items by their score for CONCEPT: what a threshold is chosen by."""
    with opened(environment) as workspace:
        found = list_scores(workspace, concept, limit=limit, at_most=at_most)
    emit(found, as_json=as_json)


@click.command()
@click.argument("text", required=False)
@click.option("--text-file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="A file with TEXT.")
@click.option("--image", type=click.Path(path_type=Path, dir_okay=False), help="Search by this picture instead.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Contents at most.")
@command_options
def search(
    environment: Environment, as_json: bool, text: str | None, text_file: Path | None, image: Path | None, limit: int
) -> None:
    """List the live items whose pictures show what TEXT describes, nearest first. Needs CLIP weights.

    With - as TEXT it is read from standard input, so that it stays out of the shell's history. What was searched for is
    not kept; that somebody searched is an audit row.
    """
    if sum(given is not None for given in (text, text_file, image)) != 1:
        raise click.UsageError("give a text, --text-file FILE or --image FILE, and one of them")
    if text == STDIN or text_file is not None:
        text = read_text("TEXT" if text else "--text-file", str(text_file or STDIN))
    with opened(environment) as workspace, progress(as_json) as report:
        if image is not None:
            with image.open("rb") as file:
                data = file.read(workspace.limits.max_bytes + 1)
            result = search_image(workspace, data, limit=limit, actor=actor(), progress=report)
        else:
            result = search_text(workspace, str(text), limit=limit, actor=actor(), progress=report)
    if as_json:
        emit(result, as_json=True)
        return
    emit(to_plain(result.found), as_json=False)
    if result.contents_missing:
        say(f"{result.contents_missing} contents have no vectors by these weights: not searched", err=True)
