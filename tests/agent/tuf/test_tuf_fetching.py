"""A server that drips, floods, breaks off, redirects or lies costs a station a bounded time and bounded bytes (OTA-6)."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from repository import NOW, Repository, Server, Station, answer, at, serving, versions

from agent.slots.tuf_fetcher import FetchLimits
from contract.errors import BadBundle, LinkDown, NotFound, PlumblineError

SHORT = FetchLimits(max_bytes=1 << 20, period_s=0.1, min_bytes=64, periods=4)
_ENOUGH = 400  # how often a dripping server drips before the test has failed anyway


HUNG_UP = threading.Event()
"""Set by a server that drips when its client hung up before it was done."""


def drip(request: BaseHTTPRequestHandler, piece: bytes, start: bytes = b"") -> None:
    request.close_connection = True
    try:
        request.wfile.write(start)
        for _ in range(_ENOUGH):
            request.wfile.write(piece)
            time.sleep(0.02)
    except OSError:
        HUNG_UP.set()


def drip_body(request: BaseHTTPRequestHandler) -> None:
    drip(request, b"{", b"HTTP/1.1 200 OK\r\n\r\n")


def drip_headers(request: BaseHTTPRequestHandler) -> None:
    drip(request, b"x", b"HTTP/1.1 200 OK\r\nX-Long: ")


def drip_status(request: BaseHTTPRequestHandler) -> None:
    drip(request, b"1", b"HTTP/1.1 200 O")


def say_nothing(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True
    request.connection.settimeout(_ENOUGH * 0.02)
    with suppress(TimeoutError):
        request.connection.recv(1)
        HUNG_UP.set()


def steady_but_endless(request: BaseHTTPRequestHandler) -> None:
    drip(request, b"{" * 64, b"HTTP/1.1 200 OK\r\n\r\n")


SLOW = [drip_body, drip_headers, drip_status, say_nothing]


@pytest.mark.parametrize("behave", SLOW)
def test_a_server_that_drips_is_cut_off(repo: Repository, station: Station, behave: Callable) -> None:
    station.limits = SHORT
    station.http.get(f"{station.server.url(repo)}/metadata/1.root.json")  # leaves a connection open that nobody watches
    repo.answers["metadata/2.root.json"] = behave
    HUNG_UP.clear()
    with pytest.raises(LinkDown, match=r"was cut off: \d+ bytes in 0.1 s"):
        station.refresh(repo)
    assert HUNG_UP.wait(60.0)
    repo.answers.clear()
    station.limits = FetchLimits()
    assert versions(station.refresh(repo)) == (1, 1, 1, 1)


def test_a_server_that_is_steady_but_comes_to_no_end_is_cut_off(repo: Repository, station: Station) -> None:
    station.limits = FetchLimits(period_s=0.1, min_bytes=0, periods=4)
    repo.answers["metadata/2.root.json"] = steady_but_endless
    with pytest.raises(LinkDown, match=r"was cut off: not done after 0.4 s"):
        station.refresh(repo)


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_endless_data_is_dropped_at_the_most_that_the_role_may_have(
    repo: Repository, station: Station, role: str
) -> None:
    sent = []

    def flood(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with suppress(OSError):
            request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(2000):
                request.wfile.write(b"[" * (1 << 16))
                sent.append(1 << 16)

    path = "metadata/2.root.json" if role == "root" else repo.path(role)
    repo.answers[path] = flood
    with pytest.raises(BadBundle, match="is longer than"):
        station.refresh(repo)
    assert sum(sent) < 64 << 20


def test_a_length_that_the_signers_allow_is_still_held_to_the_cap(repo: Repository, station: Station) -> None:
    station.limits = FetchLimits(max_bytes=1 << 16)
    repo.publish("snapshot")
    repo.timestamp.snapshot_meta.length = 1 << 50
    repo.publish("timestamp")
    repo.files[repo.path("snapshot")] = b" " * (1 << 17)
    with pytest.raises(BadBundle, match=f"is longer than {1 << 16} bytes"):
        station.refresh(repo)


def test_a_slow_link_that_brings_enough_is_waited_for(repo: Repository, station: Station) -> None:
    station.limits = FetchLimits(period_s=1.0, min_bytes=64, periods=1000)
    body = repo.files["metadata/timestamp.json"]

    def slowly(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        request.wfile.write(body[:10])
        time.sleep(1.1)  # the first period brings next to nothing, the second one enough
        request.wfile.write(body[10:])

    repo.answers["metadata/timestamp.json"] = slowly
    assert versions(station.refresh(repo)) == (1, 1, 1, 1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["same host", "another host", "another scheme"])
def test_no_redirect_is_followed(repo: Repository, station: Station, status: int, where: str, tmp_path: Path) -> None:
    elsewhere = Repository()
    there = station.server.url(elsewhere)
    to = {
        "same host": f"{there}/metadata/timestamp.json",
        "another host": f"{there.replace('127.0.0.1', 'localhost')}/metadata/timestamp.json",
        "another scheme": f"file://{tmp_path}/timestamp.json",
    }[where]
    repo.answers["metadata/timestamp.json"] = lambda request: answer(request, status, b"moved", Location=to)
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        station.http = client
        with pytest.raises(LinkDown, match=f"answered {status} to") as caught:
            station.refresh(repo)
    assert "redirects" in caught.value.hint and not elsewhere.asked


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, NotFound) for status in (403, 404, 410)),
        *((status, LinkDown) for status in (401, 418, 429, 500, 503, 204, 206)),
    ],
)
def test_what_a_server_answers_says_whether_to_try_again(
    repo: Repository, station: Station, status: int, kind: type[PlumblineError]
) -> None:
    repo.answers["metadata/timestamp.json"] = lambda request: answer(request, status)
    with pytest.raises(kind, match=str(status)):
        station.refresh(repo)


def reset(request: BaseHTTPRequestHandler) -> None:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
    request.close_connection = True


def break_off(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
    request.close_connection = True


def speak_another_language(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    request.close_connection = True


@pytest.mark.parametrize("behave", [reset, break_off, speak_another_language])
@pytest.mark.parametrize("path", ["metadata/2.root.json", "metadata/1.targets.json"])
def test_a_connection_that_breaks_is_a_link_that_is_down(
    repo: Repository, station: Station, behave: Callable, path: str
) -> None:
    repo.answers[path] = behave
    with pytest.raises(LinkDown, match="was not reached"):
        station.refresh(repo)
    repo.answers.clear()
    assert versions(station.refresh(repo)) == (1, 1, 1, 1)


def test_nobody_listening_is_a_link_that_is_down(station: Station, repo: Repository) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = station.client(repo)
    client = type(client)(station.http, f"http://127.0.0.1:{port}", station.cache, station.root)
    with pytest.raises(LinkDown, match="was not reached"):
        client.look_up_targets((), NOW)


def test_the_bytes_are_asked_for_as_they_are_and_anything_encoded_is_refused(
    repo: Repository, station: Station
) -> None:
    asked = []

    def zipped(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.headers["Accept-Encoding"])
        answer(request, 200, b"\x1f\x8b", Content_Encoding="gzip")

    repo.answers["metadata/timestamp.json"] = zipped
    with pytest.raises(LinkDown, match="encoded"):
        station.refresh(repo)
    assert asked == ["identity"]


def test_by_way_of_a_proxy_everything_is_the_same(repo: Repository, station: Station) -> None:
    address = station.server.url(repo)
    with httpx.Client(trust_env=False, proxy=address.rpartition("/")[0]) as client:
        station.http = client
        assert versions(station.refresh(repo)) == (1, 1, 1, 1)
        station.limits = SHORT
        repo.answers["metadata/timestamp.json"] = drip_headers
        with pytest.raises(LinkDown, match="was cut off"):
            station.refresh(repo)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, ssl.SSLContext]]:
    """A server behind TLS, and the context of a client that trusts it."""
    folder, key = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    started = at(time.time()) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(started)
        .not_valid_after(started + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(private + pem)
    serve = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serve.load_cert_chain(folder / "both.pem")
    with serving(serve) as server:
        yield server, ssl.create_default_context(cadata=pem.decode())


def test_over_tls_a_server_is_trusted_by_its_certificate_alone_and_cut_off_like_any_other(
    repo: Repository, station: Station, tls: tuple[Server, ssl.SSLContext]
) -> None:
    station.server, context = tls
    address = station.server.url(repo)
    client = station.client(repo)
    with httpx.Client(trust_env=False) as stranger, httpx.Client(trust_env=False, verify=context) as friend:
        for http, url in ((stranger, address.replace("127.0.0.1", "localhost")), (friend, address)):
            client = type(client)(http, url, station.cache, station.root)
            with pytest.raises(LinkDown, match="certificate"):
                client.look_up_targets((), NOW)
        url = address.replace("127.0.0.1", "localhost")
        client = type(client)(friend, url, station.cache, station.root)
        assert versions(client.look_up_targets((), NOW)[1]) == (1, 1, 1, 1)
        client = type(client)(friend, url, station.cache, station.root, limits=SHORT)
        for behave in SLOW[:2]:
            repo.answers["metadata/timestamp.json"] = behave
            HUNG_UP.clear()
            with pytest.raises(LinkDown, match="was cut off"):
                client.look_up_targets((), NOW)
            assert HUNG_UP.wait(60.0)
