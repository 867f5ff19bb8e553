"""Decoders that do what a decoder might be made to do, in place of the real ones. Run in decoding processes alone.

A file that begins as a GIF and goes on with ``DEED`` and a word has that done; every other file is really decoded.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from embeddings.errors import UnscannableError
from embeddings.sandbox.header_work import HEADER_WORK, READ_HEADER
from embeddings.sandbox.image_work import DECODE_IMAGE, IMAGE_WORK, decode_image
from embeddings.sandbox.work import Facts, Result, Work

DEED = b"GIF89a deed:"
GIVEN = sorted(one.partition("=")[0] for one in Path("/proc/self/environ").read_text().split("\0") if one)
"""Names of the variables that this process was started with; libraries set others."""
NOTHING = np.empty(0, dtype=np.uint8)
_PROT_EXEC = 4


def deed(name: str) -> bytes:
    """A file that has this done."""
    return DEED + name.encode()


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(3600)


def allocate() -> None:
    kept = []
    while True:
        kept.append(bytearray(b"x") * 2**26)


def allocate_at_once() -> None:
    np.ones(2**40, dtype=np.uint8)


def raise_oddly() -> None:
    raise LookupError("a text of the upload's, Jane Doe")


def deny_twice() -> None:
    """As a decoder's errors are turned into a word."""
    try:
        open_file()
    except OSError as error:
        raise UnscannableError("corrupt") from error


def open_file() -> None:
    with open(__file__, "rb") as file:  # noqa: PTH123
        file.read()


def write_file() -> None:
    with open("/tmp/of-a-decoder", "wb") as file:  # noqa: PTH123
        file.write(b"x")


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def run_program() -> None:
    os.execv("/bin/true", ["/bin/true"])


def run_memory() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | _PROT_EXEC)


def kill_scanner() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


DEEDS: dict[str, Callable[[], object]] = {
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "exit": lambda: os._exit(0),
    "spin": spin,
    "sleep": sleep,
    "allocate": allocate,
    "allocate_at_once": allocate_at_once,
    "raise": raise_oddly,
    "open_file": open_file,
    "deny_twice": deny_twice,
    "write_file": write_file,
    "list_folder": lambda: list(Path("/").iterdir()),
    "open_socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "open_unix_socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "fork": fork,
    "run_program": run_program,
    "run_memory": run_memory,
    "kill_scanner": kill_scanner,
}

_IMAGE = {"format": "gif", "width": 4, "height": 4, "frames_total": 1}
_FRAME = {"index": 0, "scale": 1.0, "offset": [0.0, 0.0]}
_TRUE = {"image": _IMAGE, "frame": _FRAME, "rows": 4, "columns": 4, "enlarges": False}
LIES: dict[str, Facts] = {
    "no_size": {name: value for name, value in _TRUE.items() if name != "rows"},
    "larger_than_it_is": {**_TRUE, "rows": 4000},
    "negative": {**_TRUE, "rows": -4, "columns": -4},
    "words_of_its_own": {**_TRUE, "image": {**_IMAGE, "format": "Jane Doe, \x1b[31m"}},
    "no_numbers": {**_TRUE, "frame": {**_FRAME, "scale": float("nan")}},
    "beyond_the_limit": {**_TRUE, "image": {**_IMAGE, "width": 2**40}},
    "no_frames": {**_TRUE, "image": {**_IMAGE, "frames_total": 0}},
    "another_shape": {**_TRUE, "image": [1, 2]},
    "no_scale": {**_TRUE, "frame": {**_FRAME, "scale": 0}},
    "too_few_numbers": {**_TRUE, "frame": {**_FRAME, "offset": [0.0]}},
    "no_words": {**_TRUE, "image": {**_IMAGE, "width": "4"}},
}


def decode_or_do(facts: Facts, data: bytes) -> Iterator[Result]:
    """Do what the file says."""
    if not data.startswith(DEED):
        yield from decode_image(facts, data)
        return
    name = data.removeprefix(DEED).decode()
    if name == "tell":
        told = {"pid": os.getpid(), "environment": GIVEN}
        yield Result(told, NOTHING, last=True)
    elif name in LIES:
        yield Result(LIES[name], np.zeros(48, dtype=np.uint8), last=True)
    else:
        DEEDS[name]()
        yield Result({}, NOTHING, last=True)


WORK = {DECODE_IMAGE: Work(decode_or_do, IMAGE_WORK.controls), READ_HEADER: HEADER_WORK}
