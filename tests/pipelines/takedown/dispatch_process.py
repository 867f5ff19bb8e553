"""A dispatcher in a process of its own, forked by :mod:`tests.forking`: arguments ``DATABASE RECEIVER``.

Dies at ``LIKENESS_FAILPOINT`` when that is set. Its clock stands still at the beginning of the tests' time.
"""

from __future__ import annotations

import os
import sys

from pipelines.database import Database
from tests import forking
from tests.pipelines.takedown.delivering import START, dispatch_once, http_client


def start(database: Database, receiver_url: str, *, failpoint: str = "") -> forking.Child:
    url = database.url.render_as_string(hide_password=False)
    return forking.start(__name__, [url, receiver_url], {"LIKENESS_FAILPOINT": failpoint})


def main() -> None:
    database_url, receiver_url = sys.argv[1:]
    database = Database(database_url, busy_timeout_seconds=60)
    with http_client(receiver_url) as client:
        dispatch_once(database, client, lambda: START, owner=f"process-{os.getpid()}")
    database.close()
