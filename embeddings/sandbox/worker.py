"""The decoding process: load the allowlist, give up every right, then do what is asked until nobody asks any more.

Started as a program of its own (``python -m embeddings.sandbox.worker``), so that nothing of the scanner's memory is in
it: no key, no name, no vector. Whatever an upload's bytes raise is an answer; what ends the process, the pool sees.
"""

from __future__ import annotations

import errno
import importlib
import mmap
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict

import numpy as np

from embeddings.errors import ItemError, UnscannableError
from embeddings.sandbox import exchange
from embeddings.sandbox.confinement import allow_seconds, confine
from embeddings.sandbox.work import Facts, Result, Work


def main() -> None:
    """Serve one pool. Arguments: descriptors of socket and arena, bytes of both, bytes of memory, module of the work.

    The arena is closed once it is mapped.
    """
    talking, arena_file, size, memory = (int(text) for text in sys.argv[1:5])
    known: Mapping[str, Work] = importlib.import_module(sys.argv[5]).WORK
    arena = mmap.mmap(arena_file, size)
    os.close(arena_file)
    for work in known.values():
        _load_all_of(work)
    held = confine(memory_bytes=memory)
    served = _Served(talking, arena, known)
    served.answer(exchange.LAST, asdict(held))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the scanner is gone, or has no more to ask
        while True:
            served.one()


def _load_all_of(work: Work) -> None:
    for facts, data in work.controls():
        with suppress(UnscannableError):  # a format that is not accepted
            for _ in work.function(facts, data):
                pass


class _Served:
    """One pool, and the function that is at work for it."""

    def __init__(self, talking: int, arena: mmap.mmap, known: Mapping[str, Work]) -> None:
        self._talking = talking
        self._arena = arena
        self._known = known
        self._results: Iterator[Result] = iter(())
        self._free = 0

    def one(self) -> None:
        """Take one question, and answer it if it has an answer."""
        what, fact_bytes, data_bytes, seconds = exchange.ASK.unpack(
            exchange.read_exactly(self._talking, exchange.ASK.size)
        )
        if what == exchange.STOP:
            self._results = iter(())
            return
        allow_seconds(seconds)
        try:
            if what == exchange.CALL:
                asked = self._arena[:fact_bytes]
                data = self._arena[fact_bytes : fact_bytes + data_bytes]
                self._free = exchange.behind(fact_bytes + data_bytes)
                facts = exchange.unpack(asked)
                self._results = self._known[facts["function"]].function(facts["facts"], data)
            elif what == exchange.CONTROL:
                self._free = 0
                self._results = self._controlled()
            self._next()
        except Exception as error:  # noqa: BLE001 - whatever an upload raises is the answer
            self._results = iter(())
            self._refuse(error)

    def _controlled(self) -> Iterator[Result]:
        """Do the first control of each function."""
        for work in self._known.values():
            for _ in work.function(*next(work.controls())):
                pass
        yield Result({}, np.empty(0, dtype=np.uint8), last=True)

    def _next(self) -> None:
        result = next(self._results, None)
        if result is None:
            self.answer(exchange.END, {})
        else:
            self.answer(exchange.LAST if result.last else exchange.RESULT, result.facts, result.payload.data)

    def _refuse(self, error: Exception) -> None:
        forbidden = _is_refusal(error) or _is_refusal(error.__cause__)
        if isinstance(error, ItemError) and not forbidden:
            self.answer(exchange.ITEM_ERROR, {"reason": error.reason})
        else:
            kind = type(error.__cause__ or error) if forbidden else type(error)
            facts: Facts = {"kind": kind.__name__, "memory": isinstance(error, MemoryError), "forbidden": forbidden}
            self.answer(exchange.FAULT, facts)

    def answer(self, what: int, facts: Facts, payload: memoryview | None = None) -> None:
        """Write an answer behind the question. Raises ``ValueError`` where there is no room for it."""
        packed = exchange.pack(facts)
        at, size = exchange.behind(self._free + len(packed)), payload.nbytes if payload is not None else 0
        self._arena[self._free : self._free + len(packed)] = packed
        if payload is not None and size:
            self._arena[at : at + size] = payload.cast("B")
        head = exchange.ANSWER.pack(what, len(packed), size)
        if os.write(self._talking, head) != len(head):
            raise BrokenPipeError


def _is_refusal(error: BaseException | None) -> bool:
    """Whether the kernel refused a file or the like: by filter or Landlock, or for want of a free descriptor."""
    return isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES, errno.EMFILE)


if __name__ == "__main__":
    main()
