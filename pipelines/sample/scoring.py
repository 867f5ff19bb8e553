"""Compares what the pipeline made of the sample platform with what was planted, and prints the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from pipelines.database.tables import items
from pipelines.hits import list_hits
from pipelines.sample.truth import Expected, PlantedUpload
from pipelines.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Score:
    """One phase of the sample. Recall and precision are over (item, person) pairs; ``wrong`` names cases."""

    phase: str
    statuses: dict[str, int]
    expected_pairs: int
    found_pairs: int
    right_pairs: int
    takedowns: int
    reviews: int
    wrong: tuple[str, ...]

    @property
    def recall(self) -> float:
        """Share of the planted pairs that were found."""
        return self.right_pairs / self.expected_pairs if self.expected_pairs else 1.0

    @property
    def precision(self) -> float:
        """Share of the found pairs that were planted."""
        return self.right_pairs / self.found_pairs if self.found_pairs else 1.0


def score_phase(
    workspace: Workspace,
    phase: str,
    expected: Mapping[str, tuple[PlantedUpload, Expected]],
    labels: Mapping[str, str],
) -> Score:
    """Score the database against ``expected`` (item id -> upload and its truth); ``labels``: subject id -> label."""
    with workspace.database.read() as connection:
        status = {row.item_id: row.status for row in connection.execute(sa.select(items).where(items.c.live))}
        verdicts = {(hit.item_id, labels[hit.subject_id]): hit.verdict for hit in list_hits(connection)}
    truth = {
        (item_id, label): wanted.verdict(label)
        for item_id, (_, wanted) in expected.items()
        for label in wanted.subjects
    }
    wrong = [
        f"{upload.case}: status {status.get(item_id, 'missing')}, expected {wanted.status}"
        for item_id, (upload, wanted) in expected.items()
        if status.get(item_id) != wanted.status
    ]
    wrong += [
        f"{_case(expected, item_id)} and {label}: {verdicts.get((item_id, label), 'no hit')}, "
        f"expected {truth.get((item_id, label), 'no hit')}"
        for item_id, label in sorted(truth.keys() | verdicts.keys())
        if truth.get((item_id, label)) != verdicts.get((item_id, label))
    ]
    wrong += [f"{item_id}: listed, but never planted" for item_id in sorted(status.keys() - expected.keys())]
    return Score(
        phase=phase,
        statuses=dict(sorted(Counter(value.partition(":")[0] for value in status.values()).items())),
        expected_pairs=len(truth),
        found_pairs=len(verdicts),
        right_pairs=len(truth.keys() & verdicts.keys()),
        takedowns=sum(verdict == "takedown" for verdict in verdicts.values()),
        reviews=sum(verdict == "review" for verdict in verdicts.values()),
        wrong=tuple(wrong),
    )


def _case(expected: Mapping[str, tuple[PlantedUpload, Expected]], item_id: str) -> str:
    return expected[item_id][0].case if item_id in expected else item_id


def print_scores(scores: list[Score], facts: Mapping[str, str]) -> None:
    """One table: a column per phase, then the facts, then what came out wrong."""
    console = Console(highlight=False)
    table = Table(title="Sample platform", title_justify="left")
    table.add_column("")
    for score in scores:
        table.add_column(score.phase, justify="right")
    families = sorted({family for score in scores for family in score.statuses})
    rows: list[tuple[str, list[str]]] = [
        ("items", [str(sum(score.statuses.values())) for score in scores]),
        *((f"  {family}", [str(score.statuses.get(family, 0)) for score in scores]) for family in families),
        ("persons in items, planted", [str(score.expected_pairs) for score in scores]),
        ("recall", [f"{score.recall:.3f}" for score in scores]),
        ("precision", [f"{score.precision:.3f}" for score in scores]),
        ("takedown verdicts", [str(score.takedowns) for score in scores]),
        ("review verdicts", [str(score.reviews) for score in scores]),
        ("cases that came out wrong", [str(len(score.wrong)) for score in scores]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    console.print(table)
    for name, value in facts.items():
        console.print(f"{name:<12} {value}", soft_wrap=True, markup=False)
    for score in scores:
        for problem in score.wrong:
            console.print(f"WRONG after {score.phase}: {problem}", style="bold red", markup=False)
