"""The buttons by which people steer a rollout: each asks first, and asks again who may when it is pressed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import run, ui

from cloud.api.auth import SCOPES, Role, Scope
from cloud.api.rollout_acts import RolloutActs
from cloud.dashboard.parts import act, ask_reason, said
from cloud.dashboard.rollout_dialogs import ask_keep, ask_yes
from cloud.dashboard.rollouts_view import Act, RolloutView
from cloud.dashboard.visit import Visit

NEEDS = {
    Act.APPROVE: Scope.RELEASE,
    Act.REJECT: Scope.RELEASE,
    Act.PAUSE: Scope.HALT,
    Act.RESUME: Scope.RELEASE,
    Act.CONCLUDE: Scope.RELEASE,
    Act.ABORT: Scope.HALT,
}
_EXPLAINED = {
    Act.APPROVE: "It begins once enough people other than who started it have approved.",
    Act.REJECT: "It does not begin while somebody says no.",
    Act.PAUSE: "No further station is ordered until somebody resumes it. Too many failures still abort it.",
    Act.RESUME: "The next stations are ordered.",
    Act.ABORT: "Dispatch stops at once, then every station that was ordered is ordered back to what it ran before.",
}
_DONE = {
    Act.APPROVE: "Approved.",
    Act.REJECT: "Said no.",
    Act.PAUSE: "Paused.",
    Act.RESUME: "Resumed.",
    Act.CONCLUDE: "Concluded.",
    Act.ABORT: "Aborting: its stations are ordered back.",
}


class Doing:
    """Carries out what was confirmed: once at a time, only while the person may, and says how it went."""

    def __init__(self, visit: Visit, acts: RolloutActs, after: Callable[[], Awaitable[None]]) -> None:
        self.visit, self.acts, self._after = visit, acts, after
        self.busy = False

    async def do(self, scope: Scope, call: Callable[[str], object], done: str) -> None:
        """Call `call` in a thread with the name of who is looking, where they may do `scope` right now."""
        person = self.visit.person
        if person is None or not person.may(scope):
            enough = ", ".join(role.value for role in Role if scope in SCOPES[role])
            tell(f"Nothing was done: to {scope.value}, sign in as one of: {enough}.", bad=True)
            return
        try:
            await run.io_bound(call, person.name)
        except Exception as error:  # noqa: BLE001 - told to who asked for it
            tell(f"Nothing was done: {said(error)}", bad=True)
        else:
            tell(done)
        await self._after()


class SteerButtons:
    """Of the rollout last shown, the buttons that its state has and the person may press."""

    def __init__(self, doing: Doing) -> None:
        self._doing, self._view = doing, None
        with ui.row().classes("gap-2 rollout-acts"):
            self._buttons = {
                each: act(each.value, self._press(each), danger=each is Act.ABORT, quiet=each is Act.REJECT)
                for each in Act
            }
        for button in self._buttons.values():
            button.set_visibility(False)

    _view: RolloutView | None

    def show(self, view: RolloutView | None) -> None:
        """Offer what can be done to `view`."""
        self._view = view
        for each, button in self._buttons.items():
            button.set_visibility(view is not None and each in view.acts and self._doing.visit.may(NEEDS[each]))

    def _press(self, which: Act) -> Callable[[], Awaitable[None]]:
        async def press() -> None:
            # What the person sees now is what they decide on, whatever the page shows by the time they confirm.
            view, doing = self._view, self._doing
            if view is None or doing.busy:
                return
            doing.busy = True
            try:
                await self._ask_and_do(which, view)
            finally:
                doing.busy = False

        return press

    async def _ask_and_do(self, which: Act, view: RolloutView) -> None:
        doing = self._doing
        acts, rollout, seen = doing.acts, view.id, view.state
        title = f"{which.value}: {view.title}"
        if which is Act.CONCLUDE:
            chosen = await ask_keep(title)
            if chosen is not None:
                keep, why = chosen
                await doing.do(NEEDS[which], lambda who: acts.conclude_ab(rollout, who, keep, why, seen), _DONE[which])
            return
        if which is Act.RESUME:
            if await ask_yes(title, which.value, _EXPLAINED[which]):
                await doing.do(NEEDS[which], lambda who: acts.resume(rollout, who, seen), _DONE[which])
            return
        reason = await ask_reason(title, which.value, explain=_EXPLAINED[which], danger=which is Act.ABORT)
        if reason is None:
            return
        call = {Act.APPROVE: acts.approve, Act.REJECT: acts.reject, Act.PAUSE: acts.pause, Act.ABORT: acts.abort}[which]
        await doing.do(NEEDS[which], lambda who: call(rollout, who, reason, seen), _DONE[which])


def tell(text: str, *, bad: bool = False) -> None:
    """Say how it went: over the page, and read out."""
    # The colours of Quasar's own kinds of message are too faint to be read on (WCAG AA).
    colour, stays_ms = ("red-10", 10_000) if bad else ("green-10", 4_000)
    ui.notify(text, color=colour, timeout=stays_ms, close_button="Close")
