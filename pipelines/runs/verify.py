"""Checks the stored state piece by piece, for ``likeness verify``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow.compute as pc
import sqlalchemy as sa

from embeddings.errors import CorruptionError, LikenessError
from embeddings.models.packs import find_pack
from pipelines.cases.subject_record import verify_subjects
from pipelines.corpus.clip_manifest import clip_vectors, list_content_shards
from pipelines.corpus.manifest import list_shards, require_not_ahead
from pipelines.corpus.retention import read_kept
from pipelines.database.in_force import is_in_force
from pipelines.database.registry_version import registry_version
from pipelines.database.tables import (
    contents,
    hits,
    items,
    kept_evidence,
    outbox,
    seeds,
    subject_keys,
    subjects,
    templates,
    verdicts,
)
from pipelines.database.times import moment
from pipelines.decisions.log import verify_decisions
from pipelines.hits.counting import hits_in_force, key_of_item, verdict_of_hit
from pipelines.home import audit
from pipelines.home.calibrations import verify_calibrations
from pipelines.home.progress import Progress, silent
from pipelines.home.state_seal import ended_again
from pipelines.home.workspace import Workspace
from pipelines.judging import unjudged_count
from pipelines.registry.subjects import open_templates
from pipelines.takedown.outbox import not_taken_back

_STATUSES = ("pending", "clean", "hit", "no_face")


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check: its name, whether it holds, and what was found."""

    check: str
    ok: bool
    detail: str


def verify(workspace: Workspace, *, progress: Progress = silent) -> list[Finding]:
    """Run every check; one that fails does not keep the others from running."""
    checks: tuple[tuple[str, Callable[[Workspace], str]], ...] = (
        ("database integrity", _database),
        ("sealed rows", _rows),
        ("witness", _witness),
        ("model files", _weights),
        ("audit chain", _audit),
        ("decisions", _decisions),
        ("calibrations", _calibrations),
        ("registry", _registry),
        ("registry and audit chain", _subjects),
        ("leftovers", _leftovers),
        ("templates", _templates),
        ("item statuses", _statuses),
        ("manifest and shards", _shards),
        ("content shards", _content_shards),
        ("hits have verdicts", _verdicts),
        ("takedowns have outbox rows", _outbox),
    )
    findings = []
    for number, (name, check) in enumerate(checks, start=1):
        try:
            findings.append(Finding(name, True, check(workspace)))
        except LikenessError as error:
            findings.append(Finding(name, False, str(error)))
        progress("verify", number, len(checks))
    return findings


def _database(workspace: Workspace) -> str:
    workspace.database.check()
    return "integrity check passed"


def _rows(workspace: Workspace) -> str:
    """Check that every row of every table is as written, and none is missing."""
    with workspace.database.read() as connection:
        workspace.seal.require_unaltered(connection)
        head = workspace.seal.read(connection)
    rows = sum(count for name, (count, _) in (head.sums if head else {}).items() if "." not in name)
    return f"{rows} rows in all tables are those that were written"


def _witness(workspace: Workspace) -> str:
    """Check that the database is as new as the witness, and that no ended subject is back."""
    workspace.seal.require_newest(workspace.database)
    ended = workspace.seal.witness.read_ended()
    with workspace.database.read() as connection:
        if again := ended_again(connection, workspace.sealer, ended):
            raise CorruptionError(f"{len(again)} subjects had ended and are in the registry again: restore a backup")
    return f"the database is the newest that is remembered, {len(ended)} ends of subjects hold"


def _subjects(workspace: Workspace) -> str:
    with workspace.database.read() as connection:
        return verify_subjects(connection)


def _leftovers(workspace: Workspace) -> str:
    """Check that nothing personal is left of subjects that were erased or rejected."""
    over = sa.select(subjects.c.subject_id).where(subjects.c.state.in_(("erased", "rejected")))
    with workspace.database.read() as connection:
        for table in (templates, subject_keys, seeds, kept_evidence):
            count = sa.select(sa.func.count()).select_from(table).where(table.c.subject_id.in_(over))
            if left := connection.execute(count).scalar_one():
                raise CorruptionError(f"{left} {table.name} of erased or rejected subjects are still there")
        named = sa.select(sa.func.count()).select_from(subjects).where(subjects.c.sealed_identity.is_not(None))
        if left := connection.execute(named.where(subjects.c.subject_id.in_(over))).scalar_one():
            raise CorruptionError(f"{left} identities of erased or rejected subjects are still there")
        return f"nothing is left of {len(connection.execute(over).all())} erased or rejected subjects"


def _weights(workspace: Workspace) -> str:
    pack = find_pack(workspace.config.embedding.pack)
    for file in (pack.detector, pack.recognizer):
        file.read(workspace.home / "models")  # checks the digest
    return f"digests of pack {pack.name} match"


def _audit(workspace: Workspace) -> str:
    with workspace.database.read() as connection:
        return f"{audit.verify(connection, workspace.sealer)} rows in an unbroken chain"


def _decisions(workspace: Workspace) -> str:
    with workspace.database.read() as connection:
        return verify_decisions(connection)


def _calibrations(workspace: Workspace) -> str:
    with workspace.database.read() as connection:
        return verify_calibrations(connection, workspace.sealer)


def _registry(workspace: Workspace) -> str:
    with workspace.database.read() as connection:
        version = registry_version(connection)
        listed = list_shards(connection, workspace.sealer)
        require_not_ahead(version, (shard.covered_version for shard in listed))
        newest = connection.execute(sa.select(sa.func.max(subjects.c.version))).scalar() or 0
        if newest > version:
            raise CorruptionError("a subject is newer than the registry: restore the database from a backup")
        kept = sa.select(templates.c.template_id).where(templates.c.subject_id == subjects.c.subject_id)
        blank = sa.select(sa.func.count()).select_from(subjects).where(subjects.c.state == "active", ~kept.exists())
        if lost := connection.execute(blank).scalar_one():
            raise CorruptionError(f"{lost} active subjects have no template: they would go unseen")
    return f"at version {version}, every active subject has templates"


def _templates(workspace: Workspace) -> str:
    with workspace.database.read() as connection:
        owners = sa.select(templates.c.model_id, templates.c.subject_id).distinct()
        by_model: dict[str, set[str]] = {}
        for model_id, subject_id in connection.execute(owners):
            by_model.setdefault(model_id, set()).add(subject_id)
        count = 0
        for model_id, subject_ids in by_model.items():
            _, ids, _ = open_templates(connection, workspace.sealer, subject_ids=subject_ids, model_id=model_id)
            count += len(ids)
    return f"{count} templates open under their keys"


def _statuses(workspace: Workspace) -> str:
    known = sa.or_(
        items.c.status.in_(_STATUSES), items.c.status.like("unscannable:_%"), items.c.status.like("fetch_failed:_%")
    )
    with workspace.database.read() as connection:
        total = connection.execute(sa.select(sa.func.count()).select_from(items)).scalar_one()
        wrong = connection.execute(sa.select(sa.func.count()).select_from(items).where(~known)).scalar_one()
    if wrong:
        raise CorruptionError(f"{wrong} items have a status that does not exist")
    return f"{total} items, each with one status"


def _shards(workspace: Workspace) -> str:
    """Check digests, seals and row counts of shards, and that the faces of every live item are in them."""
    faces = kept = moved = 0
    with workspace.database.read() as connection:
        listed = list_shards(connection, workspace.sealer)
    for entry in (shard.entry for shard in listed if shard.entry.path):
        table = read_kept(workspace, entry)
        if table is None:
            moved += 1  # compacted meanwhile: the new shard was checked when it was written
            continue
        if entry.vector_salt is not None:
            with workspace.corpus.open_vectors(entry, key=workspace.sealer.shard_key(entry.shard_id)) as sealed:
                sealed.codes()  # opens every chunk that a search streams
        kept, faces = kept + 1, faces + len(table)
        counted = {row["values"]: row["counts"] for row in pc.value_counts(table["item_id"]).to_pylist()}
        query = sa.select(items.c.item_id, items.c.faces).where(items.c.shard_id == entry.shard_id, items.c.live)
        with workspace.database.read() as connection:
            for row in connection.execute(query):
                if counted.get(row.item_id, 0) != row.faces:
                    raise CorruptionError(f"shard {entry.shard_id} lacks faces that the ledger counts")
    without = len(listed) - kept - moved
    unlisted = workspace.corpus.unlisted({name for shard in listed for name in shard.entry.files})
    parts = [f"{kept} shards, {faces} faces, digests and seals match"]
    parts += [f"{without} shards of which nothing is kept"] if without else []
    parts += [f"{moved} compacted meanwhile"] if moved else []
    parts += [f"{len(unlisted)} unlisted files left by interrupted writes"] if unlisted else []
    return "; ".join(parts)


def _content_shards(workspace: Workspace) -> str:
    """Check digests, seals and row counts of CLIP shards, and that the vectors of every content are in them."""
    with workspace.database.read() as connection:
        listed = list_content_shards(connection, workspace.sealer)
        for entry in listed:
            held = {digest.hex() for digest in clip_vectors(workspace, entry)["content_sha256"].to_pylist()}
            named = sa.select(contents.c.content_sha256).where(contents.c.clip_shard_id == entry.shard_id)
            if not held.issuperset(connection.execute(named).scalars()):
                raise CorruptionError(f"shard {entry.shard_id} lacks vectors that the database counts")
    return f"{len(listed)} shards, {sum(entry.rows for entry in listed)} vectors, digests and seals match"


def _verdicts(workspace: Workspace) -> str:
    with workspace.database.read() as connection:
        waiting = unjudged_count(connection)
        found = hits_in_force(moment(connection))
        total = connection.execute(sa.select(sa.func.count()).select_from(found.subquery())).scalar_one()
        weighed = found.where(
            hits.c.judged_at.is_not(None), ~sa.select(verdicts.c.rule).where(verdict_of_hit()).exists()
        )
        without = connection.execute(sa.select(sa.func.count()).select_from(weighed.subquery())).scalar_one()
    if without:
        raise CorruptionError(f"{without} hits are called judged and have no verdict")
    if waiting:
        raise CorruptionError(f"{waiting} of {total} hits have no verdict: run a sweep or rescan to judge them")
    return f"{total} hits, each with a verdict"


def _outbox(workspace: Workspace) -> str:
    """Check that every takedown verdict on a live item and an active subject has a message that was not withdrawn."""
    message = sa.and_(
        outbox.c.item_id == verdicts.c.item_id,
        outbox.c.content_key == verdicts.c.content_key,
        outbox.c.subject_id == verdicts.c.subject_id,
        outbox.c.action == "takedown",
        not_taken_back(),
    )
    same = subjects.c.subject_id == verdicts.c.subject_id
    present = sa.and_(items.c.item_id == verdicts.c.item_id, verdicts.c.content_key == key_of_item(), items.c.live)
    query = sa.select(sa.func.count()).select_from(verdicts.join(subjects, same).join(items, present))
    with workspace.database.read() as connection:
        wanted = query.where(verdicts.c.verdict == "takedown", is_in_force(moment(connection)))
        missing = wanted.where(~sa.select(outbox.c.key).where(message).exists())
        total = connection.execute(wanted).scalar_one()
        lost = connection.execute(missing).scalar_one()
    if lost:
        raise CorruptionError(f"{lost} of {total} takedown verdicts have no message in the outbox")
    return f"{total} takedown verdicts, each with its message"
