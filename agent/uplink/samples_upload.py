"""Kept images to the cloud's review, over HTTP. Whether one may leave is decided before this is called (P8)."""

from __future__ import annotations

from urllib.parse import quote

import httpx

from contract.errors import LinkDown, RefusedError
from contract.messages import SampleNote


class HttpSampleSender:
    """`agent.ports.samples.SampleSender`: POST {url}/v1/samples/{station}/{sample}, the PNG as its body."""

    def __init__(self, client: httpx.Client, url: str, station: str, *, timeout_s: float = 10.0) -> None:
        self._client = client
        self._url = f"{url.rstrip('/')}/v1/samples/{station}"
        self._timeout_s = timeout_s

    def send(self, note: SampleNote, png: bytes) -> None:
        """Send one image.

        Raises:
            LinkDown: the cloud was not reached, or is in trouble.
            RefusedError: the cloud will not have it.
        """
        headers = {
            "Content-Type": "image/png",
            "X-Plumbline-Part": quote(note.part),
            "X-Plumbline-Label": quote(note.label),
            "X-Plumbline-Confidence": repr(note.confidence),
            "X-Plumbline-Verdict": note.verdict,
            "X-Plumbline-Reason": note.reason,
            "X-Plumbline-Inclusion": repr(note.inclusion),
            "X-Plumbline-Captured-At": repr(note.captured_at),
        }
        url = f"{self._url}/{quote(note.sample)}"
        try:
            response = self._client.post(url, content=png, headers=headers, timeout=self._timeout_s)
        except (httpx.HTTPError, OSError) as error:
            raise LinkDown(f"'{url}' was not reached: {error or type(error).__name__}") from error
        if response.status_code >= 500 or response.status_code == 429:
            raise LinkDown(f"'{url}' answered {response.status_code}")
        if response.status_code >= 300:
            raise RefusedError(f"'{url}' answered {response.status_code}: {response.text[:200]}")
