"""A real headless Chromium through Playwright. A page that writes an error to its console, or asks another machine, fails."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from nicegui import Client, background_tasks, core
from nicegui.testing.general import nicegui_reset_globals
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

expect.set_options(timeout=60_000)  # a machine that runs the whole suite has other things to do, too


def busy_factor() -> float:
    """Return how many times as long as alone something takes now, as far as the load tells: so many want each core."""
    return max(1.0, 1.5 * os.getloadavg()[0] / (os.cpu_count() or 1))


NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOW_TO_INSTALL = (
    "THE PAGES ARE NOT TESTED: no Chromium (apt-get install chromium, or: .venv/bin/playwright install chromium)"
)


def find_chromium() -> str | None:
    """Return a Chromium on PATH, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def serve_pages(app: FastAPI) -> Iterator[str]:
    """Serve an application with NiceGUI pages (`ui.run_with(app, reconnect_timeout=0.2)`) until the generator is closed.

    Raises:
        AssertionError: the server did not start; what it logged says why.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="on", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    with warnings.catch_warnings():
        # As it starts NiceGUI looks at every object of the process, and those of torch warn whoever looks at them: an error here.
        warnings.simplefilter("ignore", FutureWarning)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.005)
    if not server.started:
        listener.close()
        raise AssertionError("the server did not start: what it logged says why")
    # With its two seconds a browser that was not run for that long would lose what it has open: its page is loaded anew.
    core.sio.eio.ping_timeout = 60.0
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    _wait_until_browsers_are_gone()
    server.should_exit = True
    thread.join(60)
    listener.close()
    # NiceGUI has one application a process: without this the next module's pages would not come to stand.
    with nicegui_reset_globals():
        pass


def _wait_until_browsers_are_gone() -> None:
    """Let NiceGUI end what it does when a browser has gone; a page that no browser ever connected to is waited for a second."""
    began = time.monotonic()
    while Client.instances or background_tasks.running_tasks:
        connected = any(client.has_socket_connection for client in list(Client.instances.values()))
        if time.monotonic() - began > (10.0 if connected else 1.0):
            return
        time.sleep(0.02)


# Of a module and no longer: while Playwright lives its event loop runs in this thread, and tests with one of their own fail.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with sync_playwright() as found:
            yield found


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    try:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=flags)
    except Exception as error:  # noqa: BLE001 - whatever keeps Playwright's own browser from starting
        warnings.warn(f"{HOW_TO_INSTALL}: {error}", stacklevel=1)
        pytest.skip(HOW_TO_INSTALL)
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return what opens a page with its own cookies: open_page(url, cookies={...}, dark=True, width=..., expected=(...)).

    At the end of the test each page must have written no error to its console (save those that hold a text in `expected`) and
    asked no other machine.
    """
    contexts: list[BrowserContext] = []
    said: list[str] = []
    asked: list[str] = []

    def open_it(
        url: str,
        cookies: dict[str, str] | None = None,
        *,
        dark: bool = False,
        width: int = 1400,
        height: int = 1000,
        expected: tuple[str, ...] = (),
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(60_000)
        contexts.append(context)
        root = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
        context.add_cookies([{"name": name, "value": value, "url": root} for name, value in (cookies or {}).items()])
        page = context.new_page()

        def note(text: str) -> None:
            if not any(each in text for each in expected):
                said.append(text)

        page.on("console", lambda message: note(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: note(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert said == [], said
    # "data:" and "blob:" are the page's own; whatever else must be the server that is tested.
    foreign = [url for url in asked if urlsplit(url).hostname not in ("127.0.0.1", "localhost", None, "")]
    assert foreign == [], foreign


@pytest.fixture
def assert_accessible() -> Callable[..., None]:
    """Return what fails where axe-core finds a serious or critical violation on a page: check(page, within=".q-dialog").

    `within`: what is looked at; of an open dialog not what lies dimmed behind it.
    """

    def check(page: Page, within: str | None = None) -> None:
        found = Axe().run(page, context=within).response["violations"]
        bad = [
            {
                "rule": each["id"],
                "help": each["help"],
                "where": [(node["html"][:200], node.get("failureSummary")) for node in each["nodes"][:5]],
            }
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert bad == [], json.dumps(bad, indent=1)

    return check
