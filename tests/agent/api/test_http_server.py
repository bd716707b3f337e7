"""The server under clients that mean it badly: slow, large, many, foreign."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.api.exchange import Request, Response, json_response
from agent.api.server import HttpRules, HttpServer
from agent.clock import SystemClock
from contract.errors import AddressInUse, InvalidConfig
from tests.fakes.agent_line import ListLog

Make = Callable[..., HttpServer]
TOKEN = "a-token-of-some-length"


def echo(request: Request) -> Response:
    return json_response(200, {"method": request.method, "path": request.path, "bytes": len(request.body)})


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[HttpServer] = []

    def start(answer: Callable[[Request], Response] = echo, **rules: object) -> HttpServer:
        server = HttpServer("127.0.0.1", 0, answer, HttpRules(**rules), SystemClock(), ListLog())  # type: ignore[arg-type]
        made.append(server)
        server.start()
        return server

    yield start
    for server in made:
        server.stop(60.0)


def talk(server: HttpServer, payload: bytes, *, within_s: float = 60.0) -> bytes:
    """Send `payload`; return everything that comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.port), within_s) as connection:
        got = b""
        try:
            connection.sendall(payload)
            while piece := connection.recv(65536):
                got += piece
        except ConnectionError:
            pass
        return got


def code_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def get(path: str = "/x", *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", *(headers or ("Host: localhost",)), "", "")).encode("latin-1")


def post(body: bytes, *headers: str) -> bytes:
    lines = ("POST /x HTTP/1.1", "Host: localhost", *(headers or (f"Content-Length: {len(body)}",)), "", "")
    return "\r\n".join(lines).encode() + body


def test_a_body_arrives_whole(make: Make) -> None:
    answer = talk(make(), post(b"x" * 100_000))
    assert code_of(answer) == 200
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["bytes"] == 100_000


def test_curl_is_told_to_continue_only_when_its_body_is_wanted(make: Make) -> None:
    server = make(max_body_bytes=10)
    wanted = talk(server, post(b"12345", "Content-Length: 5", "Expect: 100-continue"))
    assert wanted.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    unwanted = talk(server, post(b"", "Content-Length: 50", "Expect: 100-continue"))
    assert code_of(unwanted) == 413


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (post(b"x" * 20), 413),
        (post(b"", "Content-Length: 99999999999999999999"), 400),
        (post(b"", "Content-Length: -5"), 400),
        (post(b"", "Content-Length: +5"), 400),
        (post(b"12", "Content-Length: 2", "Content-Length: 1"), 400),
        (post(b"", "X: y"), 411),
        (post(b"0\r\n\r\n", "Transfer-Encoding: chunked"), 411),
        (get("/" + "x" * 9000), 414),
        (get("/x", "Host: localhost", *(f"X-{n}: {'y' * 1000}" for n in range(60))), 431),
        (get("/x", "Host: localhost", *(f"X-{n}: y" for n in range(200))), 431),
        (b"DELETE /x HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /x HTTP/9.9\r\nHost: localhost\r\n\r\n", 505),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_a_request_beyond_the_limits_gets_its_code(make: Make, payload: bytes, code: int) -> None:
    server = make(max_body_bytes=10)
    answer = talk(server, payload)
    assert code_of(answer) == code
    assert code_of(talk(server, get())) == 200


def test_without_a_token_only_this_machines_names_are_answered(make: Make) -> None:
    server = make()
    for host in ("localhost", "127.0.0.1:8081", "[::1]:8081", "LOCALHOST:1"):
        assert code_of(talk(server, get("/x", f"Host: {host}"))) == 200
    assert code_of(talk(server, get("/x", "Host: evil.example"))) == 403


@pytest.mark.parametrize("given_", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"])
def test_beyond_loopback_only_the_token_opens(make: Make, given_: str) -> None:
    server = make(token=TOKEN)
    headers = ("Host: station.example", *((f"Authorization: {given_}",) if given_ else ()))
    assert code_of(talk(server, get("/x", *headers))) == 401
    assert code_of(talk(server, get("/x", "Host: station.example", f"Authorization: Bearer {TOKEN}"))) == 200


def test_an_unknown_asker_is_refused_before_his_body_is_read(make: Make) -> None:
    server = make(token=TOKEN, body_within_s=120.0)
    started = time.monotonic()
    assert code_of(talk(server, post(b"", "Content-Length: 1000000"))) == 401
    assert time.monotonic() - started < 60.0  # its body would be waited for during 120


def drip(server: HttpServer, stop: threading.Event) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        try:
            connection.sendall(b"GET /x HTTP/1.1\r\n")
            while not stop.wait(0.05):
                connection.sendall(b"X")
        except OSError:
            pass


def test_clients_that_drip_cannot_hold_the_workers(make: Make) -> None:
    server = make(workers=2, head_within_s=2.0)
    stop = threading.Event()
    threads = [threading.Thread(target=drip, args=(server, stop)) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)  # both workers read drips now
    started = time.monotonic()
    assert code_of(talk(server, get())) == 200
    until = started + 60.0
    while server.cut_off < 2 and time.monotonic() < until:
        time.sleep(0.02)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert server.cut_off == 2


def test_a_body_that_never_ends_is_cut_off(make: Make) -> None:
    server = make(workers=1, body_within_s=0.4)
    assert talk(server, post(b"abc", "Content-Length: 100")) == b""
    assert code_of(talk(server, get())) == 200
    assert server.cut_off == 1


def test_more_clients_than_there_is_room_for_are_turned_away_and_memory_stays(make: Make) -> None:
    server = make(workers=1, waiting=1, head_within_s=120.0)
    held = [socket.create_connection(("127.0.0.1", server.port), 60) for _ in range(12)]
    until = time.monotonic() + 60
    while server.turned_away < 10 and time.monotonic() < until:
        time.sleep(0.02)
    for connection in held:
        connection.close()
    # One is served and one waits; the second may come before the worker has taken the first out of the waiting room.
    assert server.turned_away in (10, 11)
    # The server may still be finding out that they hung up.
    while not (answer := talk(server, get())) and time.monotonic() < until:
        time.sleep(0.02)
    assert code_of(answer) == 200


def test_a_fault_while_answering_ends_one_request_only(make: Make) -> None:
    def answer(request: Request) -> Response:
        if request.path == "/boom":
            raise KeyError("boom")
        return echo(request)

    server = make(answer)
    assert talk(server, get("/boom")) == b""
    assert code_of(talk(server, get())) == 200
    assert server.faults == 1


def test_stopping_frees_the_port_and_ends_the_threads(make: Make) -> None:
    server = make()
    before = [thread.name for thread in threading.enumerate() if thread.name.startswith("api")]
    assert len(before) == 7
    server.stop(60.0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("api")]
    again = HttpServer("127.0.0.1", server.port, echo, HttpRules(), SystemClock(), ListLog())
    again.stop(0.0)
    again.start()  # its threads begin after its end, as they may where a station stops as it starts
    again.stop(60.0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("api")]
    assert again.faults == 0


def test_a_port_in_use_and_a_host_that_is_none_say_so(make: Make) -> None:
    port = make().port
    with pytest.raises(AddressInUse, match=f"port {port}"):
        HttpServer("127.0.0.1", port, echo, HttpRules(), SystemClock(), ListLog())
    with pytest.raises(InvalidConfig):
        HttpServer("256.1.1.1", 0, echo, HttpRules(), SystemClock(), ListLog())


def test_any_bytes_are_answered_or_cut_off(make: Make) -> None:
    server = make(head_within_s=5.0)

    @settings(max_examples=60, deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=300), st.text(max_size=60).map(lambda text: f"GET {text} HTTP/1.1\r\n\r\n".encode())
        )
    )
    def throw(payload: bytes) -> None:
        with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
            try:
                connection.sendall(payload)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except OSError:
                pass

    throw()
    assert server.faults == 0
    assert code_of(talk(server, get())) == 200
