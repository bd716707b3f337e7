"""Asking the cloud long after the verdict, over real HTTP on loopback: what each answer means, and when to leave it alone."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate

import httpx
import pytest

from agent.uplink.circuit import Circuit
from agent.uplink.deferred import HttpOpinions
from contract.errors import DeadlinePassed, LinkDown, NotFound, PlumblineError, RefusedError, TransientError
from tests.fakes.agent_clock import HandClock
from tests.fakes.opinion_cloud import OpinionCloud, opinion_cloud, said
from tests.tiny_bundle import LABELS

BUNDLE = "a" * 64


@pytest.fixture
def cloud() -> Iterator[OpinionCloud]:
    with opinion_cloud() as server:
        yield server


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(headers={"Authorization": "Bearer t"}) as client:
        yield client


def source(client: httpx.Client, url: str, clock: HandClock, *, timeout_s: float = 20.0) -> HttpOpinions:
    return HttpOpinions(
        client, url, "s1", clock, timeout_s=timeout_s, circuit=Circuit(trip_after=3, rest_s=60.0)
    )  # fmt: skip


def test_an_answer_is_a_prediction_in_the_labels_asked_about(cloud: OpinionCloud, client: httpx.Client) -> None:
    prediction, model = source(client, cloud.url, HandClock()).ask(b"png", BUNDLE, LABELS)
    assert (prediction.index, prediction.label.name, prediction.confidence, prediction.good) == (
        1, "scratch", 0.97, 0.03,
    )  # fmt: skip
    assert model == "large fp32"
    ((path, headers, body),) = cloud.requests
    assert (path, body) == ("/v1/fallback/s1", b"png")
    assert headers["X-Plumbline-Bundle"] == BUNDLE
    assert headers["X-Plumbline-Deferred"] == "1"
    assert headers["Authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"", LinkDown), (403, b"", LinkDown), (429, b"", LinkDown), (503, b"", LinkDown), (504, b"", LinkDown),
        (500, b"", TransientError), (302, b"", TransientError), (200, b"<html>log in</html>", TransientError),
        (200, b"{}", TransientError), (200, b"[" * 100_000, TransientError),
        (404, b'{"detail": "no model"}', NotFound),
        (413, b"", RefusedError), (422, b"", RefusedError), (400, b"", RefusedError),
        (200, said("unheard of"), RefusedError), (200, said(confidence=7.0), RefusedError),
        (200, said(good=1.5), RefusedError),
    ],
)  # fmt: skip
def test_each_answer_says_whether_to_ask_again(
    cloud: OpinionCloud, client: httpx.Client, status: int, body: bytes, error: type[PlumblineError]
) -> None:
    cloud.status, cloud.body = status, body
    with pytest.raises(PlumblineError) as raised:
        source(client, cloud.url, HandClock()).ask(b"png", BUNDLE, LABELS)
    assert type(raised.value) is error


def test_nobody_there_is_the_links_fault_and_silence_the_images(cloud: OpinionCloud, client: httpx.Client) -> None:
    with pytest.raises(LinkDown):
        source(client, "http://127.0.0.1:9", HandClock()).ask(b"png", BUNDLE, LABELS)
    cloud.silent.set()
    with pytest.raises(DeadlinePassed, match="was silent"):
        source(client, cloud.url, HandClock(), timeout_s=0.2).ask(b"png", BUNDLE, LABELS)


def test_after_three_failures_in_a_row_the_cloud_is_left_alone_for_a_minute(
    cloud: OpinionCloud, client: httpx.Client
) -> None:
    clock, cloud.status = HandClock(), 503
    asked = source(client, cloud.url, clock)
    rests = []
    for _ in range(3):
        with pytest.raises(LinkDown):
            asked.ask(b"png", BUNDLE, LABELS)
        rests.append(asked.rest_s())
    assert rests == [0.0, 0.0, 60.0]
    clock.forward(59.0)
    assert asked.rest_s() == pytest.approx(1.0)
    clock.forward(1.0)
    assert asked.rest_s() == 0.0
    with pytest.raises(LinkDown):
        asked.ask(b"png", BUNDLE, LABELS)
    assert asked.rest_s() == 60.0, "a failed trial opens it anew"
    clock.forward(60.0)
    cloud.status = 200
    asked.ask(b"png", BUNDLE, LABELS)
    assert asked.rest_s() == 0.0


def test_a_refusal_is_no_failure_of_the_cloud(cloud: OpinionCloud, client: httpx.Client) -> None:
    cloud.status = 422
    asked = source(client, cloud.url, HandClock())
    for _ in range(5):
        with pytest.raises(RefusedError):
            asked.ask(b"png", BUNDLE, LABELS)
    assert asked.rest_s() == 0.0


@pytest.mark.parametrize(
    ("text", "rest_s"),
    [
        ("120", 120.0), ("999999999999", 3_600.0), ("soon", 0.0), ("-5", 0.0), ("1e9", 0.0),
        ("\u0665".encode().decode("latin1"), 0.0),
        (formatdate(1_795_200_000.0 + 90.0, usegmt=True), 90.0), (formatdate(1_000.0, usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600.0),
    ],
)  # fmt: skip
def test_the_cloud_is_asked_no_sooner_than_it_says_and_cannot_silence_us_for_ever(
    cloud: OpinionCloud, client: httpx.Client, text: str, rest_s: float
) -> None:
    cloud.status, cloud.headers = 429, {"Retry-After": text}
    asked = source(client, cloud.url, HandClock())
    with pytest.raises(LinkDown):
        asked.ask(b"png", BUNDLE, LABELS)
    assert asked.rest_s() == pytest.approx(rest_s)
