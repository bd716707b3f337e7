"""The line's controller (PLC): it says that a part is there, and takes the verdict.

A trigger carries the controller's own `ask` (a number or a word by which it knows its answer again) and a part id. It gets
exactly one answer: the verdict of the first frame captured after it, or a failure when there is none in time. Whoever carries
answers to the controller shows PASS only for an answer that says PASS and belongs to the ask in hand; everything else, silence
and a lost connection too, must leave the part held or ejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Refused(str, Enum):
    """Why a trigger is not taken; the part it was for has no verdict, and the controller is told at once.

    NOT_READY: the station has no model, no camera or no disk, or is stopping. FULL: too many triggers wait already. AGAIN: this
    ask waits already (a controller that repeats itself gets one answer).
    """

    NOT_READY = "not_ready"
    FULL = "full"
    AGAIN = "again"


class Lost(str, Enum):
    """Why a trigger that was taken has no verdict.

    TIMEOUT: none came in time (no frame, or the next part was there first). FAULT: the camera could not capture it. STOPPED: the
    station stops. GONE: the controller that asked is away, and nobody would take the answer.
    """

    TIMEOUT = "timeout"
    FAULT = "fault"
    STOPPED = "stopped"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the line is told of one part.

    `ask` is None for a frame that nobody triggered. `verdict` is "PASS", "REJECT" or "REVIEW", after `[plc] review_as`;
    `cause` says why it is REVIEW, or why there is no verdict (`lost`, and the verdict is then the fail-safe one: "REJECT").
    `latency_ms` is from the trigger (else from the capture) until now; `captured_at` Unix seconds, 0 where nothing was captured.
    """

    ask: int | str | None
    part: str
    verdict: str
    cause: str = ""
    label: str = ""
    confidence: float = 0.0
    latency_ms: float = 0.0
    captured_at: float = 0.0
    lost: Lost | None = None


@dataclass(frozen=True, slots=True)
class LineState:
    """What the station shows of itself. `why` says what is missing when it is not `ready`; `waiting` counts open triggers."""

    ready: bool
    why: str
    waiting: int


@dataclass(frozen=True, slots=True)
class LineCounts:
    """Since the start: triggers = refused + answered + lost + waiting. Of `lost` and `refused` by cause.

    `late` verdicts came after their trigger was answered as lost; they are recorded, and the line never sees them. `unasked`
    frames had no trigger. `unshown` answers no controller took.
    """

    triggers: int
    answered: int
    refused: dict[str, int]
    lost: dict[str, int]
    waiting: int
    late: int
    unasked: int
    unshown: int


class LineDesk(Protocol):
    """Where adapters leave triggers. Any thread; nothing here blocks."""

    def trigger(self, ask: int | str, part: str, *, valid_s: float | None = None) -> Refused | None:
        """Take a trigger; None: it will get its answer, within the timeout (`valid_s` may shorten that).

        An ask that was answered before may be used again: controllers count modulo something.
        """

    def withdraw(self, ask: int | str) -> bool:
        """Give up a trigger whose controller is away: it is counted as lost (GONE) and answered no more."""

    def unshown(self, answer: Answer) -> None:
        """Note that `answer` reached no controller."""

    def away(self, why: str) -> None:
        """Note that the controller itself shows no sign of life, in words; "" that it does again. Nothing is wrong here then."""

    def state(self) -> LineState:
        """Return what to show the controller."""

    def counts(self) -> LineCounts:
        """Return what came of every trigger so far."""


class LineAdapter(Protocol):
    """One protocol. It has threads of its own; `show` may be called from any."""

    def start(self) -> None:
        """Listen, or connect.

        Raises:
            InvalidConfig: the address or a certificate cannot be used.
            TransientError: not now (the port is taken, a broker is away): may be tried again.
        """

    def show(self, answer: Answer) -> None:
        """Give `answer` to the controller; returns at once and never raises: what cannot be given goes to `desk.unshown`."""

    def beat(self, state: LineState) -> None:
        """Show that the station lives, and how it is; called every `heartbeat_s` and on every change; never blocks or raises."""

    def trouble(self) -> str:
        """Return what is wrong with it in a few words, "" if nothing (a dead server, a lost broker); what lasts is opened anew."""

    def stop(self) -> None:
        """Show that the station is not ready, then let go of the network; waits at most two seconds."""


OpenAdapter = Callable[[LineDesk], LineAdapter]
