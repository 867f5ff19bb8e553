"""A process that holds the sealing key keeps its memory and its new files to itself (I8)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipelines
from pipelines.home import hardening
from tests.conftest import KEY
from tests.source_code import called

linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
_OPEN = """
import ctypes, os, resource, sys
from pathlib import Path
from pipelines.settings.environment import read_environment
from pipelines.home.sealing import load_master_key
os.umask(0o022)
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]  # 0 below a process that has loaded a key itself
resource.setrlimit(resource.RLIMIT_CORE, (4096 if hard < 0 else min(4096, hard), hard))
PR_GET_DUMPABLE, prctl = 3, ctypes.CDLL(None).prctl
before = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
load_master_key(read_environment().key, Path("unused"), create=False)
print(before, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))
"""


@linux
def test_i8_loading_the_key_forbids_core_dumps_debuggers_and_files_for_others() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _OPEN],
        env=os.environ | {"LIKENESS_KEY": KEY},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == ["1", "0", "0", "0", "0o27"]


def test_a_system_that_refuses_is_a_warning_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(hardening, "_prctl", lambda option, value: -1)
    with pytest.warns(hardening.DumpableWarning, match="memory dumps"):
        hardening.harden_process()


def test_i8_the_key_is_loaded_in_one_place() -> None:
    """Whoever makes a sealer has called `load_master_key`, which hardens the process."""
    makers = {
        path.relative_to(Path(pipelines.__file__).parent).as_posix()
        for path in Path(pipelines.__file__).parent.rglob("*.py")
        for name, _ in called(path)
        if name == "Sealer"
    }
    assert makers == {"home/workspace.py"}
