"""Whom the last transactions of this process were about, by the counter that the seal gave each.

The counter rises by one with every changing transaction of any process (:mod:`pipelines.home.state_seal`). So whoever
remembers what it read at one counter learns from :meth:`Journal.since` whom to read anew, or that another process wrote
meanwhile and nobody can say.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

MOST_KEPT: Final = 4096
"""Transactions that are remembered: more than any reader is behind."""


class Journal:
    """Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._about: OrderedDict[int, frozenset[str] | None] = OrderedDict()

    def note(self, counter: int, about: frozenset[str] | None) -> None:
        """Note whom a transaction that has been committed was about. None: it may be anybody."""
        with self._lock:
            self._about[counter] = about
            while len(self._about) > MOST_KEPT:
                self._about.popitem(last=False)

    def since(self, counter: int, until: int) -> frozenset[str] | None:
        """Whom the transactions after ``counter`` up to ``until`` were about. None: that is not known of each."""
        if not 0 <= until - counter <= MOST_KEPT:
            return None
        found: set[str] = set()
        with self._lock:
            for each in range(counter + 1, until + 1):
                about = self._about.get(each)
                if about is None:
                    return None
                found |= about
        return frozenset(found)
