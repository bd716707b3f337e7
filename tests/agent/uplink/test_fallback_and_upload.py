"""Asking the cloud under a deadline, and sending images, over real HTTP on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from agent.clock import SystemClock
from agent.ports.clock import Clock
from agent.ports.source import Frame
from agent.uplink.circuit import Circuit
from agent.uplink.fallback import WITHIN_HEADER, HttpFallback, ServedBundle
from agent.uplink.samples_upload import HttpSampleSender
from contract.decode import Prediction
from contract.errors import LinkDown, RefusedError
from contract.messages import SampleNote
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListLog, image
from tests.tiny_bundle import LABELS

BUNDLE = ServedBundle("a" * 64, LABELS)
NOTE = SampleNote("b-1-0", 1.5, "Teil ä 1", "good", 0.6, "REVIEW", "hard", 0.0)


class Cloud(ThreadingHTTPServer):
    """Answers every POST with `status` and `body` after `delay_s`, and keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.delay_s = 200, 0.0
        self.body: bytes = json.dumps({"label": "scratch", "confidence": 0.97, "good": 0.03, "model": "fp32"}).encode()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Cloud
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        time.sleep(self.server.delay_s)
        try:
            self.send_response(self.server.status)
            self.send_header("Content-Length", str(len(self.server.body)))
            self.end_headers()
            self.wfile.write(self.server.body)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    server = Cloud()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(headers={"Authorization": "Bearer t"}) as client:
        yield client


def frame() -> Frame:
    return Frame(image(128), 1.0, 1.0)


def fallback(client: httpx.Client, url: str, log: ListLog | None = None, clock: Clock | None = None) -> HttpFallback:
    circuit = Circuit(trip_after=2, rest_s=0.2)
    return HttpFallback(client, url, "s1", lambda: BUNDLE, clock or SystemClock(), log or ListLog(), circuit=circuit)


def ask(asked: HttpFallback, within_s: float) -> Prediction | None:
    """Ask as the frame loop does: submit, look for the answer, give up when time is out."""
    ticket = asked.submit(frame(), within_s)
    until = time.monotonic() + within_s
    while ticket is not None and time.monotonic() < until:
        for number, answer in asked.answers():
            assert number == ticket
            return answer
        time.sleep(0.002)
    if ticket is not None:
        asked.give_up(ticket)
    return None


def test_the_clouds_answer_comes_back_as_a_prediction_of_the_served_labels(cloud: Cloud, client: httpx.Client) -> None:
    answer = ask(fallback(client, cloud.url), 30.0)
    assert answer is not None
    assert (answer.index, answer.label.name, answer.confidence, answer.good) == (1, "scratch", 0.97, 0.03)
    path, headers, body = cloud.requests[0]
    assert path == "/v1/fallback/s1"
    assert headers["X-Plumbline-Bundle"] == "a" * 64
    # What is left of the time that the line waits, the picture being encoded.
    assert 20_000 < int(headers[WITHIN_HEADER]) <= 30_000
    assert headers["Authorization"] == "Bearer t"
    assert body.startswith(b"\x89PNG")


def test_a_slow_cloud_is_given_up_and_asked_nothing_more_meanwhile(cloud: Cloud, client: httpx.Client) -> None:
    cloud.delay_s = 1.0
    asked = fallback(client, cloud.url)
    ticket = asked.submit(frame(), 0.1)
    assert ticket is not None
    assert asked.submit(frame(), 0.1) is None, "one question at a time"
    asked.give_up(ticket)
    until = time.monotonic() + 60
    while (again := asked.submit(frame(), 60.0)) is None and time.monotonic() < until:
        time.sleep(0.01)
    assert again is not None
    answered: list[int] = []
    while not answered and time.monotonic() < until:
        answered = [number for number, _ in asked.answers()]
        time.sleep(0.01)
    assert answered == [again], "an answer to what was given up is none"


def test_an_answer_is_announced(cloud: Cloud, client: httpx.Client) -> None:
    announced = threading.Event()
    asked = HttpFallback(client, cloud.url, "s1", lambda: BUNDLE, SystemClock(), ListLog(), on_answer=announced.set)
    assert asked.submit(frame(), 60.0) is not None
    assert announced.wait(60)
    assert len(asked.answers()) == 1


@pytest.mark.parametrize(
    "body",
    [b"not json", b"{}", b'{"label": "unheard of", "confidence": 0.9, "good": 0.1}',
     b'{"label": "good", "confidence": 7, "good": 0.1}'],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_no_answer(cloud: Cloud, client: httpx.Client, body: bytes) -> None:
    cloud.body = body
    log = ListLog()
    assert ask(fallback(client, cloud.url, log), 30.0) is None
    assert log.lines


def test_the_circuit_opens_after_failures_and_lets_one_trial_through_later(cloud: Cloud, client: httpx.Client) -> None:
    cloud.status = 500
    clock = HandClock()
    asked = fallback(client, cloud.url, clock=clock)
    assert [ask(asked, 30.0) for _ in range(4)] == [None] * 4
    assert len(cloud.requests) == 2
    cloud.status = 200
    clock.forward(0.25)
    assert ask(asked, 30.0) is not None
    assert ask(asked, 30.0) is not None


def test_nobody_there_is_no_answer(client: httpx.Client) -> None:
    assert ask(fallback(client, "http://127.0.0.1:9"), 1.0) is None


def test_a_sample_is_sent_with_what_is_known_of_it(cloud: Cloud, client: httpx.Client) -> None:
    cloud.status, cloud.body = 204, b""
    HttpSampleSender(client, cloud.url, "s1").send(NOTE, b"png")
    path, headers, body = cloud.requests[0]
    assert (path, body) == ("/v1/samples/s1/b-1-0", b"png")
    assert headers["X-Plumbline-Part"] == "Teil%20%C3%A4%201"
    assert headers["X-Plumbline-Reason"] == "hard"


def test_a_refusal_is_told_apart_from_a_cloud_in_trouble(cloud: Cloud, client: httpx.Client) -> None:
    sender = HttpSampleSender(client, cloud.url, "s1")
    cloud.status = 403
    with pytest.raises(RefusedError):
        sender.send(NOTE, b"png")
    cloud.status = 503
    with pytest.raises(LinkDown):
        sender.send(NOTE, b"png")
    with pytest.raises(LinkDown):
        HttpSampleSender(client, "http://127.0.0.1:9", "s1").send(NOTE, b"png")
