"""Simulates another policy on the stored evidence before it is adopted, and lists how two policies differ.

Reads only. Adopting a policy undoes no takedown that stands, so items that it would no longer take down are listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.parts import parts
from pipelines.database.tables import hits, model_verdicts, shards, verdicts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.judging.evidence import Group, groups_with, weighing
from pipelines.judging.groups import GROUPS_PER_TRANSACTION, judge_groups
from pipelines.policy import Policy


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """A verdict that would change. ``item_id`` names a model where ``of`` is ``model``; ``before`` "": none yet."""

    of: str
    item_id: str
    subject_id: str
    before: str
    after: str
    rule_before: str
    rule_after: str


@dataclass(frozen=True, slots=True)
class Simulation:
    """The verdicts of a policy on past hits. ``by_change``: counts by such as ``item: review -> takedown``.

    ``unseen``: the range from the policy's review threshold to the one by which faces were compared, when it is lower:
    only a rescan would find the hits in it.
    """

    policy_version: str
    in_force: str
    items: int
    models: int
    changed: int
    by_change: dict[str, int]
    by_rule: dict[str, int]
    unseen: tuple[float, float] | None
    changes: tuple[VerdictChange, ...]


def simulate(
    workspace: Workspace,
    policy: Policy,
    *,
    since: datetime | None = None,
    most_listed: int = 100,
    progress: Progress = silent,
) -> Simulation:
    """Judge, by ``policy``, every group with a hit found at or after ``since``, and compare with the verdicts in
    force."""
    found: list[VerdictChange] = []
    judged_items = judged_models = 0
    by_rule: Counter[str] = Counter()
    with workspace.database.read() as connection:
        by = weighing(workspace, connection, policy)
        groups = groups_with(connection, *([hits.c.found_at >= since] if since else []))
        progress("simulate", 0, len(groups))
        for start in range(0, len(groups), GROUPS_PER_TRANSACTION):
            part = groups[start : start + GROUPS_PER_TRANSACTION]
            judged, models = judge_groups(connection, workspace, part, by)
            before = _verdicts(connection, part, sorted({one.item_id for one in judged}))
            by_rule.update(one.judgement.rule for one in judged)
            judged_items, judged_models = judged_items + len(judged), judged_models + len(models)
            after = [
                *(
                    ("item", one.item_id, one.group.subject_id, one.judgement.verdict, one.judgement.rule)
                    for one in judged
                ),
                *(
                    ("model", group.model or "", group.subject_id, one.verdict, one.rule)
                    for group, one in models.items()
                ),
            ]
            found += _changes(before, after)
            progress("simulate", start + len(part), len(groups))
        unseen = _unseen(connection, by.model_id, by.bands.single.review)
    return Simulation(
        policy_version=policy.version,
        in_force=workspace.policy.version,
        items=judged_items,
        models=judged_models,
        changed=len(found),
        by_change=dict(sorted(Counter(f"{one.of}: {one.before or 'none'} -> {one.after}" for one in found).items())),
        by_rule=dict(sorted(by_rule.items())),
        unseen=unseen,
        changes=tuple(found[:most_listed]),
    )


_About = tuple[str, str, str]


def _verdicts(
    connection: Connection, groups: Sequence[Group], item_ids: Sequence[str]
) -> dict[_About, tuple[str, str]]:
    """Return the newest verdict and rule in force, by (of, item or model, subject)."""
    found: dict[_About, tuple[str, str]] = {}
    query = sa.select(verdicts.c.item_id, verdicts.c.subject_id, verdicts.c.verdict, verdicts.c.rule)
    for some in parts(item_ids):
        part = query.where(verdicts.c.item_id.in_(some))
        for row in connection.execute(part.order_by(verdicts.c.judged_at)):
            found["item", row.item_id, row.subject_id] = (row.verdict, row.rule)
    models = sa.select(model_verdicts).where(
        model_verdicts.c.model.in_({group.model for group in groups if group.model})
    )
    for row in connection.execute(models):
        found["model", row.model, row.subject_id] = (row.verdict, row.rule)
    return found


def _changes(
    before: Mapping[_About, tuple[str, str]], after: Sequence[tuple[str, str, str, str, str]]
) -> Iterator[VerdictChange]:
    for of, item_id, subject_id, verdict, rule in after:
        old, old_rule = before.get((of, item_id, subject_id), ("", ""))
        if old != verdict:
            yield VerdictChange(of, item_id, subject_id, old, verdict, old_rule, rule)


def _unseen(connection: Connection, model_id: str, review: float) -> tuple[float, float] | None:
    compared = sa.select(sa.func.max(shards.c.covered_threshold)).where(shards.c.model_id == model_id)
    threshold = connection.execute(compared).scalar()
    return (review, float(threshold)) if threshold is not None and review < threshold else None


def differences(one: Policy, other: Policy) -> dict[str, dict[str, Any]]:
    """Return the entries in which two policies differ: dotted name -> ``{"from": ..., "to": ...}``."""
    left, right = _flat(asdict(one.settings)), _flat(asdict(other.settings))
    names = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    return {name: {"from": left.get(name), "to": right.get(name)} for name in names}


def _flat(entries: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entries.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = sorted(value) if isinstance(value, frozenset) else value
    return flat
