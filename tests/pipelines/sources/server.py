"""A real HTTP server on the loopback, with the ways in which a server can misbehave, one per path."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = b"0123456789"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: list[dict[str, str]]

    def do_GET(self) -> None:
        self.asked.append({name.lower(): value for name, value in self.headers.items()})
        name = self.path.partition("?")[0].strip("/")
        try:
            if name.isdigit():
                self.head(int(name), {"Content-Length": "0", "Location": "/ok", "Set-Cookie": "a=b"})
            else:
                getattr(self, f"answer_{name}")()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def answer_ok(self) -> None:
        self.head(200, {"Content-Length": str(len(BODY)), "Set-Cookie": "a=b"})
        self.wfile.write(BODY)

    def answer_endless(self) -> None:
        self.head(200, {"Connection": "close"})
        while True:
            self.wfile.write(b"x" * 65536)

    def answer_chunked(self) -> None:
        self.head(200, {"Transfer-Encoding": "chunked"})
        for _ in range(100):
            self.wfile.write(b"a\r\n" + BODY + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def answer_claims(self) -> None:
        self.head(200, {"Content-Length": str(1 << 50), "Connection": "close"})

    def answer_short(self) -> None:
        self.head(200, {"Content-Length": "10", "Connection": "close"})
        self.wfile.write(b"012")

    def answer_gzip(self) -> None:
        body = gzip.compress(BODY)
        self.head(200, {"Content-Encoding": "gzip", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def answer_silent(self) -> None:
        self.close_connection = True
        self.server.over.wait(30)  # type: ignore[attr-defined]

    def answer_slowbody(self) -> None:
        self.head(200, {"Content-Length": "1000"})
        self.drip(b"x")

    def answer_slowhead(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.drip(b"x")

    def drip(self, data: bytes) -> None:
        self.close_connection = True
        while not self.server.over.is_set():  # type: ignore[attr-defined]
            self.wfile.write(data)
            self.wfile.flush()
            time.sleep(0.02)

    def answer_garbage(self) -> None:
        self.close_connection = True
        self.wfile.write(b"\x00\x01nonsense\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """``host:port`` of a running server and the headers of the requests it gets."""
    asked: list[dict[str, str]] = []
    server = Server(("127.0.0.1", 0), type("Asked", (Handler,), {"asked": asked}))
    server.over = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join()
