"""What the examining stage looks for: the names of active subjects, and the seeds in force.

Loaded for one run of the stage, and again whenever registry or seeds have changed meanwhile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.images.pdq import PDQ_MODEL_ID, pdq_score
from indexes.fingerprints import Fingerprints, hash_matrix
from indexes.name_rules import SubjectNames
from indexes.names import NameMatcher
from pipelines.database.registry_version import registry_version
from pipelines.database.times import moment
from pipelines.home.workspace import Workspace
from pipelines.matching.coverage import seeds_in_force
from pipelines.registry.identities import open_names
from pipelines.registry.seeds import MADE_BY, seed_version
from pipelines.registry.subjects import active_versions

MOST_SEEDS = 8
"""Most fingerprints of one subject that an item's hits name, the nearest first: further ones add nothing."""
_MATCHERS_KEPT = 4  # for items last examined at different versions of the registry


@dataclass(frozen=True, slots=True)
class Seed:
    """A fingerprint of what a person confirmed to show a subject."""

    seed_id: str
    version: int
    subject_id: str
    kind: str
    digest: str
    model_id: str


@dataclass(frozen=True, slots=True)
class SeedMatch:
    """A seed that an item matches: ``score`` is 1 for equal fingerprints, 1/256 less for each bit that differs."""

    seed: Seed
    score: float


class SeedIndex:
    """Seeds ready to be compared with items. Seeds of a hash that is no longer in use are left out (I4)."""

    def __init__(self, seeds: Sequence[Seed]) -> None:
        self._exact: dict[tuple[str, str], list[Seed]] = {}
        self._near: list[Seed] = []
        self.names_models = any(seed.kind == MADE_BY for seed in seeds)
        for seed in seeds:
            if seed.kind == "pdq":
                self._near += [seed] if seed.model_id == PDQ_MODEL_ID else []
            else:
                self._exact.setdefault((seed.kind, seed.digest), []).append(seed)
        hashes = hash_matrix([bytes.fromhex(seed.digest) for seed in self._near])
        ids = [seed.seed_id for seed in self._near]
        self._hashes = Fingerprints(hashes, ids=ids, model_id=PDQ_MODEL_ID) if ids else None

    def compare(
        self, rows: Sequence[Any], *, distance: int, named: Mapping[str, Sequence[str]] | None = None
    ) -> dict[str, list[SeedMatch]]:
        """Return the matching seeds by item; ``rows`` have item id, content digest, payload digest and PDQ hash or
        None. ``named``: the model files that contents name, by content digest."""
        found: dict[str, list[SeedMatch]] = {row.item_id: [] for row in rows}
        for row in rows:
            digests = [("sha256", row.content_sha256), ("payload", row.payload_sha256)]
            digests += [(MADE_BY, name) for name in (named or {}).get(row.content_sha256, ())]
            for kind, digest in digests:
                equal = self._exact.get((kind, digest), ()) if digest else ()
                found[row.item_id] += [SeedMatch(seed, 1.0) for seed in equal]
        pictures = [row for row in rows if row.pdq and row.content_sha256]
        if self._hashes is not None and pictures:
            probes = hash_matrix([bytes.fromhex(row.pdq) for row in pictures])
            pairs = self._hashes.pairs(probes, model_id=PDQ_MODEL_ID, distance=distance)
            for probe, seed, bits in zip(pairs.probe, pairs.row, pairs.distances, strict=True):
                found[pictures[probe].item_id].append(SeedMatch(self._near[seed], pdq_score(int(bits))))
        return {item_id: _nearest(matches) for item_id, matches in found.items() if matches}


def _nearest(matches: Sequence[SeedMatch]) -> list[SeedMatch]:
    """Keep one match per fingerprint, subject and kind, by its oldest seed; the nearest few of them."""
    kept: dict[tuple[str, str], dict[str, SeedMatch]] = {}
    for match in sorted(matches, key=lambda one: (-one.score, one.seed.version)):
        own = kept.setdefault((match.seed.subject_id, match.seed.kind), {})
        if len(own) < MOST_SEEDS:
            own.setdefault(match.seed.digest, match)
    return [match for own in kept.values() for match in own.values()]


class Sought:
    """Names and seeds at one moment. Names are opened once, and dropped with the object."""

    def __init__(self) -> None:
        self.registry_version = self.seed_version = self._in_force = -1
        self.seeds = SeedIndex(())
        self._versions: list[tuple[int, str]] = []
        self._names: dict[str, SubjectNames] = {}
        self._matchers: dict[int, NameMatcher] = {}

    def refresh(self, connection: Connection, workspace: Workspace) -> None:
        """Read registry and seeds again if they have changed."""
        version, newest = registry_version(connection), seed_version(connection)
        query = seeds_in_force(now=moment(connection))
        in_force = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
        if (version, newest, in_force) == (self.registry_version, self.seed_version, self._in_force):
            return
        if version != self.registry_version:
            active: Mapping[str, int] = active_versions(connection, now=moment(connection))
            self._versions = sorted((version, subject_id) for subject_id, version in active.items())
            self._names = {key: names for key, names in self._names.items() if key in active}
            self._matchers = {}
        rows = connection.execute(query).mappings()
        self.seeds = SeedIndex([Seed(**{name: row[name] for name in Seed.__slots__}) for row in rows])
        self.registry_version, self.seed_version, self._in_force = version, newest, in_force

    def matcher(self, connection: Connection, workspace: Workspace, *, since: int) -> NameMatcher | None:
        """Return a matcher for the names of the subjects newer than a registry version; None if there are none."""
        first = bisect_right(self._versions, since, key=lambda entry: entry[0])
        if first == len(self._versions):
            return None
        if first not in self._matchers:
            wanted = [subject_id for _, subject_id in self._versions[first:]]
            unknown = [subject_id for subject_id in wanted if subject_id not in self._names]
            opened = open_names(connection, workspace.sealer, unknown)
            self._names.update((names.subject_id, names) for names in opened)
            settings = workspace.config.names
            if len(self._matchers) > _MATCHERS_KEPT:
                self._matchers = {}
            self._matchers[first] = NameMatcher([self._names[key] for key in wanted], settings=settings)
        return self._matchers[first]
