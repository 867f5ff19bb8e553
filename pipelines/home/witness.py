"""The witness, outside of the database: how far the database had come, and whose opt-out had ended how.

Two small files under a MAC, in the home folder or wherever ``database.witness`` says. The *witness* has the counter of
the newest transaction that it knows of; the *ended* file beside it has a MAC for each (subject, state) that ended, from
which an older copy of the database is brought to what was decided since. A process writes them after its commit, so
they may lag behind the database by what was in flight when it was killed, and are never ahead of it unless the
database is older than it was. Whoever compares therefore reads the witness first and the database afterwards.

It knows nothing of tables. Both files and the database put back together cannot be told from the past itself.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from embeddings.errors import CorruptionError
from indexes.durable import durable_file
from pipelines.home.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Known:
    """How far the database had come. ``head``: the MAC of its seal then; ``ended``: entries in the file beside."""

    counter: int
    head: str
    registry_version: int
    audit_rows: int
    ended: int = 0


BEFORE = Known(counter=0, head="", registry_version=0, audit_rows=0)
"""What is remembered before the first seal is written."""


class Witness:
    """The two files. Safe between processes and threads."""

    def __init__(self, path: Path, sealer: Sealer, *, before_rename: Callable[[], None]) -> None:
        self.path = path
        self._ended_path = path.with_name(f"{path.name}.ended")
        self._sealer = sealer
        self._before_rename = before_rename

    def read(self) -> Known | None:
        """Return what the witness remembers, None without a file. Raises :class:`CorruptionError` for an altered
        one."""
        values = self._read(self.path)
        if values is None:
            return None
        known = Known(**values)
        if known.ended and not self._ended_path.exists():
            raise CorruptionError(f"{self._ended_path} is gone: {_REMEDY}")
        return known

    def read_ended(self) -> frozenset[str]:
        """Return the MAC of each (subject, state) that ended."""
        values = self._read(self._ended_path)
        return frozenset(values["ended"] if values else ())

    def begin(self) -> None:
        """Make the file before there is anything to remember, unless it is there."""
        with self._locked():
            if not self.path.exists():
                self._write(self.path, asdict(BEFORE))

    def advance(self, known: Known, *, ended: Collection[str] = (), anew: bool = False) -> None:
        """Remember ``known`` unless something newer is remembered, and ``ended`` in any case.

        ``anew``: replace whatever is there, or is missing; otherwise a missing file is a :class:`CorruptionError`.
        """
        with self._locked():
            old = None if anew else self.read()
            if old is None and not anew:
                raise CorruptionError(f"{self.path} is gone: {_REMEDY}")
            before = self._ended_before(anew)
            every = before.union(ended)
            if every != before or (anew and every):
                self._write(self._ended_path, {"ended": sorted(every)})
            newest = known if old is None or known.counter > old.counter else old
            newest = replace(newest, ended=len(every))
            if newest != old:
                self._write(self.path, asdict(newest))

    def _ended_before(self, anew: bool) -> frozenset[str]:
        try:
            return self.read_ended()
        except CorruptionError:
            if not anew:
                raise
            return frozenset()

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            values = json.loads(text)
            mac = values.pop("mac")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise CorruptionError(f"{path} cannot be read: {_REMEDY}") from None
        if mac != self._mac(path, values):
            raise CorruptionError(f"{path} is not what was written: {_REMEDY}")
        found: dict[str, Any] = values
        return found

    def _write(self, path: Path, values: dict[str, Any]) -> None:
        with durable_file(path, before_rename=self._before_rename) as file:
            file.write(json.dumps(values | {"mac": self._mac(path, values)}).encode())

    def _mac(self, path: Path, values: dict[str, Any]) -> str:
        kind = "ended" if path == self._ended_path else "witness"
        return self._sealer.witness_mac(json.dumps([kind, values], sort_keys=True))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


_REMEDY = "put it back, or look at `likeness restore` and accept what there is"
