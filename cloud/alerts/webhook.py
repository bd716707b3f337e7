"""A POST of JSON to an address of the plant's: a chat, a pager, a ticket desk."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import msgspec

from contract.errors import LinkDown, RefusedError, TransientError

SIGNATURE_HEADER, ID_HEADER = "Plumbline-Signature", "Plumbline-Notice"
# Statuses that are about this one message. All others, 401 and 404 among them, are about the address, the token or the moment:
# what is to be told waits until somebody has mended those.
_OF_THE_MESSAGE = frozenset({400, 406, 411, 413, 414, 415, 417, 422, 431})
_CONNECT_S, _ANSWER_S = 5.0, 10.0


def sign(secret: bytes, at: float, body: bytes) -> str:
    """Return the signature header: "t=SECONDS,v1=HEX", HMAC-SHA256 over "SECONDS." and the body (as Stripe's webhooks have it).

    Whoever checks it compares in constant time, and refuses a `t` that is minutes old: it may be a replay.
    """
    seconds = f"{at:.0f}"
    digest = hmac.new(secret, seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


class Webhook:
    """`cloud.alerts.channel.Channel`. An address may hold a secret: nothing that this says of it goes beyond its host."""

    def __init__(
        self,
        name: str,
        url: str,
        now: Callable[[], float],
        secret: bytes = b"",
        *,
        connect_s: float = _CONNECT_S,
        answer_s: float = _ANSWER_S,
    ) -> None:
        self.name = name
        self._url, self._now, self._secret = url, now, secret
        parts = urlsplit(url)
        self._shown = f"{parts.scheme}://{parts.hostname}/..."
        # No redirects: one would send what a plant says of itself to somebody whom nobody named.
        self._client = httpx.Client(timeout=httpx.Timeout(answer_s, connect=connect_s), follow_redirects=False)

    def send(self, body: str) -> None:
        """Hand one message over; any status of 2xx says that it was taken.

        Raises:
            TransientError: the server is not reached, does not answer in time, or takes nothing as things are.
            RefusedError: it says that this message will not do.
        """
        content = body.encode()
        headers = {"Content-Type": "application/json", "User-Agent": "plumbline-cloud", ID_HEADER: _id_of(content)}
        if self._secret:
            headers[SIGNATURE_HEADER] = sign(self._secret, self._now(), content)
        try:
            # The answer's body is nobody's concern, and may have no end.
            with self._client.stream("POST", self._url, content=content, headers=headers) as response:
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # httpx names the address in some of its messages.
            raise LinkDown(f"{self._shown}: {type(error).__name__}") from None
        if 200 <= status < 300:
            return
        what = f"{self._shown} answered {status}"
        if status in _OF_THE_MESSAGE:
            raise RefusedError(what, hint="it takes no such messages; docs/metrics.md, 'Alerts out', has their form")
        if status < 500:
            raise TransientError(
                what, hint="check its address in [alerts] webhooks, and whether its token still counts"
            )
        raise TransientError(what)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def _id_of(body: bytes) -> str:
    """Return the message's id as a header can hold it: a site's name may be of any script."""
    found = msgspec.json.decode(body).get("id", "")
    return hashlib.sha256(str(found).encode()).hexdigest()[:32]
