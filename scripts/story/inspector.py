"""A simulated inspector: labels what waits in the review queue through the HTTP API that a person's page uses."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping

import httpx

MAX_LABELS = 120


class Inspector:
    """Looks at the queue a few times a second in a thread of its own. Knows the truth from the image's name, as the demo does."""

    def __init__(self, url: str, token: str, truth: Mapping[str, str], verify: ssl.SSLContext | bool = True) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=10.0, verify=verify)
        self._truth = truth
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="inspector", daemon=True)
        self.labelled = 0
        self.parts: set[str] = set()
        self.trouble = ""

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End the shift."""
        self._stop.set()
        self._thread.join(15.0)
        self._client.close()

    def _work(self) -> None:
        while not self._stop.wait(0.3):
            try:
                self._label_what_waits()
            except (httpx.HTTPError, KeyError) as error:
                self.trouble = f"{type(error).__name__}: {error}"

    def _label_what_waits(self) -> None:
        queue = self._client.get("/v1/review/queue", params={"limit": 50}).raise_for_status().json()
        for item in queue["items"]:
            if self.labelled >= MAX_LABELS or self._stop.is_set():
                return
            # A person would look at the pixels; fetching them shows that they are there to be looked at.
            self._client.get(f"/v1/review/{item['sample']}/image").raise_for_status()
            body = {"label": self._truth[item["part"]], "labeller": "demo inspector"}
            self._client.post(f"/v1/review/{item['sample']}", json=body).raise_for_status()
            self.labelled += 1
            self.parts.add(item["part"])
