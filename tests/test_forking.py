"""The server of forked processes ends with whoever started it, and what it forks is a process with a status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORDER = """
from tests import forking
child = forking.start("tests.pipelines.durability_process", ["--help"], {})
done = child.completed()
print(done.returncode, done.stdout.split()[0], forking.start("tests.pipelines.durability_process", [], {}).wait())
"""


def test_a_forked_process_has_its_own_output_and_status_and_the_server_ends_with_its_owner() -> None:
    """Without the end of the server this would not return, because the server keeps the error stream open."""
    done = subprocess.run([sys.executable, "-c", ORDER], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "0 Usage: 2\n"
