"""Whether the thresholds' guarantee holds, or is void because what the camera sees has drifted (DESIGN 3).

The guarantee was shown on images like those at enrolment. While a drift alarm is open it says nothing, so nothing passes by
itself: each would-be PASS is REVIEW (`drifted`) and the cloud is asked where it may be, but not about a frame unlike anything
enrolled. Every summary says so.
"""

from __future__ import annotations

from agent.decide.causes import Cause
from agent.decide.escalation import without_guarantee
from agent.decide.thresholds import Decision
from agent.ports.log import Log
from agent.ports.memory import Memory

_NAME = "drift_alarm"


class Guarantee:
    """`notice_drift` is the chore thread's, the rest the frame loop's; one reference is swapped, so no lock is needed."""

    def __init__(self, memory: Memory, log: Log, *, ask: bool, camera: str = "") -> None:
        """`ask`: whether a frame the model was sure of may be shown to the cloud (P8)."""
        self._name = f"{_NAME}:{camera}" if camera else _NAME
        self._ask = ask
        self._memory = memory
        self._log = log
        # A restart does not mend a lens.
        self._void_because = memory.get(self._name) or ""

    @property
    def is_void(self) -> bool:
        """Whether a drift alarm is open."""
        return bool(self._void_because)

    @property
    def note(self) -> str:
        """What a summary says of it; "" while it holds."""
        return f"guarantee void: {self._void_because}" if self._void_because else ""

    def notice_drift(self, alarmed: bool, why: str) -> None:
        """Take note that a drift alarm is open (`why`, for a person) or that none is any more; outlives a restart.

        Raises:
            TransientError: the disk refused; nothing changed.
        """
        because = (why[:200] or "drift alarm") if alarmed else ""
        if because == self._void_because:
            return
        self._memory.put(self._name, because)
        was_void, self._void_because = bool(self._void_because), because
        if because and not was_void:
            self._log.say(f"the thresholds' guarantee is void, nothing passes by itself: {because}")
        elif not because:
            self._log.say("the drift alarm is closed: the thresholds' guarantee holds again")

    def apply(self, decision: Decision) -> Decision:
        """Return the decision as it may be given now."""
        return without_guarantee(decision, ask=self._ask) if self._void_because else decision

    def void(self, decision: Decision, why: Cause) -> Decision:
        """Return the decision of a model that the guarantee is not about, whatever the images."""
        return without_guarantee(decision, ask=self._ask, why=why)
