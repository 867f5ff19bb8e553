"""The development takedown service: what the sample run and the tests deliver to.

It shows what a real service owes the sender: verify the signature over the bytes received, keep one case per
``Idempotency-Key`` and have it on disk before answering 200, answer a repeat like the first time, refuse another body
under the same key. A withdrawal may come for a takedown that never arrived (its attempt was in doubt): it is kept, so
that the takedown, should it turn up late, opens nothing. Loopback only; ``GET /cases`` asks nobody who they are.
"""

from __future__ import annotations

import hashlib
import io
import ipaddress
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from embeddings.errors import ConfigError
from pipelines.home.private_files import open_private
from pipelines.takedown import signing
from pipelines.takedown.client import IDEMPOTENCY_HEADER
from pipelines.takedown.outbox import BLOCK, EFFECTS, TAKEDOWN, WITHDRAWAL

TOLERANCE_SECONDS: Final = 300  # Standard Webhooks' own libraries allow five minutes
MAX_BODY_BYTES: Final = 256 * 1024  # a thin body is a few hundred bytes
PATH: Final = "/takedowns"
REQUEST_SECONDS: Final = 30.0  # from one answer to the end of the next request, however it is dripped
MAX_CONNECTIONS: Final = 64  # each holds a thread; one more is closed unread
_POLL_SECONDS: Final = 0.05  # how soon closing is noticed
_KEPT: Final = ("action", "item_id", "content_sha256", "subject_id", "policy_version", "due_at")


class CaseLog:
    """Cases by key, in memory and (with a path) as JSON lines on disk. Safe to share between threads."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._cases: dict[str, dict[str, Any]] = {}
        self._repeats = 0
        self._closed = False
        self._file = _open_log(path, self._cases) if path else None

    def add(self, key: str, case: dict[str, Any]) -> bool:
        """Keep the case, or recognise it as a repeat. False when the key was seen with another body.

        Raises ``OSError``, keeping nothing, when the case cannot be made durable.
        """
        with self._lock:
            if self._closed:  # a connection kept alive may outlive the server
                raise OSError("the case log is closed")
            known = self._cases.get(key)
            if known is not None:
                self._repeats += 1
                return bool(known["body_sha256"] == case["body_sha256"])
            if self._file is not None:
                _append(self._file, case)
            self._cases[key] = case
            return True

    def cases(self) -> list[dict[str, Any]]:
        """Return all cases in the order of their arrival; a takedown is ``open`` until a withdrawal for its key
        came."""
        with self._lock:
            kept = [dict(case) for case in self._cases.values()]
        withdrawn = {case["withdraws_key"] for case in kept if case["action"] == WITHDRAWAL}
        return [case | {"open": case["action"] in EFFECTS and case["key"] not in withdrawn} for case in kept]

    def answer(self) -> dict[str, Any]:
        """What ``GET /cases`` says."""
        cases = self.cases()
        actions = [case["action"] for case in cases]
        counts = {
            "takedowns": actions.count(TAKEDOWN),
            "blocks": actions.count(BLOCK),
            "withdrawals": actions.count(WITHDRAWAL),
            "open": sum(case["open"] for case in cases),
            "repeats": self._repeats,
        }
        return {"counts": counts, "cases": cases}

    def close(self) -> None:
        """Close the file; nothing is kept from now on."""
        with self._lock:
            if self._file is not None and not self._closed:
                os.close(self._file)
            self._closed = True


class Receiver:
    """The service in a thread of this process. Port 0 takes a free one; ``url`` says where to deliver.

    A request has to be there within ``request_seconds``, and at most ``connections`` are served at a time.
    ``now`` is the clock that timestamps are compared with.
    """

    def __init__(
        self,
        host: str,
        port: int,
        secrets: Sequence[str],
        *,
        log_path: Path | None,
        request_seconds: float = REQUEST_SECONDS,
        connections: int = MAX_CONNECTIONS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        signing.require_secrets(secrets)
        _require_loopback(host)
        self._log = CaseLog(log_path)
        self._server = _Server(
            (host, port),
            self._log,
            tuple(secrets),
            request_seconds=request_seconds,
            connections=connections,
            now=now,
        )
        self.url = f"http://{host}:{self._server.server_address[1]}{PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        self._thread.start()

    def cases(self) -> list[dict[str, Any]]:
        """Return the cases so far (:meth:`CaseLog.cases`)."""
        return self._log.cases()

    def answer(self) -> dict[str, Any]:
        """What ``GET /cases`` says."""
        return self._log.answer()

    def wait(self) -> None:
        """Serve until the process is interrupted or :meth:`close` is called."""
        self._thread.join()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._log.close()

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self.close()


def serve(
    host: str, port: int, secrets: Sequence[str], *, log_path: Path | None, ready: Callable[[str], None] | None = None
) -> None:
    """Run the service until the process is interrupted; ``ready`` is told the URL. Raises :class:`ConfigError`."""
    with Receiver(host, port, secrets, log_path=log_path) as receiver:
        if ready:
            ready(receiver.url)
        try:
            receiver.wait()
        except KeyboardInterrupt:
            return


class _Server(ThreadingHTTPServer):
    def __init__(
        self,
        address: tuple[str, int],
        log: CaseLog,
        secrets: Sequence[str],
        *,
        request_seconds: float,
        connections: int,
        now: Callable[[], datetime],
    ) -> None:
        self.log, self.secrets, self.request_seconds, self.now = log, secrets, request_seconds, now
        self._free = threading.BoundedSemaphore(connections)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, if one is free; otherwise close it."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve the connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: a sender that hung up is no reason for a traceback."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _TimedReader(io.RawIOBase):
    """Reads from a connection until ``ends`` on the monotonic clock; a socket's own time-out begins anew with each
    byte."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.ends = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request takes too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: _Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Read through a :class:`_TimedReader`."""
        super().setup()
        self.rfile.close()
        self._timed = _TimedReader(self.connection)
        self.rfile = io.BufferedReader(self._timed)

    def handle_one_request(self) -> None:
        """Handle one request within its time; a late one ends the connection."""
        self._timed.ends = time.monotonic() + self.server.request_seconds
        super().handle_one_request()

    def do_GET(self) -> None:
        if self.path == "/cases":
            self._answer(200, self.server.log.answer())
        else:
            self._answer(404, {"error": "not_found"})

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if self.path != PATH:
            self._refuse_unread(404, "not_found")
        elif not (length.isascii() and length.isdigit()):
            self._refuse_unread(411, "length_required")
        elif len(length) > 9 or int(length) > MAX_BODY_BYTES:
            self._refuse_unread(413, "too_large")
        else:
            body, headers = self.rfile.read(int(length)), dict(self.headers.items())
            status, word = _receive(self.server.log, self.server.secrets, headers, body, now=self.server.now())
            self._answer(status, {"result": word})

    def log_message(self, *_: object) -> None:
        """Print nothing: the cases are the log."""

    def _refuse_unread(self, status: int, word: str) -> None:
        self.close_connection = True
        self._answer(status, {"result": word})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _receive(
    log: CaseLog, secrets: Sequence[str], headers: dict[str, str], body: bytes, *, now: datetime
) -> tuple[int, str]:
    if not signing.verify(secrets, headers, body, now=now, tolerance_seconds=TOLERANCE_SECONDS):
        return 401, "bad_signature"
    found = {name.lower(): value for name, value in headers.items()}
    key = found.get(IDEMPOTENCY_HEADER, "")
    try:
        data = json.loads(body)["data"]
        case = {name: str(data[name]) for name in _KEPT}
        case["withdraws_key"] = str(data["withdraws"]["key"]) if data["action"] == WITHDRAWAL else ""
        if data["key"] != key or data["action"] not in (*EFFECTS, WITHDRAWAL):
            return 400, "inconsistent"
    except (ValueError, KeyError, TypeError, RecursionError):
        return 400, "malformed"
    case |= {"key": key, "message_id": found[signing.ID_HEADER], "received_at": now.isoformat()}
    case["body_sha256"] = hashlib.sha256(body).hexdigest()
    try:
        return (200, "accepted") if log.add(key, case) else (409, "other_body_under_this_key")
    except OSError:
        return 500, "not_stored"


def _open_log(path: Path, cases: dict[str, dict[str, Any]]) -> int:
    """Read the cases there are, drop a line that a crash cut short (it was never answered), and open for appending.

    Raises :class:`ConfigError` for a file that is no log of cases: nothing of it is cut off.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(path, "a+b", opener=open_private) as file:
        file.seek(0)
        text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        try:
            cases |= {case["key"]: case for case in map(json.loads, whole.splitlines())}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigError(f"{path} holds something other than cases: name another file") from None
        if not _is_cut_short(text[len(whole) :]):
            raise ConfigError(f"{path} ends in something other than cases: name another file")
        descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, len(whole))
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # a new file is durable only with its folder's entry
    os.close(folder)
    return descriptor


def _is_cut_short(line: bytes) -> bool:
    """Whether ``line`` is the beginning of a case: a JSON object without its end, or empty."""
    try:
        json.loads(line)
    except ValueError:
        return line[:1] in (b"", b"{")
    return False


def _append(descriptor: int, case: dict[str, Any]) -> None:
    size = os.fstat(descriptor).st_size
    line = json.dumps(case, sort_keys=True).encode() + b"\n"
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError("the case log took only part of a line")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _require_loopback(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError("the development receiver listens on loopback only: use 127.0.0.1")
