"""The two doors over TLS: who says nothing is let go, and who is revoked is refused on a connection that stands."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from cloud.api import prompt_protocol
from cloud.api.doors import device_context, door, server_context
from cloud.provision.authority import Authority, Identity, Issued, make_authority, make_key
from cloud.provision.revocation import Revoked, make_list
from tests.fixtures_broker import free_port
from tests.secure_plant import wait_for


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority("test", now=time.time(), days=30)[0]


def _identity(folder: Path, authority: Authority, name: str) -> tuple[Path, Issued]:
    key, public = make_key()
    sign = authority.sign_client if name == "line1" else lambda n, p, **k: authority.sign_server((n,), p, **k)
    issued = sign(name, public, now=time.time(), days=2.0)
    file = folder / f"{name}.pem"
    file.write_bytes(Identity(issued.pem, key).pem())
    return file, issued


def _app() -> FastAPI:
    app = FastAPI()

    @app.get("/v1/tuf/x")
    def file() -> str:
        return "file"

    @app.get("/v1/slow")
    async def slow() -> str:
        await asyncio.sleep(1.3)  # more than two looks
        return "late"

    @app.post("/v1/enrol")
    async def enrol(request: Request) -> int:
        return len(await request.body())

    return app


@contextmanager
def _open(server: uvicorn.Server) -> Iterator[int]:
    port = free_port()

    def serve() -> None:
        with socket.create_server(("127.0.0.1", port)) as listener:
            server.run(sockets=[listener])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        wait_for(lambda: server.started, "the door opens")
        yield port
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture
def people(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], ssl.SSLSocket]]:
    monkeypatch.setattr(prompt_protocol, "LOOK_EVERY_S", 0.5)
    file, _ = _identity(tmp_path, authority, "127.0.0.1")
    trust = ssl.create_default_context(cadata=authority.pem.decode())
    with _open(door(_app(), server_context(file, file))) as port:
        made: list[ssl.SSLSocket] = []

        def dial() -> ssl.SSLSocket:
            raw = socket.create_connection(("127.0.0.1", port), timeout=60.0)
            made.append(trust.wrap_socket(raw, server_hostname="127.0.0.1"))
            return made[-1]

        yield dial
        for each in made:
            each.close()


@pytest.mark.parametrize(
    "said",
    [b"", b"GET /v1/tuf/x HT", b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nslow"],
)
def test_who_never_ends_what_it_began_is_let_go(people: Callable[[], ssl.SSLSocket], said: bytes) -> None:
    client = people()
    client.sendall(said)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        assert client.recv(100) == b""  # closed cleanly or not: closed
        raise ConnectionError


def test_who_waits_for_an_answer_that_takes_long_is_not(people: Callable[[], ssl.SSLSocket]) -> None:
    client = people()
    client.sendall(b"GET /v1/slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert client.recv(10_000).startswith(b"HTTP/1.1 200")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes, int], socket.socket]]:
    """Give what asks for a path, with a buffer of so many bytes, and answers the socket."""
    monkeypatch.setattr(prompt_protocol, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(prompt_protocol, "MOST_STILL", 4)
    app, much = FastAPI(), b"x" * (1 << 20)

    @app.get("/v1/whole")
    def whole() -> Response:
        return Response(much * 16)

    @app.get("/v1/streamed")
    def streamed() -> StreamingResponse:
        return StreamingResponse(iter([much] * 16))

    with _open(door(app, None)) as port, ExitStack() as stack:

        def ask(path: bytes, buffer: int) -> socket.socket:
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            client.connect(("127.0.0.1", port))
            client.settimeout(60.0)
            client.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return client

        yield ask


def _read(client: socket.socket, pause_s: float) -> int:
    """Return how many bytes came."""
    came = 0
    with suppress(ConnectionError):
        while chunk := client.recv(1 << 18):
            came += len(chunk)
            if came < 8 << 20:
                time.sleep(pause_s)
    return came


@pytest.mark.slow
@pytest.mark.parametrize("path", [b"/v1/whole", b"/v1/streamed"])
def test_who_takes_nothing_of_an_answer_is_let_go(plain: Callable[[bytes, int], socket.socket], path: bytes) -> None:
    client = plain(path, 4096)
    time.sleep(3.0)
    assert _read(client, 0.0) < 16 << 20


@pytest.mark.parametrize("path", [b"/v1/whole", b"/v1/streamed"])
def test_who_takes_it_slowly_gets_all_of_it(
    plain: Callable[[bytes, int], socket.socket], path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        prompt_protocol, "LOOK_EVERY_S", 5.0
    )  # a busy machine may hold this reader up for a second, too
    client = plain(path, 1 << 20)
    time.sleep(0.3)
    assert _read(client, 0.05) > 16 << 20


def test_a_certificate_revoked_while_the_door_is_open_is_refused_on_a_connection_that_stands(
    tmp_path: Path, authority: Authority
) -> None:
    server, _ = _identity(tmp_path, authority, "127.0.0.1")
    station, issued = _identity(tmp_path, authority, "line1")
    trust, crl = tmp_path / "trust.pem", tmp_path / "crl.pem"
    trust.write_bytes(authority.pem)
    crl.write_bytes(make_list(authority, [], None, now=time.time()))
    context = ssl.create_default_context(cafile=trust)
    context.load_cert_chain(station)
    made = door(_app(), device_context(server, server, trust, crl), for_devices=True, crl_file=crl)
    with _open(made) as port, httpx.Client(verify=context, timeout=60.0) as client:
        url = f"https://127.0.0.1:{port}/v1/tuf/x"
        assert client.get(url).status_code == 200
        newer = make_list(authority, [Revoked(issued.serial, time.time())], crl.read_bytes(), now=time.time())
        (tmp_path / "new").write_bytes(newer)
        (tmp_path / "new").replace(crl)
        refused = client.get(url)
        assert (refused.status_code, "was revoked" in refused.text) == (403, True)
        crl.write_bytes(b"no list")
        assert client.get(url).status_code == 403  # what cannot be read takes nothing back
