from __future__ import annotations

import gc
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from embeddings.errors import ItemError
from pipelines.exchange.allowance import Allowance
from pipelines.exchange.limits import HeadLimits
from pipelines.sources import FetchSettings
from pipelines.sources.addresses import is_public
from pipelines.sources.download import Downloader
from tests.pipelines.sources.server import BODY, serving


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[dict[str, str]]]]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def host(server: tuple[str, list[dict[str, str]]]) -> str:
    return server[0]


renew = Allowance.renew


def downloader(*hosts: str, private: bool = True, seconds: float = 5.0) -> Downloader:
    return Downloader(
        FetchSettings(timeout_seconds=seconds, allowed_hosts=hosts, allow_private_addresses=private), HeadLimits()
    )


def patience(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """How long a fetch may take from now on: little where the server never answers, plenty where it must not matter."""
    monkeypatch.setattr(Allowance, "renew", lambda self, _: renew(self, seconds))


def status_of(loader: Downloader, url: str, *, max_bytes: int = 100) -> str:
    with pytest.raises(ItemError) as raised:
        loader.fetch(url, max_bytes=max_bytes)
    assert "token" not in str(raised.value)
    assert raised.value.__cause__ is None
    return raised.value.status


def test_a_body_is_fetched_whole_up_to_the_limit(host: str) -> None:
    loader = downloader(host)
    assert loader.fetch(f"http://{host}/ok", max_bytes=len(BODY)) == BODY
    assert loader.fetch(f"http://{host}/chunked", max_bytes=1000) == BODY * 100


@pytest.mark.parametrize("path", ["ok", "endless", "chunked", "claims"])
def test_a_body_beyond_the_limit_is_too_large_whether_or_not_its_length_was_told(path: str, host: str) -> None:
    assert status_of(downloader(host), f"http://{host}/{path}", max_bytes=9) == "unscannable:too_large"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("301", "redirect"),
        ("302", "redirect"),
        ("308", "redirect"),
        ("401", "denied"),
        ("403", "denied"),
        ("404", "missing"),
        ("410", "missing"),
        ("204", "http_status"),
        ("206", "http_status"),
        ("429", "http_status"),
        ("500", "http_status"),
        ("gzip", "encoding"),
        ("short", "connection"),
        ("garbage", "connection"),
    ],
)
def test_each_failure_of_a_server_has_its_word(path: str, reason: str, host: str) -> None:
    assert status_of(downloader(host), f"http://{host}/{path}?token=secret") == f"fetch_failed:{reason}"


@pytest.mark.parametrize("path", ["silent", "slowhead", "slowbody"])
def test_the_deadline_holds_however_slowly_the_bytes_come(path: str, host: str) -> None:
    """The server goes on for as long as somebody reads: without a deadline this would not return."""
    assert status_of(downloader(host, seconds=0.3), f"http://{host}/{path}", max_bytes=10**6) == "fetch_failed:timeout"


@pytest.mark.parametrize("whole", [True, False])
def test_reading_piece_by_piece_is_held_to_the_same_rules(
    whole: bool, server: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, asked = server
    count = len(asked)

    def reason(loader: Downloader, url: str) -> str:
        with pytest.raises(ItemError) as raised, loader.open(url, whole=whole) as reading:
            reading.read(10**6)
        assert "token" not in str(raised.value)
        assert raised.value.__cause__ is None
        return raised.value.reason

    assert reason(downloader(), f"http://{host}/ok?token=1") == "host_not_allowed"
    assert reason(downloader(host, private=False), f"http://{host}/ok?token=1") == "address_not_allowed"
    assert len(asked) == count
    loader = downloader(host)
    for path, expected in {"302": "redirect", "silent": "timeout", "slowbody": "timeout", "gzip": "encoding"}.items():
        patience(monkeypatch, 0.3 if expected == "timeout" else 60)
        assert reason(loader, f"http://{host}/{path}?token=1") == expected
    with loader.open(f"http://{host}/ok", whole=whole) as reading:
        assert [reading.read(4), reading.read(4), reading.read(4)] == [BODY[:4], BODY[4:8], BODY[8:]]
        assert (reading.size, reading.read(4)) == (len(BODY), b"")


def test_a_fetch_after_a_failed_one_has_a_deadline_of_its_own(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = downloader(host)
    for _ in range(2):
        patience(monkeypatch, 0.3)
        assert status_of(loader, f"http://{host}/silent") == "fetch_failed:timeout"
        patience(monkeypatch, 60)
        assert loader.fetch(f"http://{host}/ok", max_bytes=100) == BODY


def test_a_request_asks_for_no_encoding_and_carries_no_cookie(server: tuple[str, list[dict[str, str]]]) -> None:
    host, asked = server
    loader = downloader(host)
    for _ in range(2):
        loader.fetch(f"http://{host}/ok", max_bytes=100)
    assert asked[-1]["accept-encoding"] == "identity"
    assert {"cookie", "authorization"}.isdisjoint(asked[-1])


def test_a_private_address_is_refused_unless_allowed(host: str) -> None:
    assert status_of(downloader(host, private=False), f"http://{host}/ok") == "fetch_failed:address_not_allowed"


def test_a_name_that_resolves_to_a_private_address_is_refused(
    server: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, asked = server
    port = int(host.partition(":")[2])
    count = len(asked)
    resolved: list[str] = []

    def resolve(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        resolved.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    url = f"http://cdn.example:{port}/ok"
    assert status_of(downloader(f"cdn.example:{port}", private=False), url) == "fetch_failed:address_not_allowed"
    assert (resolved, len(asked)) == (["cdn.example"], count)


def test_the_connection_goes_to_the_address_that_was_checked(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(host.partition(":")[2])
    really_resolve = socket.getaddrinfo
    resolved: list[str] = []

    def resolve(name: str, *rest: object, **more: object) -> object:
        resolved.append(name)
        return really_resolve("127.0.0.1", *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert downloader(f"cdn.example:{port}").fetch(f"http://cdn.example:{port}/ok", max_bytes=100) == BODY
    assert resolved.count("cdn.example") == 1


def test_without_allowed_hosts_no_url_is_fetched_and_the_error_says_how_to_allow(host: str) -> None:
    with pytest.raises(ItemError, match=r"host_not_allowed: .*allowed_hosts") as raised:
        downloader().fetch(f"http://{host}/ok", max_bytes=100)
    assert host not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example:81/a",
        "https://cdn.example:80/a",
        "http://sub.cdn.example/a",
        "http://cdn.example.evil.example/a",
        "http://cdn.example./a",
        "http://evil.example/?cdn.example",
        "http://127.0.0.1/a",
    ],
)
def test_only_the_listed_host_and_port_will_do(url: str) -> None:
    assert status_of(downloader("cdn.example"), url) == "fetch_failed:host_not_allowed"


@pytest.mark.parametrize("url", ["http://cdn.example/a", "https://CDN.example:443/a", "http://cdn.example:80/a"])
def test_a_listed_host_covers_the_usual_ports_in_any_case(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> list[object]:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert status_of(downloader("Cdn.Example"), url) == "fetch_failed:connection"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://cdn.example/a",
        "gopher://cdn.example/a",
        "http:///a",
        "http://user:token@cdn.example/a",
        "http://cdn.example\\@evil.example/a",
        "http://cdn.example:99999/a",
        "http://cdn.example:0/a",
        "http://cdn.example/\r\nX: y",
        "http://[::1/a",
        "://",
        "http://cdn.example/" + "a" * 5000,
    ],
    ids=lambda url: url[:30].encode("unicode_escape").decode(),
)
def test_a_url_that_is_not_plain_http_is_bad(url: str) -> None:
    assert status_of(downloader("cdn.example"), url) == "fetch_failed:bad_url"


NOT_PUBLIC = (
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1"),
    *("ff02::1", "ff0e::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a00:1"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "nonsense", "127.1"),
)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_off_the_public_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_an_address_on_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_a_port_that_nobody_serves_is_a_connection_failure() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        assert status_of(downloader(host), f"http://{host}/ok") == "fetch_failed:connection"


def test_many_threads_share_one_downloader(host: str) -> None:
    loader = downloader(host)
    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(lambda _: loader.fetch(f"http://{host}/ok", max_bytes=100), range(100)))
    assert bodies == [BODY] * 100


def test_a_forgotten_downloader_closes_its_connections(host: str) -> None:
    loader = downloader(host)
    loader.fetch(f"http://{host}/ok", max_bytes=100)
    del loader
    gc.collect()


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))  # valid whenever the tests run
        .not_valid_after(datetime(2500, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection, pytest.raises(OSError):
                context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=greet)
        thread.start()
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        assert status_of(downloader(host), f"https://{host}/ok") == "fetch_failed:connection"
        thread.join()
