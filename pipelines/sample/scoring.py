"""Compares statuses, evidence and verdicts of the sample platform with what was planted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.in_force import is_in_force
from pipelines.database.tables import items, subjects, verdicts
from pipelines.database.times import moment
from pipelines.hits.counting import key_of_item
from pipelines.hits.listing import TIERS, list_hits
from pipelines.hits.verdicts import list_model_verdicts
from pipelines.home.workspace import Workspace
from pipelines.sample.truth import Phase, SamplePlatform

_Pair = tuple[str, str]
"""Item id (or model) and label."""


@dataclass(frozen=True, slots=True)
class Count:
    """How often something was planted and found, and how often both."""

    planted: int
    found: int
    right: int

    @property
    def recall(self) -> float:
        """Share of planted things that were found."""
        return self.right / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        """Share of found things that were planted."""
        return self.right / self.found if self.found else 1.0


@dataclass(frozen=True, slots=True)
class Score:
    """One phase of the sample. ``wrong`` names cases.

    ``evidence``: (item, person) pairs with a hit; ``tiers`` and ``rules``: these pairs by tier and by the rule of the
    verdict; ``models``: (model, person) pairs by verdict; ``blocks``: those among them that block the generator.
    """

    phase: Phase
    statuses: dict[str, int]
    evidence: Count
    tiers: dict[str, Count]
    rules: dict[str, Count]
    verdicts: dict[str, Count]
    models: dict[str, Count]
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """What the database holds: by pair, the tiers; the verdict, its rule and whether it is urgent; the model's
    verdict."""

    statuses: dict[str, str]
    tiers: dict[_Pair, frozenset[str]]
    rules: dict[_Pair, tuple[str, str, bool]]
    models: dict[_Pair, tuple[str, str, bool]]


def score_phase(workspace: Workspace, platform: SamplePlatform, phase: Phase, labels: Mapping[str, str]) -> Score:
    """Score the database against the truth after ``phase``; ``labels``: subject id -> label."""
    with workspace.database.read() as connection:
        found = _read(connection, labels)
    truth = {upload.item_id: upload.expected[phase] for upload in platform.planted}
    planted = _Found(
        statuses={item_id: wanted.status for item_id, wanted in truth.items()},
        tiers={
            (key, label): frozenset(truth[key].findings[label].tiers) for key in truth for label in truth[key].subjects
        },
        rules={
            (item_id, label): (finding.verdict, finding.rule, finding.mature)
            for item_id, wanted in truth.items()
            for label, finding in wanted.findings.items()
        },
        models={pair: (said.verdict, said.rule, said.block) for pair, said in platform.models[phase].items()},
    )
    names = {upload.item_id: upload.case for upload in platform.planted}
    by_tier = [{(*pair, tier) for pair, tiers in one.tiers.items() for tier in tiers} for one in (planted, found)]
    return Score(
        phase=phase,
        statuses=dict(sorted(Counter(value.partition(":")[0] for value in found.statuses.values()).items())),
        evidence=_count(planted.tiers, found.tiers),
        tiers={tier: _count(*({one for one in of if one[2] == tier} for of in by_tier)) for tier in TIERS},
        rules=_by(planted.rules, found.rules, 1),
        verdicts=_by(planted.rules, found.rules, 0),
        models=_by(planted.models, found.models, 0)
        | {"generator.block": _by(planted.models, found.models, 2).get("True", Count(0, 0, 0))},
        wrong=tuple(_differences(planted, found, names)),
    )


def _read(connection: Connection, labels: Mapping[str, str]) -> _Found:
    tiers: dict[_Pair, set[str]] = {}
    for hit in list_hits(connection):
        tiers.setdefault((hit.item_id, labels[hit.subject_id]), set()).add(hit.tier)
    # All verdicts, not only those in force: a rejection of everything is a verdict as well.
    query = (
        sa.select(verdicts)
        .join(items, sa.and_(items.c.item_id == verdicts.c.item_id, key_of_item() == verdicts.c.content_key))
        .join(subjects, sa.and_(subjects.c.subject_id == verdicts.c.subject_id, is_in_force(moment(connection))))
        .where(items.c.live)
    )
    return _Found(
        statuses={row.item_id: row.status for row in connection.execute(sa.select(items).where(items.c.live))},
        tiers={pair: frozenset(of_pair) for pair, of_pair in tiers.items()},
        rules={
            (row.item_id, labels[row.subject_id]): (row.verdict, row.rule, row.priority >= 2)
            for row in connection.execute(query)
        },
        models={
            (one.model, labels[one.subject_id]): (one.verdict, one.rule, one.generator_block)
            for one in list_model_verdicts(connection)
        },
    )


def _count(planted: Iterable[object], found: Iterable[object]) -> Count:
    wanted, got = set(planted), set(found)
    return Count(len(wanted), len(got), len(wanted & got))


def _by(
    planted: Mapping[_Pair, tuple[str, str, bool]], found: Mapping[_Pair, tuple[str, str, bool]], part: int
) -> dict[str, Count]:
    """Count pairs by one part of their verdict."""
    both = [{(pair, str(said[part])) for pair, said in of.items()} for of in (planted, found)]
    words = sorted({word for of in both for _, word in of})
    return {word: _count(*({one for one in of if one[1] == word} for of in both)) for word in words}


def _differences(planted: _Found, found: _Found, names: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for each difference."""
    for item_id in sorted(planted.statuses.keys() | found.statuses.keys()):
        if item_id not in names:
            yield f"{item_id}: listed, but never planted"
        elif planted.statuses[item_id] != found.statuses.get(item_id):
            yield f"{names[item_id]}: status {found.statuses.get(item_id)}, expected {planted.statuses[item_id]}"
    for what, wanted, got in (
        ("evidence", _in_words(planted.tiers), _in_words(found.tiers)),
        ("verdict", _said(planted.rules, "mature"), _said(found.rules, "mature")),
        ("model", _said(planted.models, "blocked"), _said(found.models, "blocked")),
    ):
        for pair in sorted(wanted.keys() | got.keys()):
            if wanted.get(pair) != got.get(pair):
                name = names.get(pair[0], pair[0])
                yield f"{name} and {pair[1]}: {what} {got.get(pair)}, expected {wanted.get(pair)}"


def _in_words(tiers: Mapping[_Pair, frozenset[str]]) -> dict[_Pair, str]:
    return {pair: " ".join(sorted(of_pair)) for pair, of_pair in tiers.items()}


def _said(said: Mapping[_Pair, tuple[str, str, bool]], mark: str) -> dict[_Pair, str]:
    return {
        pair: f"{verdict} by {rule}" + (f", {mark}" if marked else "") for pair, (verdict, rule, marked) in said.items()
    }
