"""A headless Chromium, driven over the DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

HOW_TO_INSTALL = "no Chromium on PATH: apt-get install chromium (or set PATH to one)"

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip


def find_chromium() -> str | None:
    """Return a Chromium's path, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Chromium:
    """One browser with one page."""

    def __init__(self, binary: str, folder: Path, width: int = 1400, height: int = 1000) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            (binary, *_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"),
            stdout=log,
            stderr=log,
        )
        log.close()
        self._ids = itertools.count(1)
        self.said: list[str] = []
        """What the page wrote to its console as an error, or threw."""
        self._open = contextlib.ExitStack()
        address = self._page_address(folder / "DevToolsActivePort")
        self._page: ClientConnection = self._open.enter_context(connect(address, max_size=None, proxy=None))
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        """Give the page another size, in pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def close(self) -> None:
        """End the browser."""
        self._open.close()
        self._process.terminate()
        self._process.wait(60)

    def open(self, url: str, headers: dict[str, str] | None = None) -> None:
        """Go to a page."""
        self._call("Network.enable")
        self._call("Network.setExtraHTTPHeaders", headers=headers or {})
        self._call("Page.navigate", url=url)

    def text(self) -> str:
        """Return what a person can read on the page."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, words: str, within_s: float = 90.0) -> str:
        """Return the page's text once it holds `words`."""
        until = time.monotonic() + within_s
        while words not in (text := self.text()):
            assert time.monotonic() < until, f"'{words}' did not appear; the page says: {text[:2000]}"
            time.sleep(0.05)
        return text

    def screenshot(self, file: Path) -> None:
        """Write the whole page as a PNG."""
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def _page_address(self, port_file: Path) -> str:
        until = time.monotonic() + 90
        while not (port_file.exists() and port_file.read_text().strip()):
            assert self._process.poll() is None and time.monotonic() < until, "Chromium did not start"
            time.sleep(0.02)
        port = port_file.read_text().split()[0]
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=60) as answer:
                pages = [each for each in json.load(answer) if each["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
            time.sleep(0.02)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._page.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._page.recv(timeout=90))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        about = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.said.append(str(about["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.said.append(about["entry"]["text"])
