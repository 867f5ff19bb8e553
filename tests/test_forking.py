"""The server of forked processes ends with whoever started it, and what it forks is a process with a status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORDER = """
from tests import forking
child = forking.start("tests.pipelines.runs.durability_process", ["--help"], {})
done = child.completed()
print(done.returncode, done.stdout.split()[0], forking.start("tests.pipelines.runs.durability_process", [], {}).wait())
"""


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


def test_a_forked_process_has_its_own_output_and_status_and_the_server_ends_with_its_owner() -> None:
    """Without the end of the server this would not return, because the server keeps the error stream open."""
    done = subprocess.run([sys.executable, "-c", ORDER], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "0 Usage: 2\n"
