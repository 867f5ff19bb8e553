"""A server on the loopback that says what it is told to, byte for byte, and a clock that passes by being looked at."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator


class Ticks:
    """A second passes each time somebody asks: a deadline comes after so many steps, however fast they are."""

    def __init__(self) -> None:
        self._seconds = itertools.count(1.0)

    def __call__(self) -> float:
        return next(self._seconds)


def standing() -> float:
    """A clock that never moves: nothing ends by a deadline."""
    return 0.0


@contextlib.contextmanager
def saying(say: Callable[[], Iterable[bytes]], *, listen: bool = True) -> Iterator[int]:
    """The port of a server that answers each connection with ``say()``; with ``listen`` it reads the request first.

    After the last word it keeps the connection open until the client closes it, or until the block ends.
    """
    over = threading.Event()
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            heard = b""
            while listen and b"\r\n\r\n" not in heard and (more := connection.recv(65536)):
                heard += more
            for word in say():
                connection.sendall(word)
                if over.is_set():
                    return
            if listen:
                connection.recv(1)
            else:
                over.wait()

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connections.append(listener.accept()[0])
                threads.append(threading.Thread(target=answer, args=(connections[-1],), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, args=(listener,), daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in connections:
                with contextlib.suppress(OSError):  # closed already
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
