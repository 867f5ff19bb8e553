"""A server of files on the loopback, as a process of its own, so that its time is nobody's.

Prints its port on a line and serves ``http://127.0.0.1:PORT/NAME`` until its standard input ends.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    """Serve a folder: host with port, and the process."""
    command = [sys.executable, "-m", "benchmarks.workers.files", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"127.0.0.1:{(process.stdout or sys.stdin).readline().strip()}", process.pid
        finally:
            process.kill()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="benchmarks.workers.files")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections
        wbufsize = -1  # head and body together

        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_given: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
