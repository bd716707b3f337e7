"""A station's desk with its Modbus side, in threads as in a station; the test plays camera and model."""

from __future__ import annotations

import threading

from agent.line_io.desk import Desk, DeskRules
from agent.line_io.modbus import ModbusLine
from agent.line_io.plc_loop import PlcLoop
from agent.ports.recorder import Result
from tests.fakes.running_clock import RunningClock

CLOCK = RunningClock()


class QuietLog:
    def __init__(self) -> None:
        self.faults: list[str] = []
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def fault(self, key: str, text: str) -> None:
        self.faults.append(text)


class Line:
    """A station's desk with its Modbus side, in threads as in a station; the test plays camera and model.

    Three missed heartbeats withdraw a verdict, from either side: by a clock that stands still while this process is not run.
    """

    def __init__(self, *, timeout_s: float = 60.0, waiting: int = 4, heartbeat_s: float = 2.0, unit: int = 1) -> None:
        self.why = ""
        self.log, self.clock = QuietLog(), CLOCK
        self.desk = Desk(DeskRules(timeout_s=timeout_s, waiting=waiting), self.clock, lambda: self.why)
        self.adapters: list[ModbusLine] = []
        self.port, self.unit, self.heartbeat_s = 0, unit, heartbeat_s
        self.loop = PlcLoop(self.desk, self._open, self.clock, self.log, heartbeat_s=heartbeat_s)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop.run, args=(self.stop,), daemon=True)
        self.thread.start()
        while self.loop._adapter is None:
            assert self.thread.is_alive() and not self.loop.trouble, self.loop.trouble
        self.port = self.adapters[-1].port

    def _open(self, desk: object) -> ModbusLine:
        made = ModbusLine(
            self.desk,
            self.log,
            self.clock,
            host="127.0.0.1",
            port=self.port,
            unit=self.unit,
            heartbeat_s=self.heartbeat_s,
        )
        self.adapters.append(made)
        return made

    def judge(self, verdict: str = "PASS", cause: str = "", label: str = "good", confidence: float = 0.9) -> None:
        """Give the oldest trigger its frame and that frame its verdict."""
        self.answer(self.desk.take(self.clock.monotonic(), in_order=True), verdict, cause, label, confidence)

    def answer(
        self,
        taken: tuple[int, str] | None,
        verdict: str,
        cause: str = "",
        label: str = "good",
        confidence: float = 0.9,
    ) -> None:
        """Give a frame that was taken its verdict."""
        assert taken is not None
        number, part = taken
        self.desk.came_out(
            Result(1, 10.0, part, verdict, cause, label, confidence, 5.0, "d", asked=number), recorded=True
        )

    def unasked(self, verdict: str, part: str) -> None:
        """Give a frame that nobody asked for its verdict."""
        self.answer((0, part), verdict)

    def close(self) -> None:
        self.stop.set()
        self.thread.join(60.0)
        assert not self.thread.is_alive()
