"""Asking the cloud's full-precision model about one frame, within the frame's own deadline (DESIGN 3)."""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.source import Frame
from agent.uplink.circuit import Circuit
from contract.decode import Prediction
from contract.manifest import Label

WITHIN_HEADER = "X-Plumbline-Within-Ms"
"""For how long the asker waits, in milliseconds, from when it sends: what the cloud cannot do by then it refuses at once."""


class FallbackAnswer(msgspec.Struct, frozen=True):
    """The cloud's JSON: `label` by name, `good` the probability on GOOD labels, `model` who said it."""

    label: str
    confidence: float
    good: float
    model: str = ""


@dataclass(frozen=True, slots=True)
class ServedBundle:
    """Whose labels an answer must use."""

    digest: str
    labels: tuple[Label, ...]


class HttpFallback:
    """`agent.ports.fallback.Fallback` over one kept-alive connection.

    The request runs on a thread of its own: httpx's timeouts bound each read, not the whole, and the line waits for no one.
    A request still running when the next frame asks means the cloud is slow: that frame is not asked about.
    """

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        station: str,
        served: Callable[[], ServedBundle | None],
        clock: Clock,
        log: Log,
        *,
        circuit: Circuit | None = None,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_answer` is called on another thread when there is something for `answers` to return."""
        self._client = client
        self._url = f"{url.rstrip('/')}/v1/fallback/{station}"
        self._served = served
        self._clock = clock
        self._log = log
        self._circuit = circuit or Circuit(trip_after=3, rest_s=10.0)
        self._requests: queue.Queue[tuple[int, Frame, ServedBundle, float]] = queue.Queue(1)
        self._answers: queue.Queue[tuple[int, Prediction | None]] = queue.Queue()
        self._on_answer = on_answer
        self._number = 0
        self._given_up = 0
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, frame: Frame, within_s: float) -> int | None:
        """Return the ticket of the question, or None: one is still under way, the circuit is open, or no bundle is served."""
        bundle = self._served()
        if bundle is None or within_s <= 0 or self._busy.is_set() or not self._circuit.allows(self._clock.monotonic()):
            return None
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fallback", daemon=True)
            self._thread.start()
        self._number += 1
        self._busy.set()
        self._requests.put((self._number, frame, bundle, within_s))
        return self._number

    def answers(self) -> list[tuple[int, Prediction | None]]:
        """Return the answers that came since the last call; one to a question given up on is left out."""
        came: list[tuple[int, Prediction | None]] = []
        while True:
            try:
                number, answer = self._answers.get_nowait()
            except queue.Empty:
                return came
            if number == self._given_up:
                continue
            self._circuit = self._circuit.succeeded() if answer else self._circuit.failed(self._clock.monotonic())
            came.append((number, answer))

    def give_up(self, ticket: int) -> None:
        """Take no answer in time for a failure of the cloud's."""
        self._given_up = ticket
        self._circuit = self._circuit.failed(self._clock.monotonic())

    def _work(self) -> None:
        while True:
            number, frame, bundle, within_s = self._requests.get()
            answer: Prediction | None = None
            try:
                answer = self._request(frame, bundle, within_s)
            except Exception as error:  # noqa: BLE001 - a thread that died would leave the cloud unasked for ever
                self._log.fault("fallback", f"the cloud's opinion was not had: {error or type(error).__name__}")
            self._busy.clear()
            self._answers.put((number, answer))
            self._on_answer()

    def _request(self, frame: Frame, bundle: ServedBundle, within_s: float) -> Prediction | None:
        began_s = self._clock.monotonic()
        png = _png(frame.pixels)
        left_ms = (within_s - (self._clock.monotonic() - began_s)) * 1e3
        response = self._client.post(
            self._url,
            content=png,
            headers={
                "Content-Type": "image/png",
                "X-Plumbline-Bundle": bundle.digest,
                WITHIN_HEADER: str(max(1, int(left_ms))),
                **({"traceparent": frame.trace} if frame.trace else {}),
            },
            timeout=within_s,
        )
        if response.status_code != 200:
            self._log.fault("fallback", f"'{self._url}' answered {response.status_code}")
            return None
        answer = msgspec.json.decode(response.content, type=FallbackAnswer)
        for index, label in enumerate(bundle.labels):
            if label.name == answer.label and 0 <= answer.confidence <= 1 and 0 <= answer.good <= 1 + 1e-6:
                return Prediction(index, label, answer.confidence, answer.good)
        self._log.fault("fallback", f"the cloud named '{answer.label[:40]}', which is no label of the bundle served")
        return None


def _png(pixels: NDArray[np.uint8]) -> bytes:
    body = io.BytesIO()
    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(flat)).save(body, "PNG", compress_level=1)
    return body.getvalue()
