"""A loopback service that plays a script of misbehaviour, one step per connection, and records what it was sent."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

Step = Callable[[socket.socket, threading.Event], None]


@dataclass(frozen=True)
class Request:
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedService:
    url: str
    requests: list[Request] = field(default_factory=list)


def answer(status: int, *headers: str, body: bytes = b"") -> Step:
    def step(connection: socket.socket, _over: threading.Event) -> None:
        lines = [f"HTTP/1.1 {status} Scripted", f"content-length: {len(body)}", "connection: close", *headers, "", ""]
        with contextlib.suppress(ConnectionError):  # whoever does not read a huge body hangs up
            connection.sendall("\r\n".join(lines).encode() + body)

    return step


def cut_after_the_status(connection: socket.socket, _over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly a part")


def hang_up(_connection: socket.socket, _over: threading.Event) -> None:
    return


def say_nothing(_connection: socket.socket, over: threading.Event) -> None:
    over.wait()


def early_hints_for_ever(connection: socket.socket, over: threading.Event) -> None:
    _repeat(connection, over, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")


def a_header_for_ever(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    _repeat(connection, over, b"x")


ENDLESS = (early_hints_for_ever, a_header_for_ever)


def _repeat(connection: socket.socket, over: threading.Event, data: bytes) -> None:
    """As fast as it is read, until the reader is gone."""
    with contextlib.suppress(ConnectionError):
        while not over.is_set():
            connection.sendall(data)


@contextlib.contextmanager
def scripted_service(steps: Sequence[Step]) -> Iterator[ScriptedService]:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        service = ScriptedService(f"http://127.0.0.1:{listener.getsockname()[1]}/hook")
        player = threading.Thread(target=_play, args=(listener, steps, service, over), daemon=True)
        player.start()
        try:
            yield service
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            player.join()


def _play(listener: socket.socket, steps: Sequence[Step], service: ScriptedService, over: threading.Event) -> None:
    threads = []
    for step in steps:
        try:
            connection, _ = listener.accept()
        except OSError:  # the test is over before the script
            break
        threads.append(threading.Thread(target=_one, args=(connection, step, service, over), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _one(connection: socket.socket, step: Step, service: ScriptedService, over: threading.Event) -> None:
    with connection, connection.makefile("rb") as stream:
        stream.readline()
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers["content-length"]))
        service.requests.append(Request(headers, body))
        step(connection, over)
