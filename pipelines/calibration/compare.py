"""Labels and vectors -> scores of mated and impostor comparisons, with who was compared.

A useless comparison is dropped and counted: one side has no face, both are the same bytes, the pair is listed twice, or
the labels contradict each other. In a list of pairs, photographs linked by ``same`` show one person; others are taken
to show different people, so a person in two photographs that nothing links counts as two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings.errors import CalibrationError
from embeddings.types import Float32
from indexes.det import Sample
from indexes.join import scores_at
from indexes.stored import Int64
from pipelines.calibration.faces import Faces
from pipelines.calibration.labels import Labels

WORST = 1000
"""Most pairs that are named to the operator."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Comparisons that count: all of them, and those of each group; and what was dropped, by reason."""

    mated: Sample
    impostors: Sample
    groups: Mapping[str, tuple[Sample, Sample]]
    persons: int
    dropped: Counter[str]
    worst: tuple[tuple[int, int, float], ...] = ()
    """The impostor comparisons with the highest scores: positions of two of the labels' paths, and the score."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Comparisons of vectors ``left`` and ``right``, of the persons numbered ``person[left]`` and ``person[right]``."""

    left: Int64
    right: Int64
    person: Int64
    group: npt.NDArray[np.str_]


def compare(labels: Labels, faces: Faces, *, most: int, seed: int = 0) -> Compared:
    """Score every usable comparison, or ``most`` of them drawn at random where a folder gives more.

    Raises :class:`CalibrationError` when no two different people could be compared: no threshold follows from that.
    """
    dropped = Counter(labels.unusable)
    rows = _listed(labels, faces, dropped) if labels.pairs is not None else _crossed(labels, faces, most, seed, dropped)
    mated = rows.person[rows.left] == rows.person[rows.right]
    if mated.all():
        counted = ", ".join(f"{reason} {count}" for reason, count in sorted(dropped.items())) or "none dropped"
        raise CalibrationError(f"no photographs of two different people could be compared ({counted})")
    scores = scores_at(faces.vectors, faces.vectors, rows.left, rows.right)

    def sample(chosen: npt.NDArray[np.bool_], *, mated: bool) -> Sample:
        people = (rows.person[rows.left[chosen]], rows.person[rows.right[chosen]])
        return Sample(scores[chosen], *people, mated=mated)

    groups = {}
    for name in sorted(set(rows.group.tolist()) - {""}):
        own = rows.group == name
        groups[name] = (sample(own & mated, mated=True), sample(own & ~mated, mated=False))
    used = np.unique(np.concatenate([rows.left, rows.right]))
    return Compared(
        mated=sample(mated, mated=True),
        impostors=sample(~mated, mated=False),
        groups=groups,
        persons=len(np.unique(rows.person[used])),
        dropped=dropped,
        worst=_worst(rows, scores, ~mated, faces),
    )


def _worst(
    rows: _Rows, scores: Float32, impostor: npt.NDArray[np.bool_], faces: Faces
) -> tuple[tuple[int, int, float], ...]:
    """The :data:`WORST` most alike impostor comparisons, each by the first photograph that has its vector."""
    chosen = np.flatnonzero(impostor)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")[:WORST]]
    first = dict(zip(reversed(faces.row.tolist()), range(len(faces.row) - 1, -1, -1), strict=True))
    return tuple((first[int(rows.left[at])], first[int(rows.right[at])], float(scores[at])) for at in chosen)


def _listed(labels: Labels, faces: Faces, dropped: Counter[str]) -> _Rows:
    """The usable rows of a list of pairs."""
    kept: dict[tuple[int, int], tuple[bool, str]] = {}
    contradicted: set[tuple[int, int]] = set()
    for pair in labels.pairs or ():
        if problem := faces.problems[pair.left] or faces.problems[pair.right]:
            dropped[problem] += 1
            continue
        ends = sorted((int(faces.row[pair.left]), int(faces.row[pair.right])))
        key = (ends[0], ends[1])
        if key[0] == key[1]:
            dropped["same_bytes"] += 1
        elif key in kept:
            dropped["repeated"] += 1
            if kept[key][0] != pair.same:
                contradicted.add(key)
        else:
            kept[key] = (pair.same, pair.group or "")
    person = _persons(len(faces.vectors), [key for key, (same, _) in kept.items() if same and key not in contradicted])
    # Photographs that other rows link show one person, whatever this row says.
    contradicted |= {key for key, (same, _) in kept.items() if not same and person[key[0]] == person[key[1]]}
    dropped["contradictory"] += len(contradicted)
    usable = [(key, group) for key, (_, group) in kept.items() if key not in contradicted]
    ends_of = np.array([key for key, _ in usable], dtype=np.int64).reshape(-1, 2)
    return _Rows(ends_of[:, 0], ends_of[:, 1], person, np.array([group for _, group in usable], dtype=np.str_))


def _persons(count: int, same: list[tuple[int, int]]) -> Int64:
    """Numbers of the persons: vectors that ``same`` links, directly or through others, get one number."""
    root = list(range(count))

    def find(at: int) -> int:
        while root[at] != at:
            root[at] = root[root[at]]
            at = root[at]
        return at

    for left, right in same:
        root[find(left)] = find(right)
    return np.array([find(at) for at in range(count)], dtype=np.int64)


def _crossed(labels: Labels, faces: Faces, most: int, seed: int, dropped: Counter[str]) -> _Rows:
    """Every photograph of a folder with every other; those that lie in two people's folders are nobody's."""
    owners: dict[int, set[int]] = {}
    for row, owner, problem in zip(faces.row.tolist(), labels.persons, faces.problems, strict=True):
        if problem:
            dropped[problem] += 1
        else:
            dropped["same_bytes"] += row in owners
            owners.setdefault(row, set()).add(owner)
    dropped["contradictory"] += sum(len(people) > 1 for people in owners.values())
    rows = np.array([row for row, people in owners.items() if len(people) == 1], dtype=np.int64)
    person = np.full(len(faces.vectors), -1, dtype=np.int64)
    for row, people in owners.items():
        person[row] = min(people)
    group = _groups_of_rows(labels, faces)
    left, right = _combinations(len(rows), most, seed)
    dropped["not_drawn"] += len(rows) * (len(rows) - 1) // 2 - len(left)
    left, right = rows[left], rows[right]
    return _Rows(left, right, person, np.where(group[left] == group[right], group[left], ""))


def _groups_of_rows(labels: Labels, faces: Faces) -> npt.NDArray[np.str_]:
    """The group of each vector, empty where it has none. A comparison across groups belongs to neither."""
    named = {int(row): group for row, group in zip(faces.row, labels.groups, strict=False) if row >= 0 and group}
    return np.array([named.get(row, "") for row in range(len(faces.vectors))], dtype=np.str_)


def _combinations(count: int, most: int, seed: int) -> tuple[Int64, Int64]:
    """All pairs (i < j) below ``count``, or ``most`` different ones drawn at random."""
    total = count * (count - 1) // 2
    numbers = drawn(total, at_most=most, random=np.random.default_rng(seed))
    # Number k of the pairs (0, 1), (0, 2), (1, 2), (0, 3), ...; the root is rounded, and put right where it is off.
    right = ((1 + np.sqrt(1 + 8 * numbers.astype(np.float64))) / 2).astype(np.int64)
    right -= right * (right - 1) // 2 > numbers
    right += right * (right + 1) // 2 <= numbers
    return numbers - right * (right - 1) // 2, right


def drawn(total: int, *, at_most: int, random: np.random.Generator) -> Int64:
    """All numbers below ``total``, or ``at_most`` different ones drawn at random; ascending.

    Memory grows with what is drawn, not with ``total``, which a choice of all numbers would hold.
    """
    if total <= at_most:
        return np.arange(total, dtype=np.int64)
    if total <= 4 * at_most:
        return np.sort(random.choice(total, size=at_most, replace=False, shuffle=False)).astype(np.int64)
    numbers = np.empty(0, dtype=np.int64)
    while len(numbers) < at_most:
        numbers = np.unique(np.concatenate([numbers, random.integers(total, size=at_most)]))
    spare = random.choice(len(numbers), size=len(numbers) - at_most, replace=False, shuffle=False)
    return np.delete(numbers, spare)
