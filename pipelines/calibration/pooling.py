"""Pools of labelled photographs -> scores of pooled faces, as a platform's models would give them.

The photographs of each person are cut into groups of so many, in an order drawn at random, and each group is pooled by
the very function that pools a model's pictures, near-duplicates counting once. A pool is compared with every photograph
that is not in it: mated with those of its person, an impostor with those of all others. Only a folder of people says
enough for that; a list of pairs does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embeddings.types import Float32
from indexes.det import Sample
from indexes.join import scores_at
from indexes.pooling import pool_faces
from indexes.stored import Int64
from pipelines.calibration.compare import drawn
from pipelines.calibration.faces import Faces
from pipelines.calibration.labels import Labels


@dataclass(frozen=True, slots=True)
class ComparedPools:
    """Comparisons of pools with single photographs, and how many pools of how many persons there were."""

    mated: Sample
    impostors: Sample
    pools: int
    persons: int


def compare_pools(
    labels: Labels, faces: Faces, *, pictures: int, threshold: float, most: int, seed: int = 0
) -> ComparedPools | None:
    """Pool ``pictures`` photographs of a person at a time and score the pools; None where there are none, or no
    impostors. ``threshold``: from which faces are pooled. Of more than ``most`` comparisons so many are drawn."""
    if labels.pairs is not None:
        return None
    rows_of = rows_by_person(labels, faces)
    random = np.random.default_rng(seed)
    vectors: list[Float32] = []
    owners, members = list[int](), list[Int64]()
    for person, rows in rows_of.items():
        for group in _groups(random.permutation(rows), pictures):
            own = faces.vectors[group]
            pools = pool_faces(own, faces.weights[group], faces.pictures[group].tolist(), threshold=threshold)
            largest = max(pools, key=lambda pool: len(pool.rows))
            if len(largest.rows) > 1:
                vectors.append(largest.vector)
                owners.append(person)
                members.append(group)
    if not vectors:
        return None
    left, right = _pairs(members, np.concatenate(list(rows_of.values())), most=most, random=random)
    person_of = np.full(len(faces.vectors), -1, dtype=np.int64)
    for person, rows in rows_of.items():
        person_of[rows] = person
    ends = np.array(owners, dtype=np.int64)[left], person_of[right]
    scores = scores_at(np.stack(vectors), faces.vectors, left, right)
    mated = ends[0] == ends[1]
    if mated.all():
        return None
    return ComparedPools(
        mated=Sample(scores[mated], ends[0][mated], ends[1][mated], mated=True),
        impostors=Sample(scores[~mated], ends[0][~mated], ends[1][~mated], mated=False),
        pools=len(vectors),
        persons=len(set(owners)),
    )


def rows_by_person(labels: Labels, faces: Faces) -> dict[int, Int64]:
    """The distinct usable photographs of each person; what lies in two people's folders is nobody's."""
    owners: dict[int, set[int]] = {}
    for row, owner, problem in zip(faces.row.tolist(), labels.persons, faces.problems, strict=True):
        if not problem:
            owners.setdefault(row, set()).add(owner)
    found: dict[int, list[int]] = {}
    for row, people in owners.items():
        if len(people) == 1:
            found.setdefault(min(people), []).append(row)
    return {person: np.array(sorted(rows), dtype=np.int64) for person, rows in sorted(found.items())}


def _groups(rows: Int64, size: int) -> list[Int64]:
    """Whole groups of ``size``; what is left over stays single."""
    return [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]


def _pairs(members: list[Int64], rows: Int64, *, most: int, random: np.random.Generator) -> tuple[Int64, Int64]:
    """Every pool with every photograph that is not in it, or ``most`` of these drawn at random.

    ``members``: of each pool, as many for one as for another. Pairs are counted and drawn by number, so that memory
    does not grow with pools times photographs.
    """
    place = np.empty(int(rows.max()) + 1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    inside = np.sort(place[np.stack(members)], axis=1)
    outside = len(rows) - inside.shape[1]
    left, number = np.divmod(drawn(len(members) * outside, at_most=most, random=random), max(outside, 1))
    # Photographs outside that come before each one inside: from so many on it is stepped over.
    before = inside - np.arange(inside.shape[1])
    at = number.copy()
    for column in before.T:
        at += column[left] <= number
    return left, rows[at]
