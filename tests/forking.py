"""Processes of their own that begin with everything imported: what a test kills is real, its start costs nothing.

Importing the pipeline takes seconds, and the durability tests kill some fifty processes. A server imports it once,
while it has a single thread of Python (Arrow's allocator and ONNX Runtime keep an idle one of their own, which no child
needs), and forks for each order. The child is a process like any other: it has its own
environment, arguments, output and exit status, and SIGKILL kills it. The server ends when the tests' process does,
because its standard input is a pipe from there.

An order comes over a Unix socket with two open files for the output; the answer is the child's wait status.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

MODULES = ("tests.pipelines.runs.durability_process", "tests.pipelines.takedown.dispatch_process")
"""What the server imports, and what an order may name: modules with a ``main``."""
_READY = b"ready\n"


class Child:
    """A running process. ``wait`` gives its exit status, negative for a signal; then the output can be read."""

    def __init__(self, server: Path, module: str, arguments: Sequence[str], variables: Mapping[str, str]) -> None:
        order = {"module": module, "arguments": list(arguments), "environment": {**os.environ, **variables}}
        self.arguments = [module, *arguments]
        self._output, self._errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (until it ends)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(server))
        socket.send_fds(self._socket, [b"+"], [self._output.fileno(), self._errors.fileno()])
        self._socket.sendall(json.dumps(order).encode() + b"\n")

    def wait(self) -> int:
        """Wait for its end, however long that takes."""
        return self.completed().returncode

    def completed(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end; its exit status, output and errors."""
        with self._socket, self._output, self._errors:
            answer = self._socket.makefile("rb").read()
            if not answer:
                raise RuntimeError("the fork server died")
            return subprocess.CompletedProcess(
                self.arguments, int(answer), _text_of(self._output), _text_of(self._errors)
            )


def start(module: str, arguments: Sequence[str], variables: Mapping[str, str]) -> Child:
    """Run ``main`` of one of :data:`MODULES` with these arguments, and variables beside the environment's."""
    return Child(_server(), module, arguments, variables)


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@cache
def _server() -> Path:
    """The socket of this process's server, which is started by the first order."""
    folder = tempfile.TemporaryDirectory(prefix="forks")
    address = Path(folder.name) / "orders"
    command = [sys.executable, "-m", __name__, str(address)]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    process = subprocess.Popen(
        command, env=os.environ | one_thread, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
    )

    def end() -> None:
        process.communicate()  # closes its standard input
        folder.cleanup()

    atexit.register(end)
    assert process.stdout is not None
    if process.stdout.readline() != _READY:
        raise RuntimeError("the fork server did not start")
    return address


def serve(address: str) -> None:
    """Fork for each order until standard input is closed."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        for module in MODULES:
            importlib.import_module(module)
        if threading.active_count() != 1:
            raise RuntimeError("an import started a thread: what is forked from here may wait for it for ever")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for a child is a process of its own
        os.write(1, _READY)
        while True:
            if sys.stdin in select.select([listener, sys.stdin], [], [])[0]:
                os._exit(0)
            connection, _ = listener.accept()
            if os.fork():
                connection.close()
            else:
                break
    _run_order(connection)


def _run_order(connection: socket.socket) -> None:
    """In the process that waits: fork once more, answer with the status. In the child: become what was ordered."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, (output, errors), _, _ = socket.recv_fds(connection, 1, 2)
    order: dict[str, Any] = json.loads(connection.makefile("rb").readline())
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        with suppress(BrokenPipeError):  # nobody waits any more
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, descriptor in ((1, output), (2, errors)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [order["module"], *order["arguments"]]
    if order["module"] not in MODULES:
        raise ValueError(f"{order['module']} is not one of {MODULES}")
    os._exit(_status_of(importlib.import_module(order["module"]).main))


def _status_of(main: Callable[[], None]) -> int:
    """Run it as an interpreter would, up to the exit status.

    The process then ends without the destructors of C: ONNX Runtime's waits for the thread that only the server has.
    """
    status = 0
    try:
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 (the interpreter prints them all)
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve(sys.argv[1])
