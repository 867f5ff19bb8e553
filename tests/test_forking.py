"""The server that forks the processes which tests kill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_server_ends_when_the_process_that_started_it_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.forking", str(tmp_path / "orders")]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        assert server.stdout.readline() == b"ready\n"
        server.stdin.close()
        try:
            assert server.wait(timeout=600) == 0
        finally:
            server.kill()  # one that does not end would be waited for
