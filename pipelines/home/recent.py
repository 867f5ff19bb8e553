"""What was fetched a moment ago, in memory: so that what a scan has just read need not be fetched again for its hits.

At most ``evidence.recent_bytes`` of it, the newest. Gone with the process.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from embeddings.types import Content


class RecentContents:
    """Contents by digest, the oldest of them let go of first. Safe between threads."""

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
        """The content of this digest, if it is there still."""
        with self._lock:
            return self._contents.get(sha256)
