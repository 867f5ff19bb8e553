"""The contents fetched last, in memory, so that the pictures of new hits need not be fetched again.

Holds at most ``evidence.recent_bytes``, the newest, and is gone with the process.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from embeddings.types import Content


class RecentContents:
    """Contents by digest; the oldest are dropped first. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contents: OrderedDict[str, Content] = OrderedDict()
        self._bytes = 0

    def remember(self, content: Content, *, most_bytes: int) -> None:
        """Keep a content as the newest, within ``most_bytes`` of all."""
        size, key = len(content.data), content.sha256.hex()
        with self._lock:
            if key in self._contents or size > most_bytes:
                return
            self._contents[key] = content
            self._bytes += size
            while self._bytes > most_bytes:
                _, oldest = self._contents.popitem(last=False)
                self._bytes -= len(oldest.data)

    def get(self, sha256: str) -> Content | None:
        """Return the content with this digest, or None if it is not held."""
        with self._lock:
            return self._contents.get(sha256)
