"""What people do to rollouts, over HTTP and on the pages: one way for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from cloud.ports.rollouts import Rollout
from cloud.rollout.plan import RolloutPlan
from cloud.rollout.rollout_states import RolloutState
from contract.errors import RefusedError

AB_S = 7 * 86_400.0
"""How long an A/B rollout lasts where nobody says until when."""


class RolloutControl(Protocol):
    """Carries rollouts out (`cloud.rollout_loop`)."""

    def plan(self) -> RolloutPlan:
        """Return the plan of a rollout of which nobody asks anything else."""

    def start(
        self, version: str, changed: tuple[str, ...], actor: str, *, plan: RolloutPlan | None = None, reason: str = ""
    ) -> int:
        """Start a rollout of a released version, or of what an alias means, and return its id."""

    def roll_back(self, version: str, actor: str, reason: str) -> int:
        """Order an older version for everybody at once and return the rollout's id."""

    def start_ab(self, version: str, share: float, actor: str, *, until: float, reason: str = "") -> int:
        """Hold two bundles side by side and return the rollout's id."""

    def conclude_ab(self, rollout: int, keep: str, actor: str, reason: str) -> None:
        """End an A/B rollout."""

    def approve(self, rollout: int, person: str, approved: bool, note: str = "") -> None:
        """Record what a person says to a rollout that waits for approvals."""

    def pause(self, rollout: int, actor: str, reason: str) -> None:
        """Order nobody any more until somebody resumes it."""

    def resume(self, rollout: int, actor: str) -> None:
        """Go on with a rollout that was paused."""

    def abort(self, rollout: int, actor: str, reason: str) -> None:
        """Stop a rollout and bring its stations back."""


class RolloutActs:
    """Does what somebody who was let in asks for.

    `seen` is the state that they saw when they decided: nothing is done where it is another one by now. Whatever two people do in
    the very same moment the database decides: it takes no step that the newer state has not.
    """

    def __init__(self, control: RolloutControl, one: Callable[[int], Rollout], now: Callable[[], float]) -> None:
        """`one` returns a rollout as it is now, or raises NotFound."""
        self._control, self._one, self._now = control, one, now

    def start(self, version: str, actor: str, reason: str, asked: Mapping[str, Any]) -> int:
        """Start a rollout; `asked` are the fields of its plan that differ from cloud.toml. Return its number."""
        plan = msgspec.structs.replace(self._control.plan(), **asked) if asked else None
        return self._control.start(version, (), actor, plan=plan, reason=reason)

    def roll_back(self, version: str, actor: str, reason: str) -> int:
        """Bring everybody to an earlier version; return the rollout's number."""
        return self._control.roll_back(version, actor, reason)

    def start_ab(self, version: str, actor: str, reason: str, share: float, until: float) -> int:
        """Hold two versions side by side until then, Unix seconds (0: for `AB_S`); return the rollout's number."""
        return self._control.start_ab(version, share, actor, until=until or self._now() + AB_S, reason=reason)

    def conclude_ab(self, rollout: int, actor: str, keep: str, reason: str, seen: RolloutState | None) -> None:
        """End an A/B rollout: everybody gets "a", the former version, or "b", the new one."""
        self._check(rollout, seen)
        self._control.conclude_ab(rollout, keep, actor, reason)

    def approve(self, rollout: int, actor: str, note: str, seen: RolloutState | None) -> None:
        """Say yes to a rollout that waits for approvals."""
        self._check(rollout, seen)
        self._control.approve(rollout, actor, True, note)

    def reject(self, rollout: int, actor: str, reason: str, seen: RolloutState | None) -> None:
        """Say no to it."""
        self._check(rollout, seen)
        self._control.approve(rollout, actor, False, reason)

    def pause(self, rollout: int, actor: str, reason: str, seen: RolloutState | None) -> None:
        """Let no further station be ordered."""
        self._check(rollout, seen)
        self._control.pause(rollout, actor, reason)

    def resume(self, rollout: int, actor: str, seen: RolloutState | None) -> None:
        """Go on."""
        self._check(rollout, seen)
        self._control.resume(rollout, actor)

    def abort(self, rollout: int, actor: str, reason: str, seen: RolloutState | None) -> None:
        """Stop it and bring its stations back."""
        self._check(rollout, seen)
        self._control.abort(rollout, actor, reason)

    def _check(self, rollout: int, seen: RolloutState | None) -> None:
        found = self._one(rollout)
        if seen is not None and found.state is not seen:
            raise RefusedError(
                f"rollout {rollout} is {found.state.value} by now, and was {seen.value} when you decided",
                hint="look at it again",
            )
