"""Measuring two programs side by side on a noisy machine: each runs in its own process, and they take turns.

A worker answers one JSON line to each JSON line it is given. Between its turns it is stopped (SIGSTOP), so that nothing
it does in the background uses the other's time. Workers measure their own seconds, from message to answer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Any

Message = dict[str, Any]


class Worker:
    """The parent's side: a module of this package started as a process, running only during :meth:`turn`."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self._name = module
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self._answer()

    def turn(self, **message: object) -> Message:
        """Let the worker run until it answers. Raises :class:`RuntimeError` when it ends instead."""
        self._process.send_signal(signal.SIGCONT)
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError(f"{self._name} has no standard input")
        stdin.write(json.dumps(message) + "\n")
        stdin.flush()
        return self._answer()

    def _answer(self) -> Message:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{self._name} ended with exit status {self._process.wait()}; its error is above")
        self._process.send_signal(signal.SIGSTOP)
        answer: Message = json.loads(line)
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


class Seat:
    """The worker's side. Counts the seconds of its turns."""

    def __init__(self) -> None:
        # The answers keep standard output to themselves; whatever else prints goes to standard error.
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.seconds = 0.0
        self._started = time.perf_counter()

    def answer(self, **message: object) -> Message:
        """End the turn with this answer and wait for the next one. Exits the process when the parent is gone."""
        self.seconds = self.clock()
        self._answers.write(json.dumps(message) + "\n")
        self._answers.flush()
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        self._started = time.perf_counter()
        given: Message = json.loads(line)
        return given

    def clock(self) -> float:
        """Seconds of all turns so far, this one included."""
        return self.seconds + time.perf_counter() - self._started
