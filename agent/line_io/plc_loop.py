"""Keeps the connection to the line's controller: opens it, beats, answers in time what no frame answers. One thread."""

from __future__ import annotations

import threading
from contextlib import suppress

from agent.line_io.desk import Desk
from agent.ports.clock import Clock
from agent.ports.line import LineAdapter, LineState, OpenAdapter
from agent.ports.log import Log
from contract.errors import PlumblineError

RETRY_S = 2.0
# What tells nobody as it changes is looked at so often: a camera that falls silent, a disk that refuses, an adapter's trouble.
_LOOK_S = 0.1
# An adapter mends what it can by itself, a lost broker say; what it could not in five retries is opened anew.
_RETRIES_LEFT_TO_IT = 5


class PlcLoop:
    """`open_adapter` is called again whenever the adapter died or could not start."""

    def __init__(
        self,
        desk: Desk,
        open_adapter: OpenAdapter,
        clock: Clock,
        log: Log,
        *,
        heartbeat_s: float,
        retry_s: float = RETRY_S,
    ) -> None:
        self.desk = desk
        self._open_adapter = open_adapter
        self._clock = clock
        self._log = log
        self._heartbeat_s = heartbeat_s
        self._wait_s = retry_s
        self._adapter: LineAdapter | None = None
        self._retry_s = float("-inf")
        self._beat_s = float("-inf")
        self._well_s = float("-inf")
        self._shown: LineState | None = None
        self.faults = 0
        self.trouble = ""
        """What is wrong with the connection, "" if nothing."""

    def why_degraded(self) -> str:
        """Return why no verdict reaches the controller, in words; "" if nothing is known to be wrong."""
        return self.trouble or self.desk.why_away

    def run(self, stop: threading.Event) -> None:
        """Serve the controller until `stop`; then answer what waits, and say that the station is away."""
        while not stop.is_set():
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - the line's connection outlives our faults; they are counted and said
                self.faults += 1
                self._log.fault("plc", f"{type(error).__name__}: {error}")
                self._let_go()
        self.desk.close()
        self._let_go()

    def _turn(self) -> None:
        # Read before anything is looked at: what changes meanwhile is looked at by the next turn, at once.
        now_s, told = self._clock.monotonic(), self.desk.told
        if self._adapter is None and now_s >= self._retry_s:
            self._start(now_s)
        if self._adapter is not None:
            self._look_at(self._adapter, now_s)
        if self._adapter is not None:
            state = self.desk.state()
            changed = self._shown is None or (state.ready, state.why) != (self._shown.ready, self._shown.why)
            if changed or now_s - self._beat_s >= self._heartbeat_s:
                self._shown, self._beat_s = state, now_s
                self._adapter.beat(state)
        for why in self.desk.untold():
            self._log.say(f"the line's controller: {why or 'it shows signs of life again'}")
        following = self.desk.expire()
        due_s = min(now_s + _LOOK_S, self._beat_s + self._heartbeat_s if self._adapter else self._retry_s)
        due_s = due_s if following is None else min(due_s, following)
        with self.desk.news:
            self.desk.news.wait_for(lambda: self.desk.told != told, max(0.001, due_s - self._clock.monotonic()))

    def _look_at(self, adapter: LineAdapter, now_s: float) -> None:
        self.trouble = adapter.trouble()
        if not self.trouble:
            self._well_s = now_s
            return
        self._log.fault("plc", f"the line's controller: {self.trouble}")
        if now_s - self._well_s >= self._wait_s * _RETRIES_LEFT_TO_IT:
            self._let_go()

    def _start(self, now_s: float) -> None:
        adapter = self._open_adapter(self.desk)
        self.desk.show = adapter.show  # before anybody can ask through it
        try:
            adapter.start()
        except PlumblineError as error:
            self.desk.show = self.desk.unshown
            self.trouble = error.one_line()
            self._retry_s = now_s + self._wait_s
            self._log.fault("plc", f"the line's controller: {self.trouble}")
            with suppress(Exception):
                adapter.stop()
            return
        self._adapter, self._shown, self.trouble, self._well_s = adapter, None, "", now_s
        self.desk.away("")

    def _let_go(self) -> None:
        adapter, self._adapter = self._adapter, None
        self.desk.show = self.desk.unshown
        self.desk.forsake()
        self._retry_s = self._clock.monotonic() + self._wait_s
        if adapter is not None:
            with suppress(Exception):
                adapter.stop()
