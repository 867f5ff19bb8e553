"""Small builders that put rows into a real, empty workspace. Every number is a function of the arguments."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.models.packs import find_pack
from embeddings.models.weights import model_id
from indexes.corpus import ShardEntry
from pipelines.corpus.manifest import insert_shard, mark_covered
from pipelines.database import set_state
from pipelines.database.tables import hits, items, model_verdicts, outbox, requests, runs, seeds, subjects, verdicts
from pipelines.hits.counting import key_of_item
from pipelines.home.workspace import Workspace
from pipelines.settings.config import EmbeddingConfig
from pipelines.takedown.outbox import Wanted, enqueue

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = datetime(2026, 11, 20, tzinfo=UTC).date()
MODEL_ID = model_id(find_pack("opencv-zoo"), EmbeddingConfig().faces())
"""The models in force: results of others count as unsettled."""
SHARD = "shard-1"


def content_of(item_id: str) -> str:
    return hashlib.sha256(item_id.encode()).hexdigest()


def text_of(item_id: str) -> str:
    """The text digest of an item whose builder was given one."""
    return hashlib.sha256(f"text of {item_id}".encode()).hexdigest()


def add_shard(tx: Connection, workspace: Workspace, *, covered_version: int | None, shard_id: str = SHARD) -> None:
    """A listed shard; compared with everybody up to ``covered_version``, or with nobody."""
    entry = ShardEntry(
        shard_id=shard_id,
        model_id=MODEL_ID,
        dimension=128,
        path=f"{shard_id}.parquet",
        sha256="0" * 64,
        bytes=1,
        rows=1,
    )
    insert_shard(tx, workspace.sealer, entry, now=NOW)
    if covered_version is not None:
        threshold = workspace.thresholds.review
        mark_covered(tx, workspace.sealer, entry, version=covered_version, threshold=threshold)


def add_subject(tx: Connection, subject_id: str, *, version: int = 1, state: str = "active", days: int = 30) -> None:
    set_state(tx, "registry_version", str(version))
    tx.execute(
        sa.insert(subjects).values(
            subject_id=subject_id,
            state=state,
            version=version,
            expires_at=NOW + timedelta(days=days),
            created_at=NOW,
        )
    )


def add_item(tx: Connection, item_id: str, *, status: str = "clean", **values: Any) -> None:
    """One live item of ``DAY``. Statuses that need a scanned face are put into the shard."""
    known = status.partition(":")[0] not in ("pending", "fetch_failed")
    row: dict[str, Any] = {
        "item_id": item_id,
        "kind": "image",
        "received_at": NOW - timedelta(days=1),
        "day": DAY.isoformat(),
        "live": True,
        "source_id": "source-1",
        "source_digest": "0" * 64,
        "content_digest": "0" * 64,
        "live_since": NOW - timedelta(days=1),
        "sealed_record": b"sealed",
        "status": status,
        "attempts": 1,
        "content_sha256": content_of(item_id) if known else None,
        "width": 640 if known else None,
        "height": 480 if known else None,
        "faces": 1 if status in ("clean", "hit") else 0,
        "shard_id": SHARD if status in ("clean", "hit") else None,
        "model_id": MODEL_ID if known else None,
        "first_seen": NOW,
    }
    tx.execute(sa.insert(items).values(**(row | values)))


def add_hit(
    tx: Connection,
    workspace: Workspace,
    item_id: str,
    subject_id: str,
    *,
    score: float = 0.7,
    verdict: str | None = "review",
    face: int = 0,
    **values: Any,
) -> str:
    """A hit of a face, with its verdict unless ``verdict`` is None. Returns the hit's id."""
    thresholds = workspace.thresholds
    band = "strong" if score >= thresholds.strong else "review"
    hit_id = f"hit_{content_of(f'{item_id}|{subject_id}|{face}')[:20]}"
    row: dict[str, Any] = {
        "hit_id": hit_id,
        "item_id": item_id,
        "content_key": content_of(item_id),
        "subject_id": subject_id,
        "template_id": f"ref_{content_of(subject_id)[:20]}",
        "tier": "face",
        "band": band,
        "score": score,
        "threshold": thresholds.review,
        "threshold_source": thresholds.source,
        "found_by_id": MODEL_ID,
        "policy_version": workspace.policy.version,
        "frame": 0,
        "face": face,
        "x1": 200.0,
        "y1": 100.0,
        "x2": 320.0,
        "y2": 250.0,
        "detector_score": 0.91,
        "found_by": "sweep",
        "found_at": NOW,
        "judged_at": NOW if verdict else None,
    }
    tx.execute(sa.insert(hits).values(**(row | values)))
    if verdict and not _judged(tx, item_id, subject_id):
        _add_verdict(tx, workspace, item_id, subject_id, verdict=verdict, band=band, score=score)
    return hit_id


def add_evidence(
    tx: Connection,
    workspace: Workspace,
    item_id: str,
    subject_id: str,
    *,
    tier: str,
    place: str,
    verdict: str | None = "review",
    priority: int = 0,
    **values: Any,
) -> str:
    """A hit that is no face, with its verdict unless ``verdict`` is None. Returns the hit's id."""
    hit_id = f"hit_{content_of(f'{item_id}|{subject_id}|{tier}|{place}')[:20]}"
    row: dict[str, Any] = {
        "hit_id": hit_id,
        "item_id": item_id,
        "content_key": text_of(item_id) if tier == "text" else content_of(item_id),
        "subject_id": subject_id,
        "tier": tier,
        "band": "strong",
        "score": 1.0,
        "threshold": 1.0,
        "threshold_source": f"policy {workspace.policy.version}",
        "found_by_id": "seeds-1" if tier == "exact" else "names-1",
        "policy_version": workspace.policy.version,
        "place": place,
        "match": None if tier == "exact" else "full_name",
        "sealed_term": None if tier == "exact" else b"sealed",
        "seed_id": f"seed_{content_of(subject_id)[:20]}" if tier == "exact" else None,
        "found_by": "sweep",
        "found_at": NOW,
        "judged_at": NOW if verdict else None,
    }
    tx.execute(sa.insert(hits).values(**(row | values)))
    if row["seed_id"] is not None:
        _add_seed(tx, row["seed_id"], subject_id, kind=place)
    if verdict and not _judged(tx, item_id, subject_id):
        same: dict[str, Any] = {"verdict": verdict, "band": "strong", "score": None}
        _add_verdict(tx, workspace, item_id, subject_id, **same, tiers=tier, priority=priority)
    return hit_id


def _add_seed(tx: Connection, seed_id: str, subject_id: str, *, kind: str) -> None:
    """What somebody confirmed earlier, unless it is there."""
    if tx.execute(sa.select(seeds.c.seed_id).where(seeds.c.seed_id == seed_id)).first() is None:
        version = tx.execute(sa.select(sa.func.coalesce(sa.func.max(seeds.c.version), 0))).scalar_one() + 1
        row = {"seed_id": seed_id, "version": version, "subject_id": subject_id, "kind": kind, "model_id": "seeds-1"}
        tx.execute(sa.insert(seeds).values(**row, digest=content_of(seed_id), decision_id="dec_1", created_at=NOW))


def _content_key(tx: Connection, item_id: str) -> str:
    """What a verdict on the item is about."""
    return str(tx.execute(sa.select(key_of_item()).where(items.c.item_id == item_id)).scalar_one())


def _judged(tx: Connection, item_id: str, subject_id: str) -> bool:
    query = sa.select(verdicts.c.verdict).where(verdicts.c.item_id == item_id, verdicts.c.subject_id == subject_id)
    return tx.execute(query).first() is not None


def _add_verdict(
    tx: Connection,
    workspace: Workspace,
    item_id: str,
    subject_id: str,
    *,
    verdict: str,
    band: str,
    score: float | None,
    tiers: str = "face",
    priority: int = 0,
) -> None:
    rules = {"takedown": "strong_face_in_distinct_images", "clear": "remembered_negative"}
    unsure = "strong_face_uncorroborated" if band == "strong" else "face_above_review_threshold"
    tx.execute(
        sa.insert(verdicts).values(
            item_id=item_id,
            content_key=_content_key(tx, item_id),
            subject_id=subject_id,
            verdict=verdict,
            rule=rules.get(verdict, unsure),
            best_score=score,
            distinct_images=2,
            policy_version=workspace.policy.version,
            reasons="{}",
            judged_at=NOW,
            tiers=tiers,
            decided_by="automated",
            priority=priority,
        )
    )


def add_model_verdict(tx: Connection, workspace: Workspace, model: str, subject_id: str, **values: Any) -> None:
    """What the policy says of a model and a person; a likeness model unless ``values`` say otherwise."""
    row: dict[str, Any] = {
        "model": model,
        "subject_id": subject_id,
        "verdict": "likeness_model",
        "rule": "face_in_distinct_images",
        "images": 12,
        "images_with_face": 9,
        "distinct_images": 7,
        "best_score": 0.8125,
        "median_score": 0.71,
        "tiers": "face header",
        "rating": "mature",
        "generator_block": True,
        "priority": 100,
        "policy_version": workspace.policy.version,
        "reasons": "{}",
        "judged_at": NOW,
    }
    tx.execute(sa.insert(model_verdicts).values(**(row | values)))


def add_takedown(
    tx: Connection, item_id: str, subject_id: str, *, hours: float = 24, policy: str = "policy-1", **values: Any
) -> str:
    """The message for an item and a person, due in ``hours``; ``values`` replace columns (``state="dead"``)."""
    wanted = Wanted("takedown", item_id, content_of(item_id), subject_id, 24, 0, "automated", {}, (item_id,))
    enqueue(tx, wanted, policy_version=policy, due_at=NOW + timedelta(hours=hours), now=NOW)
    message_id = f"msg_{content_of(f'{item_id}|{subject_id}|{policy}')[:32]}"
    same = sa.and_(*(outbox.c[name] == value for name, value in wanted.key.items()), outbox.c.policy_version == policy)
    row = tx.execute(sa.select(outbox).where(same)).one()._asdict()
    tx.execute(sa.delete(outbox).where(same))  # a primary key is not changed
    tx.execute(sa.insert(outbox).values(row | {"message_id": message_id} | values))
    return message_id


def add_request(tx: Connection, request_id: str, subject_id: str, *, hours: float, state: str = "accepted") -> None:
    tx.execute(
        sa.insert(requests).values(
            request_id=request_id,
            subject_id=subject_id,
            state=state,
            attempt=1,
            opened_at=NOW - timedelta(hours=20),
            due_at=NOW + timedelta(hours=hours),
        )
    )


def add_run(
    tx: Connection, workspace: Workspace, run_id: str, *, finished: bool = True, day: str | None = None
) -> None:
    tx.execute(
        sa.insert(runs).values(
            run_id=run_id,
            kind="sweep",
            day=day,
            started_at=NOW - timedelta(minutes=5),
            finished_at=NOW if finished else None,
            model_id=MODEL_ID,
            policy_version=workspace.policy.version,
            registry_version=1,
            summary='{"coverage": 1.0}' if finished else None,
        )
    )
