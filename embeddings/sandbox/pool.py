"""A pool of decoding processes: how many there are, which are used again, and whose fault it is when one dies.

An upload over which a process dies is tried once more in a new one. If that dies as well, and a third one still does
known good work, the upload has its status; if not, the machine is at fault and the run stops (I7). A process works on
one upload at a time, so no other is concerned. Processes are ended after ``recycle_items`` or ``recycle_bytes``: what
leaks or was taken over lasts no longer than that.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from embeddings.errors import NotReadyError, UnscannableError
from embeddings.faults import DECODER_CRASH, DECODER_FORBIDDEN, SCANNER_ERROR, SCANNER_MEMORY
from embeddings.sandbox import exchange
from embeddings.sandbox.confinement import Confinement
from embeddings.sandbox.process import DecodingProcess, Died, ProcessLimits, Reply

_LOG = logging.getLogger(__name__)
WORD: Final = re.compile(r"[A-Za-z0-9_.:+-]{1,64}")
"""What a word from a decoding process has to be."""
_ROUNDED: Final = 64 << 20
"""Arenas are a multiple of this: few uploads need a larger one than the upload before."""
BROKEN: Final = (
    "known good work fails in a decoding process as well: see how much memory this machine has left, and whether its "
    'kernel allows what `likeness status` shows; decode.sandbox = "off" decodes in the scanner itself'
)


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How many decoding processes there are, and what one of them may take."""

    processes: int
    """That work at the same time."""
    limits: ProcessLimits
    recycle_items: int
    recycle_bytes: int
    module: str = "embeddings.sandbox.allowlist"
    """Where the allowlist is (:mod:`embeddings.sandbox.work`)."""


class DecodingPool:
    """Decoding processes. Safe to call from several threads, and after a fork."""

    def __init__(self, settings: SandboxSettings) -> None:
        """Starts nothing yet."""
        self.settings = settings
        self._idle: list[DecodingProcess] = []
        self._others: list[list[DecodingProcess]] = []
        self._forget()

    def _forget(self) -> None:
        """Begin anew in a process that was forked: the processes there are belong to the other one."""
        self._others.append(self._idle)
        self._owner = os.getpid()
        self._lock = threading.RLock()  # results are collected, and handed back, anywhere: within it as well
        self._turns = threading.BoundedSemaphore(self.settings.processes)
        self._idle = []

    def results(self, function: str, facts: dict[str, Any], data: bytes, *, room: int) -> Results:
        """Begin with ``function`` on ``data``, and wait for its first result. ``room``: bytes that a result may have.

        Raises :class:`UnscannableError` for what the function raises or dies of, :class:`NotReadyError` where known
        good work fails as well.
        """
        if os.getpid() != self._owner:
            self._forget()
        arena = len(data) + room + 4 * exchange.MOST_FACTS
        with self._turns:
            process, answer = self._first(function, facts, data, arena)
        return Results(self, process, answer)

    def confinement(self) -> Confinement:
        """Return what holds a process of this pool, which is started if there is none."""
        with self._turns:
            process = self._take(0)
            self._give_back(process)
        return process.confinement

    def close(self) -> None:
        """End the processes that nobody is using. The pool may be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _first(self, function: str, facts: dict[str, Any], data: bytes, arena: int) -> tuple[DecodingProcess, Reply]:
        reason = DECODER_CRASH
        for fresh in (False, True):  # a process may die by chance, or of what the upload before has left in it
            process = self._take(arena, fresh=fresh)
            try:
                return process, process.call(function, facts, data)
            except Died as death:
                reason = death.reason
                process.end()
            except BaseException:
                process.end()
                raise
        raise self.at_fault(reason)

    def at_fault(self, reason: str, kind: str = "") -> UnscannableError:
        """Return the status of an upload over which a process died, or that raised something unforeseen.

        Raises :class:`NotReadyError` where known good work fails as well.
        """
        process = self._take(0, fresh=True)
        try:
            answer = process.control()
        except Died as death:
            process.end()
            raise NotReadyError(BROKEN) from death
        if answer.what != exchange.LAST:
            process.end()
            raise NotReadyError(BROKEN)
        self._give_back(process)
        error = UnscannableError(reason, kind)
        what = f" ({kind})" if kind else ""
        _LOG.warning("an item is %s: what its bytes do to the process that decodes them%s", error.status, what)
        return error

    def _take(self, arena: int, *, fresh: bool = False) -> DecodingProcess:
        """A process with an arena of that size: one that waits, or a new one."""
        while not fresh:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                break
            if process.arena_bytes >= arena:
                return process
            process.end()
        settings = self.settings
        return DecodingProcess(
            settings.module,
            arena_bytes=-(-max(arena, _ROUNDED) // _ROUNDED) * _ROUNDED,
            limits=settings.limits,
        )

    def _give_back(self, process: DecodingProcess) -> None:
        if os.getpid() != self._owner:
            return  # a copy in a process that was forked
        settings = self.settings
        with self._lock:
            used_up = process.items >= settings.recycle_items or process.bytes >= settings.recycle_bytes
            keep = not used_up and len(self._idle) < settings.processes
            if keep:
                process.release()
                self._idle.append(process)
        if not keep:
            process.end()


class Results(Iterator[Reply]):
    """The results of a function one by one. Who does not take them all closes it, or lets it be collected."""

    def __init__(self, pool: DecodingPool, process: DecodingProcess, first: Reply) -> None:
        self._pool = pool
        self._process: DecodingProcess | None = process
        self._coming: Reply | None = self._taken(first)

    def __next__(self) -> Reply:
        answer, self._coming = self._coming, None
        if answer is not None:
            return answer
        if self._process is None:
            raise StopIteration
        with self._pool._turns:
            try:
                asked = self._process.next()
            except Died as death:
                self._end()
                raise self._pool.at_fault(death.reason) from death
            except BaseException:  # it may still answer, and the next one to ask would take that for its own
                self._end()
                raise
            taken = self._taken(asked)
        if taken is None:
            raise StopIteration
        return taken

    def _taken(self, answer: Reply) -> Reply | None:
        """The answer if it is a result; None at the end. Raises what it says of the upload."""
        if answer.what == exchange.RESULT:
            return answer
        if answer.what in (exchange.LAST, exchange.END, exchange.ITEM_ERROR):
            self._hand_back()
        if answer.what == exchange.LAST:
            return answer
        if answer.what == exchange.END:
            return None
        if answer.what == exchange.ITEM_ERROR:
            raise UnscannableError(word(answer.facts.get("reason")))
        self._end()
        if answer.what != exchange.FAULT:
            raise self._pool.at_fault(DECODER_CRASH)
        if answer.facts.get("forbidden") is True:
            raise self._pool.at_fault(DECODER_FORBIDDEN)
        reason = SCANNER_MEMORY if answer.facts.get("memory") is True else SCANNER_ERROR
        raise self._pool.at_fault(reason, word(answer.facts.get("kind")))

    def close(self) -> None:
        """Let go of results that nobody wants."""
        if self._process is not None and self._process.owner == os.getpid():
            self._process.stop()
            self._hand_back()

    def _hand_back(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            self._pool._give_back(process)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def __del__(self) -> None:
        self.close()


def word(value: object) -> str:
    """Return a word that a decoding process said. Raises :class:`UnscannableError` for anything else."""
    if not isinstance(value, str) or not WORD.fullmatch(value):
        raise unbelievable()
    return value


def unbelievable() -> UnscannableError:
    """Return the status of an upload that has made a decoding process say what none says by itself."""
    return UnscannableError(DECODER_CRASH, "an answer that no decoder gives")
