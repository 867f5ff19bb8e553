"""A home full of rows for the analysts' pages: people, models with pictures, hits, verdicts, decisions. No pixels.

Ids, scores and times are drawn from a seed. The rows are those that a scan and a judgement leave, without templates,
sealed crops and files, so nothing that looks at a picture has one here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from pipelines.database.tables import decisions, hits, items, model_verdicts, subjects, verdicts
from pipelines.home.workspace import Workspace

PER_MODEL: Final = 5
"""Pictures of a model."""
DECIDED: Final = 0.3
"""Share of hits on which somebody has decided."""
_ROWS_AT_ONCE: Final = 5000
_TIERS: Final = ("face", "face", "face", "face", "face", "face", "face", "face", "text", "exact")
_WORDS: Final = ("confirm", "reject", "unsure")
_REASONS: Final = {"confirm": "same_person", "reject": "other_person", "unsure": "low_quality"}


@dataclass(frozen=True, slots=True)
class Filled:
    """What was put in. ``counted``: hits that are in force; ``subject_id`` and ``uploader``: some that have hits."""

    hits: int
    counted: int
    decisions: int
    items: int
    subject_id: str
    uploader: str
    model: str


def fill(workspace: Workspace, *, count: int, people: int, reviewers: int, seed: int = 7) -> Filled:
    """Put ``count`` hits of ``people`` into an empty home, a picture each, ``PER_MODEL`` to a model and an uploader."""
    rng, now = np.random.default_rng(seed), workspace.now()
    rows = list(_rows(workspace, rng, now, count, people, reviewers))
    owners = [
        {
            "subject_id": _person(number),
            "state": "active",
            "version": number + 1,
            "expires_at": now + timedelta(days=365),
            "created_at": now - timedelta(days=200),
        }
        for number in range(people)
    ]
    by_table: dict[sa.Table, list[dict[str, Any]]] = {subjects: owners}
    for table, row in rows:
        by_table.setdefault(table, []).append(row)
    for table, some in by_table.items():
        for start in range(0, len(some), _ROWS_AT_ONCE):
            with workspace.database.write() as tx:
                tx.execute(sa.insert(table), some[start : start + _ROWS_AT_ONCE])
    made = by_table[decisions]
    rejected = sum(one["decision"] == "reject" for one in made)
    return Filled(
        count, count - rejected, len(made), len(by_table[items]), _person(1 % people), "uploader-0", "model-0"
    )


def _person(number: int) -> str:
    return f"sub_{number:020x}"


def _rows(
    workspace: Workspace, rng: np.random.Generator, now: datetime, count: int, people: int, reviewers: int
) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    scores = np.clip(rng.normal(0.48, 0.1, count), 0.37, 0.99)
    ages, decided = rng.uniform(0.05, 150, count), rng.random(count) < DECIDED
    words, who = rng.choice(3, count, p=(0.5, 0.4, 0.1)), rng.integers(0, reviewers, count)
    threshold = workspace.thresholds.review
    for number in range(count):
        model = number // PER_MODEL
        found_at = now - timedelta(days=float(ages[number]))
        subject_id, digest = _person(model % people), hashlib.sha256(f"c{number}".encode()).hexdigest()
        tier = _TIERS[number % len(_TIERS)]
        text = hashlib.sha256(f"t{number}".encode()).hexdigest()
        item_id, key = f"item-{number}", text if tier == "text" else digest
        if number % PER_MODEL == 0:
            yield items, _item(f"model-{model}", "model", None, model, found_at, now, None, None)
            yield model_verdicts, _model_verdict(model, subject_id, float(scores[number]), found_at)
        yield items, _item(item_id, "image", f"model-{model}", model, found_at, now, digest, text)
        hit = {
            "hit_id": f"hit_{hashlib.sha256(item_id.encode()).hexdigest()[:20]}",
            "item_id": item_id,
            "content_key": key,
            "subject_id": subject_id,
            "found_by_id": workspace.model_id if tier == "face" else tier,
        }
        score = float(scores[number]) if tier == "face" else 1.0
        band = "strong" if score >= 0.5 else "review"
        yield (
            hits,
            {
                **hit,
                **{"tier": tier, "band": band, "score": score, "threshold": threshold, "threshold_source": "benchmark"},
                **{"policy_version": "benchmark", "found_by": "sweep", "found_at": found_at, "judged_at": found_at},
            },
        )
        yield verdicts, _verdict(item_id, digest, subject_id, score, tier, found_at)
        if decided[number]:
            word = _WORDS[words[number]]
            yield (
                decisions,
                {
                    **hit,
                    **{"decision_id": f"dec_{number:020x}", "batch_id": f"batch_{number:020x}", "decision": word},
                    **{"reason": _REASONS[word], "actor": f"account:reviewer-{who[number]}", "decided_at": found_at},
                },
            )


def _item(
    item_id: str,
    kind: str,
    parent: str | None,
    model: int,
    received: datetime,
    now: datetime,
    digest: str | None,
    text: str | None,
) -> dict[str, Any]:
    plain = {"source_id": "benchmark", "source_digest": "0" * 64, "content_digest": "0" * 64, "sealed_record": b"0"}
    seen = {"received_at": received, "day": received.date().isoformat(), "live": True, "live_since": received}
    of_file = {
        "content_sha256": digest,
        "text_digest": text,
        "first_seen": now,
        "attempts": 0,
        "faces": 1 if digest else 0,
    }
    named = {"item_id": item_id, "kind": kind, "parent_model": parent, "uploader": f"uploader-{model}"}
    size = {"width": 1024, "height": 1024} if digest else {"width": None, "height": None}
    return {**plain, **seen, **of_file, **named, **size, "status": "hit" if digest else "clean"}


def _verdict(item_id: str, digest: str, subject_id: str, score: float, tier: str, at: datetime) -> dict[str, Any]:
    about = {"item_id": item_id, "content_key": digest, "subject_id": subject_id, "reasons": "[]", "tiers": tier}
    said = {"verdict": "review", "rule": "review_face", "best_score": score, "distinct_images": 1, "priority": 0}
    return {**about, **said, "policy_version": "benchmark", "judged_at": at, "decided_by": "automated"}


def _model_verdict(model: int, subject_id: str, score: float, at: datetime) -> dict[str, Any]:
    counts = {"images": PER_MODEL, "images_with_face": PER_MODEL, "distinct_images": PER_MODEL}
    said = {"verdict": "suspected", "rule": "suspected", "best_score": score, "median_score": score, "tiers": "face"}
    rest = {"rating": "none", "generator_block": False, "priority": 0, "policy_version": "benchmark", "reasons": "[]"}
    return {"model": f"model-{model}", "subject_id": subject_id, **counts, **said, **rest, "judged_at": at}
