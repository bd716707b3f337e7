"""A page that follows its data without a reload."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from nicegui import run, ui

from cloud.api.auth import Scope
from cloud.dashboard.visit import Visit

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


class Live(Generic[_T]):
    """Reads every `every_s`, off the event loop, and shows what it read.

    What goes wrong is told on the page, logged once for as long as it lasts, and tried again. Who may no longer look is told so
    and sees no newer data.
    """

    def __init__(
        self, visit: Visit, read: Callable[[], _T], show: Callable[[_T], None], every_s: float, needs: Scope, what: str
    ) -> None:
        self._visit, self._read, self._show, self._needs, self._what = visit, read, show, needs, what
        self._trouble = ui.label().classes("trouble pl-banner pl-bad").props('role="alert"')
        self._trouble.set_visibility(False)
        self._told = ""
        self._timer = ui.timer(every_s, self.refresh)

    async def refresh(self) -> None:
        """Read and show now."""
        try:
            answer = await run.io_bound(self._look)
        except Exception as error:  # noqa: BLE001 - a page's outermost guard: shown, logged, and tried again
            self._fail(error)
            return
        if answer is None or self._timer.is_deleted:  # NiceGUI answers None while the server shuts down
            return
        allowed, found = answer
        if not allowed:
            self._tell("Your session has ended, or you may no longer see this: sign in again. What is below is old.")
            return
        try:
            for value in found:
                self._show(value)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
            return
        self._told = ""
        self._trouble.set_visibility(False)

    async def first(self, within_s: float = 1.5) -> None:
        """Show before the page is sent, where that does not take long: nobody waits for the connection to see something.

        A page function awaits this last; NiceGUI gives it three seconds.
        """
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.refresh(), within_s)

    def every(self, seconds: float) -> None:
        """Read so often from now on: what takes long to read need not be read all the time."""
        self._timer.interval = seconds

    def _look(self) -> tuple[bool, tuple[_T, ...]]:
        if not self._visit.may(self._needs):
            return False, ()
        return True, (self._read(),)

    def _fail(self, error: Exception) -> None:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if self._told != reason:
            _log.error("a page cannot read its data: %s", reason, exc_info=error)
        self._told = reason
        self._tell(f"{self._what} cannot be read; what is below may be old. {reason}")

    def _tell(self, text: str) -> None:
        if not self._timer.is_deleted:
            self._trouble.set_text(text)
            self._trouble.set_visibility(True)


def live(
    visit: Visit,
    read: Callable[[], _T],
    show: Callable[[_T], None],
    every_s: float = 2.0,
    *,
    needs: Scope = Scope.READ,
    what: str = "The data",
) -> Live[_T]:
    """Show what `read` gives now and every `every_s`; put this where its trouble is to be told.

    `read` runs in a thread and touches no element; `show` runs on the page. It ends with the page.
    """
    return Live(visit, read, show, every_s, needs, what)
