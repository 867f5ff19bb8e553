"""What takes long to read and changes slowly, as it was up to ``review.queue_seconds`` ago."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from pipelines.home.workspace import Workspace

MOST_KEPT: Final = 256
Value = TypeVar("Value")


class Remembered:
    """Values by what they are of. Safe to share between threads; two that ask at once may both read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[datetime, Any]] = OrderedDict()
        self._forgotten = 0

    def read(self, workspace: Workspace, name: str, make: Callable[[], Value]) -> Value:
        """The value of this name: as it was made some seconds ago, or made now."""
        now, longest = workspace.now(), timedelta(seconds=workspace.config.review.queue_seconds)
        with self._lock:
            known, forgotten = self._known.get(name), self._forgotten
        if known is not None and abs(now - known[0]) < longest:
            value: Value = known[1]
            return value
        made = make()
        with self._lock:
            if self._forgotten != forgotten:
                return made  # somebody did something while this was read
            self._known[name] = (now, made)
            self._known.move_to_end(name)
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        return made

    def forget(self) -> None:
        """Have everything read anew, because somebody did something."""
        with self._lock:
            self._known.clear()
            self._forgotten += 1
