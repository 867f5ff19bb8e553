"""A dispatcher in a process of its own: ``python -m tests.pipelines.takedown.dispatch_process DATABASE RECEIVER``.

Dies at ``LIKENESS_FAILPOINT`` when that is set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

from pipelines.database import Database
from tests.pipelines.takedown.delivering import dispatch_once, http_client


def start(database: Database, receiver_url: str, *, failpoint: str = "") -> subprocess.Popen[bytes]:
    url = database.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", __name__, url, receiver_url]
    return subprocess.Popen(command, env=os.environ | {"LIKENESS_FAILPOINT": failpoint})


def main() -> None:
    database_url, receiver_url = sys.argv[1:]
    database = Database(database_url, busy_timeout_seconds=60)
    with http_client(receiver_url) as client:
        dispatch_once(database, client, lambda: datetime.now(UTC), owner=f"process-{os.getpid()}")
    database.close()


if __name__ == "__main__":
    main()
