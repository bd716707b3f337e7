"""Asking the cloud's full-precision model about a kept image, long after its verdict (DESIGN 3).

The door is the synchronous fallback's; the header says that no line waits, so that the cloud serves those that do first.
Whether the image may leave is decided before this is called (P8).
"""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import httpx
import msgspec

from agent.ports.clock import Clock
from agent.uplink.circuit import Circuit
from agent.uplink.fallback import FallbackAnswer
from contract.decode import Prediction
from contract.errors import DeadlinePassed, LinkDown, NotFound, RefusedError, TransientError
from contract.manifest import Label

DEFERRED_HEADER = "X-Plumbline-Deferred"
_MAX_ANSWER_BYTES = 64 << 10
_MAX_RETRY_AFTER_S = 3600.0
# What says nothing about the image: the cloud is busy, on its way up, or does not know this station.
_NOT_FOR_US = {401, 403, 407, 429, 502, 503, 504}


class HttpOpinions:
    """`agent.ports.opinions.OpinionSource` over HTTP: POST {url}/v1/fallback/{station}. One thread's."""

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        station: str,
        clock: Clock,
        *,
        timeout_s: float = 30.0,
        circuit: Circuit | None = None,
    ) -> None:
        """`timeout_s` bounds each silence of the network, not the whole: a slow line may take minutes over an image."""
        self._client = client
        self._url = f"{url.rstrip('/')}/v1/fallback/{station}"
        self._clock = clock
        self._timeout_s = timeout_s
        self._circuit = circuit or Circuit(trip_after=3, rest_s=60.0)
        self._not_before_s = 0.0

    def rest_s(self) -> float:
        """Return for how long the cloud should be left alone, 0 for not at all."""
        now_s = self._clock.monotonic()
        opened_s = self._circuit.opened_s
        open_s = 0.0 if opened_s is None else opened_s + self._circuit.rest_s - now_s
        return max(0.0, open_s, self._not_before_s - now_s)

    def ask(self, png: bytes, bundle: str, labels: Sequence[Label]) -> tuple[Prediction, str]:
        """Return (prediction in `labels`, the model's name) for one image.

        Raises: as `agent.ports.opinions.OpinionSource.ask`.
        """
        try:
            answer = self._post(png, bundle)
        except TransientError:
            self._circuit = self._circuit.failed(self._clock.monotonic())
            raise
        except RefusedError:
            self._circuit = self._circuit.succeeded()  # it is there, and knows its mind
            raise
        self._circuit = self._circuit.succeeded()
        for index, label in enumerate(labels):
            if label.name == answer.label and 0 <= answer.confidence <= 1 and 0 <= answer.good <= 1 + 1e-6:
                return Prediction(index, label, answer.confidence, min(answer.good, 1.0)), answer.model
        raise RefusedError(f"the cloud named '{answer.label[:40]}', which is no label of bundle {bundle[:12]}")

    def _post(self, png: bytes, bundle: str) -> FallbackAnswer:
        headers = {"Content-Type": "image/png", "X-Plumbline-Bundle": bundle, DEFERRED_HEADER: "1"}
        try:
            with self._client.stream(
                "POST", self._url, content=png, headers=headers, timeout=self._timeout_s
            ) as response:
                body = _read(response)
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise DeadlinePassed(f"'{self._url}' was silent for {self._timeout_s:g} s") from error
        except (httpx.HTTPError, OSError, RuntimeError) as error:  # RuntimeError: the client was closed
            raise LinkDown(f"'{self._url}' was not reached: {error or type(error).__name__}") from error
        if response.status_code == 200:
            try:
                return msgspec.json.decode(body, type=FallbackAnswer)
            except (msgspec.DecodeError, ValueError) as error:
                raise TransientError(f"'{self._url}' answered what is no opinion: {error}") from error
        raise self._explain(response, f"'{self._url}' answered {response.status_code}: {_text(body)}")

    def _explain(self, response: httpx.Response, what: str) -> TransientError | RefusedError:
        code = response.status_code
        wait_s = self._retry_after_s(response.headers.get("Retry-After", ""))
        self._not_before_s = max(self._not_before_s, self._clock.monotonic() + wait_s)
        if code in _NOT_FOR_US:
            return LinkDown(what, hint="provision the station again" if code in (401, 403) else "")
        if code >= 500 or code < 400:  # a redirect: something else answers in the cloud's place
            return TransientError(what)
        return NotFound(what) if code == 404 else RefusedError(what)

    def _retry_after_s(self, text: str) -> float:
        try:
            wait_s = float(text) if text.isascii() and text.isdigit() else 0.0
            if text and not wait_s:
                wait_s = parsedate_to_datetime(text).timestamp() - self._clock.now()
        except (ValueError, OverflowError):
            return 0.0
        # Whoever answers there must not be able to silence us for ever, and our clock may be wrong.
        return min(max(wait_s, 0.0), _MAX_RETRY_AFTER_S)


def _read(response: httpx.Response) -> bytes:
    body = b""
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            break
    return body[:_MAX_ANSWER_BYTES]


def _text(body: bytes) -> str:
    return " ".join(body[:200].decode(errors="replace").split())
