"""One decoding process as the scanner sees it: started, asked, and ended."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, fcntl
from typing import Any, Final

import numpy as np

from embeddings.errors import NotReadyError
from embeddings.faults import DECODER_CRASH, DECODER_FORBIDDEN, DECODER_TIMEOUT
from embeddings.sandbox import exchange
from embeddings.sandbox.confinement import MEASURES, Confinement
from embeddings.types import UInt8

_KEPT_BYTES: Final = 16 << 20
"""Of the arena that stays in memory between two items."""
_ALONE: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"}
"""The whole environment of a decoding process but the search path: nothing of the scanner's."""
_REASONS: Final = {-signal.SIGXCPU: DECODER_TIMEOUT, -signal.SIGSYS: DECODER_FORBIDDEN}


class Died(Exception):  # noqa: N818 - an event, which the pool makes an error or not
    """The process ended over what it was asked. ``reason``: of the item's status."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What one decoding process may take."""

    memory_bytes: int
    """Beyond its libraries and the arena."""
    processor_seconds: float
    """For one answer, of processor time."""
    item_seconds: float
    """For one answer, by the clock."""
    start_seconds: float
    """Until it is confined, and for known good work."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a decoding process said. Nothing in it is to be believed before it is checked."""

    what: int
    facts: dict[str, Any] = field(repr=False)
    payload: UInt8 = field(repr=False)
    """One axis; the caller's own copy."""


class DecodingProcess:
    """A process and its arena. For one thread at a time."""

    def __init__(self, module: str, *, arena_bytes: int, limits: ProcessLimits) -> None:
        """Start it and wait until it is confined. Raises :class:`NotReadyError` where it does not come to that."""
        self.arena_bytes = arena_bytes
        self._limits = limits
        self.owner = os.getpid()
        self.items = 0
        self.bytes = 0
        self._answers_at = 0
        self._last = 0
        self._talking, theirs = socket.socketpair()
        file = os.memfd_create("arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(file, arena_bytes)
            fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)  # a page that is gone would be SIGBUS
            self._arena = mmap.mmap(file, arena_bytes)
            given = (theirs.fileno(), file, arena_bytes, limits.memory_bytes + arena_bytes, module)
            self._process = subprocess.Popen(  # noqa: S603 - the interpreter that runs this
                [sys.executable, "-P", "-s", "-m", "embeddings.sandbox.worker", *map(str, given)],
                env={**_ALONE, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},  # noqa: PTH109
                pass_fds=(theirs.fileno(), file),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        finally:
            theirs.close()
            os.close(file)
        self.confinement = self._begin()

    def _begin(self) -> Confinement:
        try:
            facts = self._answer(self._limits.start_seconds).facts
        except Died as death:
            self.end()
            raise NotReadyError(
                f"a decoding process does not begin ({death.reason}): see how much memory this machine has left; "
                'decode.sandbox = "off" decodes in the scanner itself'
            ) from death
        named = {name: tuple(one for one in MEASURES if one in facts[name]) for name in ("active", "missing")}
        return Confinement(**named)

    def call(self, name: str, facts: dict[str, Any], data: bytes) -> Reply:
        """Ask for a function's first result. Raises :class:`Died`."""
        packed = exchange.pack({"function": name, "facts": facts})
        self._answers_at = exchange.behind(len(packed) + len(data))
        if self._answers_at + exchange.MOST_FACTS > self.arena_bytes:
            raise ValueError("the arena is too small for what is asked")
        self.items += 1
        self.bytes += len(data)
        self._arena[: len(packed)] = packed
        self._arena[len(packed) : len(packed) + len(data)] = data
        return self._ask(exchange.CALL, len(packed), len(data))

    def next(self) -> Reply:
        """Ask for the next result of the same function. Raises :class:`Died`."""
        return self._ask(exchange.NEXT)

    def control(self) -> Reply:
        """Have known good work done. Raises :class:`Died`."""
        self._answers_at = 0
        return self._ask(exchange.CONTROL)

    def stop(self) -> None:
        """Let go of a function that has results left, and of memory that a large item took."""
        with contextlib.suppress(OSError):  # if it is gone, the next question will show it
            self._talking.sendall(exchange.ASK.pack(exchange.STOP, 0, 0, 0.0))

    def release(self) -> None:
        """Give the arena's memory back where much of it was used."""
        if self._answers_at + self._last > _KEPT_BYTES:
            self._arena.madvise(mmap.MADV_REMOVE)

    def end(self) -> None:
        """End it at once, and wait until it is gone."""
        self._talking.close()
        self._process.kill()
        self._process.wait()
        self._arena.close()

    def _ask(self, what: int, fact_bytes: int = 0, data_bytes: int = 0) -> Reply:
        limits = self._limits
        seconds = limits.start_seconds if what == exchange.CONTROL else limits.item_seconds
        question = exchange.ASK.pack(what, fact_bytes, data_bytes, min(limits.processor_seconds, seconds))
        try:
            self._talking.settimeout(seconds)
            self._talking.sendall(question)
        except OSError as error:
            raise Died(self._reason()) from error
        return self._answer(seconds)

    def _answer(self, seconds: float) -> Reply:
        """Wait for an answer, and copy it: the process could change it while it is looked at."""
        head = self._head(time.monotonic() + seconds)
        what, fact_bytes, payload_bytes = exchange.ANSWER.unpack(head)
        start = exchange.behind(self._answers_at + fact_bytes)
        if fact_bytes > exchange.MOST_FACTS or start + payload_bytes > self.arena_bytes:
            raise Died(DECODER_CRASH)
        self._last = start + payload_bytes - self._answers_at
        try:
            facts = exchange.unpack(self._arena[self._answers_at : self._answers_at + fact_bytes])
        except (ValueError, RecursionError) as error:
            raise Died(DECODER_CRASH) from error
        payload = np.frombuffer(self._arena, dtype=np.uint8, count=payload_bytes, offset=start).copy()
        return Reply(what, facts, payload)

    def _head(self, deadline: float) -> bytes:
        head = b""
        while len(head) < exchange.ANSWER.size:
            self._talking.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                piece = self._talking.recv(exchange.ANSWER.size - len(head))
            except TimeoutError as error:
                raise Died(DECODER_TIMEOUT) from error
            except OSError as error:
                raise Died(self._reason()) from error
            if not piece:
                raise Died(self._reason())
            head += piece
        return head

    def _reason(self) -> str:
        """What it died of; a process that only closed its socket is ended."""
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return DECODER_CRASH
        return _REASONS.get(code, DECODER_CRASH)
