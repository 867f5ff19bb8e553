"""Labels: which photographs are to be compared, and whether they show one person. Reads no photograph.

A CSV has the columns ``a``, ``b`` (paths, relative to the file), ``same`` (1/0, true/false, yes/no) and perhaps
``group``. A folder has one person per subfolder, and what lies directly in it is a person each. A row that cannot be
used costs itself and is counted; a file that cannot be used is a :class:`ConfigError`.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from embeddings.errors import ConfigError

SAME = frozenset({"1", "true", "yes", "same"})
DIFFERENT = frozenset({"0", "false", "no", "different"})
MAX_GROUPS = 32
"""Most groups. More values are probably names of people, which are never stored in clear (I8)."""
MAX_GROUP_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Pair:
    """One row: positions of two photographs in :attr:`Labels.paths`, the label, and the group or None."""

    left: int
    right: int
    same: bool
    group: str | None


@dataclass(frozen=True, slots=True)
class Labels:
    """The comparisons wanted. ``pairs`` None: everything with everything, by ``persons`` (one number per path)."""

    kind: str
    paths: tuple[Path, ...]
    pairs: tuple[Pair, ...] | None = None
    persons: tuple[int, ...] = ()
    unusable: Counter[str] = field(default_factory=Counter)
    """Number of unusable rows by reason."""
    groups: tuple[str | None, ...] = ()
    """Of a folder, the group of each path, where a file of groups was given."""


def read_pairs(file: Path) -> Labels:
    """Read a CSV of labelled pairs. Raises ``ConfigError`` for a file without the columns or without a row."""
    numbers: dict[Path, int] = {}
    pairs: list[Pair] = []
    unusable: Counter[str] = Counter()
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            if lacking := {"a", "b", "same"} - set(reader.fieldnames or ()):
                raise ConfigError(f"{file} lacks the columns {', '.join(sorted(lacking))}: expected a,b,same[,group]")
            for row in reader:
                same = _label(row["same"])
                if same is None or not row["a"] or not row["b"]:
                    unusable["bad_label" if row["a"] and row["b"] else "bad_path"] += 1
                    continue
                left, right = (numbers.setdefault(file.parent / row[name], len(numbers)) for name in ("a", "b"))
                pairs.append(Pair(left, right, same, (row.get("group") or "").strip() or None))
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{file} is not a CSV in UTF-8: {error}") from error
    if not pairs:
        raise ConfigError(f"{file} has no usable row: expected paths in a and b, and 1 or 0 in same")
    _require_groups({pair.group for pair in pairs if pair.group}, file)
    return Labels("pairs", tuple(numbers), tuple(pairs), unusable=unusable)


def read_folder(folder: Path) -> Labels:
    """List a folder of two or more people, else ``ConfigError``. Side-cars and hidden files are no photographs."""
    found: list[tuple[Path, int]] = []
    persons = 0
    try:
        for entry in sorted(folder.iterdir()):
            inside = sorted(path for path in entry.rglob("*") if path.is_file()) if entry.is_dir() else [entry]
            photographs = [path for path in inside if not path.name.startswith(".") and path.suffix != ".json"]
            if photographs and not entry.name.startswith("."):
                found += [(path, persons) for path in photographs]
                persons += 1
    except OSError as error:
        raise ConfigError(f"cannot read {folder}: {error.strerror}") from error
    if persons < 2:
        raise ConfigError(f"{folder} has {persons} people: expected a subfolder, or a photograph, for each")
    return Labels("impostors", tuple(path for path, _ in found), persons=tuple(person for _, person in found))


def with_groups(labels: Labels, folder: Path, file: Path) -> Labels:
    """Give the photographs of a folder their groups, by a CSV ``person,group`` of the names in the folder.

    A name is that of a subfolder or of a photograph. Raises ``ConfigError`` for a file without the columns, and for one
    that names nobody in the folder.
    """
    groups: dict[str, str] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            if lacking := {"person", "group"} - set(reader.fieldnames or ()):
                raise ConfigError(f"{file} lacks the columns {', '.join(sorted(lacking))}: expected person,group")
            for row in reader:
                if row["person"] and (row["group"] or "").strip():
                    groups[row["person"].strip()] = row["group"].strip()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{file} is not a CSV in UTF-8: {error}") from error
    _require_groups(set(groups.values()), file)
    found = tuple(groups.get(path.relative_to(folder).parts[0]) for path in labels.paths)
    if not any(found):
        raise ConfigError(f"{file} names nobody in {folder}: expected the name of a subfolder or a photograph per row")
    return replace(labels, groups=found)


def _label(text: str | None) -> bool | None:
    word = (text or "").strip().lower()
    return True if word in SAME else False if word in DIFFERENT else None


def _require_groups(groups: set[str], file: Path) -> None:
    if len(groups) > MAX_GROUPS:
        raise ConfigError(f"{file} has {len(groups)} groups, at most {MAX_GROUPS}: they name groups, never people")
    if any(len(group) > MAX_GROUP_LENGTH or not group.isprintable() for group in groups):
        raise ConfigError(f"{file} has a group of more than {MAX_GROUP_LENGTH} printable characters")
