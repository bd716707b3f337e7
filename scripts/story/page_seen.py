"""What a person with a browser sees meanwhile: a real Chromium on the page of rollouts, read again and again."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

NO_BROWSER = (
    "THE PAGE IS NOT LOOKED AT: no Chromium (apt-get install chromium, or: .venv/bin/playwright install chromium)"
)

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
_LOOK_EVERY_S = 0.2
_START_S = 60.0
_READ = """() => {
  const text = name => document.querySelector(name)?.offsetParent ? document.querySelector(name).innerText : '';
  const row = document.querySelector('.table-rollouts tbody tr');
  return {title: text('.rollout-title'), state: text('.rollout-state'), sentence: text('.rollout-sentence'),
    waves: text('.rollout-waves'), newest: row ? row.innerText : ''};
}"""


@dataclass(frozen=True, slots=True)
class Glance:
    """What the page said at one moment: of the rollout under way, "" where it shows none, and the newest line of its list."""

    title: str
    state: str
    sentence: str
    waves: str
    newest: str


class PageWatch:
    """Looks at /rollouts of `url` in a browser until it is left; `glances` are the different things it saw, in order.

    `trouble` says why nothing was seen, "" where the browser looked on.
    """

    def __init__(self, url: str, picture: Path) -> None:
        self._url, self._picture = f"{url}/rollouts", picture
        self.glances: list[Glance] = []
        self.trouble = ""
        self._stop, self._open = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="page-watch", daemon=True)

    def __enter__(self) -> PageWatch:
        self._thread.start()
        self._open.wait(_START_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_START_S)

    def wait_for(self, newest: str, within_s: float) -> None:
        """Wait until the newest line of the list holds `newest`, or the time is over."""
        until = time.monotonic() + within_s
        while not self.trouble and time.monotonic() < until:
            if self.glances and newest in self.glances[-1].newest:
                return
            time.sleep(_LOOK_EVERY_S)

    def _run(self) -> None:
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 - the thread's outermost guard: the step says that nobody looked
            self.trouble = f"{NO_BROWSER} {' '.join(str(error).split())[:300]}"
        finally:
            self._open.set()

    def _look(self) -> None:
        from playwright.sync_api import sync_playwright

        found = next(filter(None, map(shutil.which, _NAMES)), None)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=found, args=list(_FLAGS))
            # The plant's own authority vouches for a secure demo; the story's other clients check that it does.
            page = browser.new_context(ignore_https_errors=True).new_page()
            page.goto(self._url)
            page.wait_for_selector(".table-rollouts")
            self._open.set()
            while not self._stop.wait(_LOOK_EVERY_S):
                self._note(page)
            browser.close()

    def _note(self, page: Any) -> None:
        glance = Glance(**page.evaluate(_READ))
        if self.glances and self.glances[-1] == glance:
            return
        self.glances.append(glance)
        if "ABORTING" in glance.state and not self._picture.exists():
            page.screenshot(path=str(self._picture), full_page=True)


def showed_it_stopping(glances: list[Glance], version: str) -> bool:
    """Return whether the page said that `version` stops or was stopped, why, and that nobody but the canary had been ordered.

    Either of the rollout under way (its first wave is ordered back or failed, and the others were planned or left out), or of the
    line that stays of it.
    """
    return any(_under_way(each, version) or _over(each, version) for each in glances)


def _under_way(glance: Glance, version: str) -> bool:
    canary, *later = [line for line in glance.waves.splitlines() if " of " in line] or [""]
    stopping = version in glance.title and "ABORTING" in glance.state
    untouched = bool(later) and not any(
        word in line for line in later for word in ("back", "failed", "under way", "silent")
    )
    why = glance.sentence.partition("ordered back: ")[2]
    return stopping and bool(why.strip()) and "0 of 1 committed" in canary and untouched


def _over(glance: Glance, version: str) -> bool:
    cells = [cell.strip() for cell in glance.newest.split("\t")]
    if version not in cells or len(cells) < 7:
        return False
    return "ABORTED" in glance.newest and "1 back" in cells[4] and "left out" in cells[4] and bool(cells[6])
