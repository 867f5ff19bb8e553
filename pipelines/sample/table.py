"""Prints the scores of the sample run as one table, then the facts, then what came out wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from pipelines.sample.scoring import Count, Score
from pipelines.sample.truth import Phase

_TITLES: Final[Mapping[Phase, str]] = {
    "nights": "nights",
    "request": "request",
    "decisions": "decisions",
    "poison": "poisoned",
    "withdrawal": "withdrawn",
}


def print_scores(scores: Sequence[Score], facts: Mapping[str, str], problems: Sequence[str]) -> None:
    """Print a column per phase. A single number was planted and found alike; else ``found of planted``."""
    console = Console(highlight=False)
    table = Table(title="Sample platform", title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for score in scores:
        table.add_column(_TITLES[score.phase], justify="right")
    families = sorted({family for score in scores for family in score.statuses})
    table.add_row("items", *(str(sum(score.statuses.values())) for score in scores))
    for family in families:
        table.add_row(f"  {family}", *(str(score.statuses.get(family, 0)) for score in scores))
    table.add_row("persons in items", *(_cell(score.evidence) for score in scores))
    table.add_row("  recall", *(f"{score.evidence.recall:.3f}" for score in scores))
    table.add_row("  precision", *(f"{score.evidence.precision:.3f}" for score in scores))
    _add_group(table, scores, "evidence by tier", lambda score: score.tiers)
    _add_group(table, scores, "verdicts", lambda score: score.verdicts)
    _add_group(table, scores, "verdicts by rule", lambda score: score.rules)
    _add_group(table, scores, "models", lambda score: score.models)
    table.add_row("came out wrong", *(str(len(score.wrong)) for score in scores))
    console.print(table)
    for name, value in facts.items():
        console.print(f"{name:<12} {value}", soft_wrap=True, markup=False)
    wrong = [f"after {_TITLES[score.phase]}: {problem}" for score in scores for problem in score.wrong]
    for problem in (*wrong, *problems):
        console.print(f"WRONG {problem}", style="bold red", markup=False, soft_wrap=True)


def _add_group(
    table: Table, scores: Sequence[Score], title: str, counts: Callable[[Score], Mapping[str, Count]]
) -> None:
    table.add_row(title)
    for word in sorted({word for score in scores for word in counts(score)} - {"False", "True"}):
        table.add_row(f"  {word}", *(_cell(counts(score).get(word, Count(0, 0, 0))) for score in scores))


def _cell(count: Count) -> str:
    return str(count.found) if count.planted == count.found == count.right else f"{count.found} of {count.planted}"
