"""Orders and reports over HTTP, for a station without a broker, or one whose broker is out of reach."""

from __future__ import annotations

from typing import NoReturn

import httpx

from agent.ports.clock import Clock
from agent.update.retry_after import retry_after_s
from contract.codec import decode_control, encode_control
from contract.errors import BadMessage, LinkDown, RefusedError
from contract.messages import DesiredState, ReportedState

MAX_BODY_BYTES = 512 * 1024
"""Three envelopes of the largest size (`contract.signature.MAX_ENVELOPE_CHARS`), escaped, fit in."""


class HttpOrders:
    """GET {url}/v1/orders/{station} and POST {url}/v1/reports/{station}. Used by one thread.

    What comes is unverified, as from the broker: the update loop trusts nothing in it.
    """

    def __init__(self, client: httpx.Client, url: str, station: str, clock: Clock, *, timeout_s: float = 10.0) -> None:
        base = f"{url.rstrip('/')}/v1"
        self._orders_url, self._reports_url = f"{base}/orders/{station}", f"{base}/reports/{station}"
        self._client, self._station, self._clock, self._timeout_s = client, station, clock, timeout_s
        self._etag = ""
        self._not_before = 0.0

    def poll(self) -> DesiredState | None:
        """Return the desired state; None when it is still the one returned last.

        Raises:
            LinkDown: the server was not reached, is in trouble, or asked to be left alone for a while.
            RefusedError: it does not know this station, or its token.
            BadMessage: what it answered is no desired state of this station.
        """
        self._check_welcome()
        headers = {"If-None-Match": self._etag} if self._etag else {}
        try:
            with self._client.stream(
                "GET", self._orders_url, headers=headers, timeout=self._timeout_s, follow_redirects=False
            ) as response:
                if response.status_code == 304 and self._etag:
                    return None
                if response.status_code != 200:
                    self._refuse(self._orders_url, response)
                body = self._body(response)
        except (httpx.HTTPError, OSError) as error:
            raise LinkDown(f"'{self._orders_url}' was not reached: {error or type(error).__name__}") from error
        desired = decode_control(body, DesiredState)
        if desired.station != self._station:
            raise BadMessage(f"orders of '{desired.station[:80]}' came for '{self._station}'")
        self._etag = response.headers.get("ETag", "")[:200]
        return desired

    def report(self, state: ReportedState) -> None:
        """Tell the server how this station stands.

        Raises:
            LinkDown, RefusedError: as `poll`.
        """
        self._check_welcome()
        headers = {"Content-Type": "application/json"}
        try:
            with self._client.stream(
                "POST",
                self._reports_url,
                content=encode_control(state),
                headers=headers,
                timeout=self._timeout_s,
                follow_redirects=False,
            ) as response:
                if response.status_code not in (200, 204):
                    self._refuse(self._reports_url, response)
        except (httpx.HTTPError, OSError) as error:
            raise LinkDown(f"'{self._reports_url}' was not reached: {error or type(error).__name__}") from error

    def _body(self, response: httpx.Response) -> bytes:
        chunks, size, began = [], 0, self._clock.monotonic()
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise BadMessage(f"'{self._orders_url}' answers more than {MAX_BODY_BYTES >> 10} KiB")
            if self._clock.monotonic() - began > self._timeout_s:
                raise LinkDown(f"'{self._orders_url}' hardly sends anything")
            chunks.append(chunk)
        return b"".join(chunks)

    def _check_welcome(self) -> None:
        wait_s = self._not_before - self._clock.monotonic()
        if wait_s > 0:
            raise LinkDown(f"the server asked to be left alone for another {wait_s:.0f} s")

    def _refuse(self, url: str, response: httpx.Response) -> NoReturn:
        status = response.status_code
        if status in (429, 503):
            wait_s = retry_after_s(response.headers.get("Retry-After", ""), self._clock.now())
            self._not_before = self._clock.monotonic() + wait_s
        # A redirect is a captive portal's; a server that is older than this station has no such page yet.
        if status >= 500 or status == 429 or status < 400:
            raise LinkDown(f"'{url}' answered {status}")
        raise RefusedError(
            f"'{url}' answered {status}", hint="is the station added there, and is its token the current one?"
        )
