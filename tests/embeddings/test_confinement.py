"""Each measure that confines a decoding process, by itself: in a process where no other one is taken."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from embeddings.sandbox.confinement import CAPABILITIES, LANDLOCK, LIMITS, NO_NEW_PRIVILEGES, SECCOMP, offered
from embeddings.sandbox.pool import DecodingPool
from embeddings.sandbox.syscalls import ALLOW, KILL, MACHINES, REFUSE, filter_program
from tests.embeddings.test_sandbox import OWN

ROOT = Path(__file__).parent.parent.parent
PRCTL = "confinement._prctl(38, 1); "
"""No new privileges, without which the kernel takes neither a rule set nor a filter."""
ATTEMPTS = {
    "file": "open('/proc/self/status').read()",
    "socket": "socket.socket().connect(('127.0.0.1', 9))",
    "memory": "bytearray(2**33)",
    "large_file": "os.write(file, b'x' * 10)",
    "program": "os.execv(sys.executable, [sys.executable, '-c', ''])",
    "capability": "os.chown(folder, 12345, 12345)",
}
REFUSALS = [
    (LIMITS, "confinement._limit(addresses=2**32)", "memory", "MemoryError"),
    (LIMITS, "confinement._limit(addresses=2**40)", "large_file", "OSError 27"),
    (LIMITS, "confinement._limit(addresses=2**40)", "file", "OSError 24"),
    (LANDLOCK, PRCTL + "confinement._landlock()", "file", "PermissionError 13"),
    (LANDLOCK, PRCTL + "confinement._landlock()", "program", "PermissionError 13"),
    (SECCOMP, PRCTL + "confinement._seccomp()", "file", "PermissionError 1"),
    (SECCOMP, PRCTL + "confinement._seccomp()", "socket", "killed by 31"),
    (SECCOMP, PRCTL + "confinement._seccomp()", "program", "killed by 31"),
    (CAPABILITIES, "confinement._drop_capabilities()", "capability", "PermissionError 1"),
]


def attempt(taken: str, tried: str, folder: Path) -> str:
    """What becomes of an attempt in a process that has taken one measure."""
    program = f"""
import os, signal, socket, sys
from embeddings.sandbox import confinement
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = {str(folder)!r}
file = os.open({str(folder / "file")!r}, os.O_RDWR | os.O_CREAT, 0o600)
{taken}
try:
    {ATTEMPTS[tried]}
except BaseException as error:
    said = f"{{type(error).__name__}} {{getattr(error, 'errno', '')}}".strip()
    os.write(1, said.encode())
else:
    os.write(1, b"done")
os._exit(0)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    return ended.stdout if ended.returncode >= 0 else f"killed by {-ended.returncode}"


def need(measure: str) -> None:
    if measure not in offered().active:
        pytest.skip(f"this kernel does not offer {measure}")


@pytest.mark.parametrize(("measure", "taken", "tried", "refusal"), REFUSALS)
def test_i9_each_measure_refuses_what_it_is_for(
    measure: str, taken: str, tried: str, refusal: str, tmp_path: Path
) -> None:
    need(measure)
    if tried != "capability":
        assert attempt("", tried, tmp_path) in ("done", "ConnectionRefusedError 111", "")
    assert attempt(taken, tried, tmp_path) == refusal


def test_landlock_keeps_a_process_from_reaching_a_port(tmp_path: Path) -> None:
    need(LANDLOCK)
    if _version() < 4:
        pytest.skip("this kernel's Landlock knows no ports")
    assert attempt(PRCTL + "confinement._landlock()", "socket", tmp_path) == "PermissionError 13"


def _version() -> int:
    from embeddings.sandbox.confinement import _landlock_version

    return _landlock_version()


def test_a_process_says_what_confines_it_as_the_kernel_was_asked() -> None:
    pool = DecodingPool(OWN)
    held = pool.confinement()
    pool.close()
    assert held == offered()
    assert {LIMITS, NO_NEW_PRIVILEGES} <= set(held.active)
    assert not set(held.active) & set(held.missing)


def verdict(program: bytes, *, machine: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What a filter answers: a reading of its own of the five instructions that it is made of."""
    call = struct.pack("<iIQ6Q", number, machine, 0, *(*arguments, *[0] * (6 - len(arguments))))
    lines = list(struct.iter_unpack("=HBBI", program))
    at, value = 0, 0
    while True:
        code, yes, no, operand = lines[at]
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("<I", call, operand)
        elif code == 0x54:
            value &= operand
        elif code == 0x15:
            at += yes if value == operand else no
        elif code == 0x35:
            at += yes if value >= operand else no
        else:
            assert code == 0x06
            return int(operand)


@pytest.mark.parametrize("name", MACHINES)
def test_the_filter_answers_each_call_as_the_list_says(name: str) -> None:
    kind = MACHINES[name]
    program = filter_program(kind, pid=77)

    def asked(number: int, *arguments: int) -> int:
        return verdict(program, machine=kind.audit, number=number, arguments=arguments)

    guarded = kind.guarded
    assert {asked(number) for number in kind.allowed.values()} == {ALLOW}
    assert {asked(number) for number in kind.killed.values()} == {KILL}
    assert asked(guarded["mmap"], 0, 4096, 3) == asked(guarded["mprotect"], 0, 4096, 1) == ALLOW
    assert asked(guarded["mmap"], 0, 4096, 5) == asked(guarded["mprotect"], 0, 4096, 7) == REFUSE
    assert asked(guarded["clone"], 0x3D0F00) == ALLOW
    assert asked(guarded["clone"], 0x1200011) == KILL
    assert asked(guarded["clone3"], 0x3D0F00) & 0xFFFF == 38
    assert [asked(guarded["tgkill"], pid, 77, 6) for pid in (77, 78)] == [ALLOW, KILL]
    assert [asked(guarded["prlimit64"], pid, kind_of) for pid, kind_of in ((0, 0), (0, 9), (1, 0))] == [
        ALLOW,
        REFUSE,
        REFUSE,
    ]
    assert {verdict(program, machine=other.audit, number=1) for other in MACHINES.values() if other is not kind} == {
        KILL
    }
    assert asked(0x40000000 | 1) == KILL
    known = {*kind.allowed.values(), *kind.killed.values(), *guarded.values()}
    assert {asked(number) for number in range(600) if number not in known} == {REFUSE}


@pytest.mark.parametrize("name", MACHINES)
def test_no_call_is_on_two_lists(name: str) -> None:
    kind = MACHINES[name]
    numbers = [*kind.allowed.values(), *kind.guarded.values(), *kind.killed.values()]
    assert len(numbers) == len(set(numbers))
    assert set(_NAMES) <= {*kind.allowed, *kind.guarded, *kind.killed}


_NAMES = ("read", "write", "mmap", "futex", "exit_group", "socket", "execve", "ptrace", "clone")
