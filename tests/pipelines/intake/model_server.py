"""A real HTTP server that has one model file, and the ways to answer a request for a part of it, one per path."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def do_GET(self) -> None:
        path = self.path.strip("/")
        self.server.asked.append((path, self.headers.get("Range")))
        try:
            self.answer(path.partition("?")[0])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, path: str) -> None:
        content = self.server.content
        if path in ("whole", "plain"):
            if path == "whole" and self.headers.get("Range"):
                return self.part("ranges", content)
            return self.send(200, content, {})
        if path in ("cut", "slow"):
            return self.interrupted(path, content)
        if path == "chunked":
            self.head(200, {"Transfer-Encoding": "chunked"})
            self.wfile.write(b"%x\r\n" % len(content) + content + b"\r\n0\r\n\r\n")
            return None
        fixed = {"redirect": 302, "gone": 404, "unsatisfied": 416}
        if path in fixed:
            return self.send(fixed[path], b"", {"Location": "/whole"})
        return self.part(path, content)

    def part(self, path: str, content: bytes) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        assert match
        first, last = int(match[1]), min(int(match[2]), len(content) - 1)
        size, later = len(content), first > 0
        if first >= size:
            return self.send(416, b"", {"Content-Range": f"bytes */{size}"})
        body = content[first : last + 1]
        if path == "turncoat" and later:
            return self.send(200, content, {})
        told = f"bytes {first}-{last}/{size + (path == 'growing' and later)}"
        if path in ("shifted", "longer"):
            told = f"bytes {first + (path == 'shifted')}-{last + 1}/{size}"
        headers = {"Content-Range": told.replace(f"/{size}", "/*") if path == "nosize" else told}
        headers["ETag"] = f'"{later}"' if path == "changing" else '"1"'
        if path == "multipart":
            headers = {"Content-Type": "multipart/byteranges; boundary=x"}
        if path == "packed":
            headers["Content-Encoding"] = "gzip"
        if path == "short":
            self.head(206, {**headers, "Content-Length": str(len(body))})
            self.wfile.write(body[:-1])
            self.close_connection = True
            return None
        return self.send(206, body + b"x" * (path == "overlong"), headers)

    def interrupted(self, path: str, content: bytes) -> None:
        """The header comes, the tensors do not."""
        self.head(200, {"Content-Length": str(len(content))})
        self.wfile.write(content[:-2])
        self.wfile.flush()
        self.close_connection = True
        if path == "slow":
            self.server.over.wait(30)

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.head(status, {**headers, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class ModelServer(ThreadingHTTPServer):
    """Runs while it is entered; ``asked``: path and range of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.asked: list[tuple[str, str | None]] = []
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def host(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        pass

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()
        self._thread.join()
