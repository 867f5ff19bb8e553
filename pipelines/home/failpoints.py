"""Named places where a test can make the process die, so that durability is proved and not believed (I6).

``LIKENESS_FAILPOINT=name`` or ``name:3`` (the third passage) kills the process with SIGKILL, as a power cut would.
Unset, a failpoint costs one comparison.
"""

from __future__ import annotations

import os
import signal

NAMES = (
    "before_shard_rename",
    "after_shard_rename",
    "before_manifest_commit",
    "after_manifest_commit",
    "before_content_commit",
    "after_content_commit",
    "before_compaction_commit",
    "after_compaction_commit",
    "during_comparison",
    "before_match_commit",
    "after_match_commit",
    "before_examine_commit",
    "after_examine_commit",
    "before_evidence_commit",
    "after_evidence_commit",
    "before_decision_commit",
    "after_decision_commit",
    "before_outbox_commit",
    "after_outbox_commit",
    "before_http_send",
    "after_http_send",
    "before_acknowledgement",
    "after_acknowledgement",
    "before_witness_write",
    "before_witness_rename",
    "after_witness_write",
)


class Failpoints:
    """Counts passages and dies at the armed one."""

    def __init__(self, armed: str | None) -> None:
        name, _, count = (armed or "").partition(":")
        if name and name not in NAMES:
            raise ValueError(f"unknown failpoint; known are {', '.join(NAMES)}")
        self._name = name
        self._left = int(count or 1)

    def pass_by(self, name: str) -> None:
        """Die here if this is the armed failpoint's turn."""
        if name == self._name:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
