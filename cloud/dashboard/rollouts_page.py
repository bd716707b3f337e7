"""The page of all rollouts: the one under way on top, followed live, and those before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from nicegui import run, ui
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cloud.api.auth import Scope
from cloud.api.rollout_acts import RolloutActs
from cloud.dashboard.parts import Cell, Column, Kind, Page, act, ago, card, empty, link, live, paged_table
from cloud.dashboard.rollout_buttons import Doing, SteerButtons, tell
from cloud.dashboard.rollout_card import RolloutCard
from cloud.dashboard.rollout_dialogs import NewRollout, ask_version
from cloud.dashboard.rollouts_view import PastRollout, RolloutsView, rollouts_view
from cloud.dashboard.shell import Shell
from cloud.dashboard.visit import Visit
from cloud.ports.rollouts import ApprovalBook
from cloud.store.rollout_reading import RolloutReading

REFRESH_S = 1.0
DAY_S = 86_400.0

_COLUMNS = (
    Column("rollout", "Rollout", Kind.LINK),
    Column("version", "Version"),
    Column("kind", "Kind"),
    Column("state", "State", Kind.BADGE),
    Column("stations", "Stations"),
    Column("began", "Started"),
    Column("why", "Why"),
)
_START = "A canary takes it first, then wave after wave, each only on the evidence of the one before. It stops itself."
_BACK = "Every station is ordered this version at once, without a canary: what it leaves is known to be worse."
_SIDE = "A share of the fleet gets the version, the others keep what they run, until somebody keeps one of the two."


@dataclass(frozen=True, slots=True)
class RolloutDesk:
    """What the rollout pages work with. `versions` returns those that can be chosen, newest first, each with where it stands."""

    reading: RolloutReading
    approvals: ApprovalBook
    acts: RolloutActs
    versions: Callable[[], Sequence[tuple[str, str]]]
    now: Callable[[], float]


def install_rollouts_page(shell: Shell, desk: RolloutDesk) -> None:
    """Add /rollouts."""

    @ui.page("/rollouts")
    async def page(request: Request) -> Response | None:
        if (wanted := request.query_params.get("rollout", "")).isascii() and wanted.isdigit():
            return RedirectResponse(f"/rollouts/{wanted}")
        if (entered := shell.enter(request, "Rollouts", "/rollouts", Scope.READ)) is None:
            return None
        visit, column = entered
        with column:
            _Rollouts(visit, desk)
        return None


class _Rollouts:
    def __init__(self, visit: Visit, desk: RolloutDesk) -> None:
        self._visit, self._desk = visit, desk
        self._before: int | None = None
        self._newer: list[int | None] = []
        self._last: int | None = None
        self._live = live(visit, self._read, self._show, REFRESH_S, what="The rollouts")
        self._doing = Doing(visit, desk.acts, self._live.refresh)
        with ui.row().classes("gap-2 rollout-starts"):
            self._starts = [
                act("Start a rollout", self._press(self._start)),
                act("Roll back", self._press(self._roll_back), danger=True),
                act("Compare two (A/B)", self._press(self._side_by_side), quiet=True),
            ]
        for button in self._starts:
            button.set_visibility(False)
        with card() as self._frame:
            self._card = RolloutCard()
            self._steer = SteerButtons(self._doing)
            self._link = link("Its stations and timeline", "/rollouts")
        self._frame.classes("rollout-now").set_visibility(False)
        self._none = empty(
            "No rollout is under way.", "One is started here, or with: plumbline-cloud rollout start --version V"
        )
        self._table = paged_table(
            "rollouts", _COLUMNS, title="Rollouts, newest first", nothing="No rollout so far.", page_rows=1_000
        )
        with ui.row().classes("items-center gap-2"):
            self._back = act("Newer", self._go_newer, quiet=True)
            self._on = act("Older", self._go_older, quiet=True)

    def _read(self) -> tuple[int | None, RolloutsView, float]:
        before = self._before
        return before, rollouts_view(self._desk.reading, self._desk.approvals, before), self._desk.now()

    def _show(self, found: tuple[int | None, RolloutsView, float]) -> None:
        before, view, now = found
        current = view.current
        self._frame.set_visibility(current is not None)
        self._none.set_visibility(current is None)
        may_start = current is None and self._visit.may(Scope.RELEASE)
        for button in self._starts:
            button.set_visibility(may_start)
        self._steer.show(current)
        if current is not None:
            self._card.show(current, now)
            self._link.props(f"href=/rollouts/{current.id}")
        if before == self._before:
            self._last = view.past[-1].id if view.past and view.more else None
            rows = [_row(each, now) for each in view.past]
            self._table.show(Page(rows, len(rows)))
        self._back.set_visibility(bool(self._newer))
        self._on.set_visibility(self._last is not None)

    async def _go_older(self) -> None:
        if self._last is not None:
            self._newer.append(self._before)
            self._before, self._last = self._last, None
            await self._live.refresh()

    async def _go_newer(self) -> None:
        if self._newer:
            self._before = self._newer.pop()
            await self._live.refresh()

    def _press(self, ask: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def press() -> None:
            if self._doing.busy:
                return
            self._doing.busy = True
            try:
                await ask()
            finally:
                self._doing.busy = False

        return press

    async def _start(self) -> None:
        if (new := await self._ask("Start a rollout", "Start", _START)) is not None:
            acts = self._desk.acts
            started = f"The rollout of {new.version} has started."
            await self._doing.do(Scope.RELEASE, lambda who: acts.start(new.version, who, new.reason, {}), started)

    async def _roll_back(self) -> None:
        if (new := await self._ask("Roll back", "Roll back", _BACK, danger=True)) is not None:
            acts = self._desk.acts
            started = f"The fleet goes back to {new.version}."
            await self._doing.do(Scope.RELEASE, lambda who: acts.roll_back(new.version, who, new.reason), started)

    async def _side_by_side(self) -> None:
        if (new := await self._ask("Compare two (A/B)", "Start", _SIDE, side_by_side=True)) is not None:
            acts, until = self._desk.acts, self._desk.now() + new.days * DAY_S
            started = f"{new.version} is held beside what runs."
            await self._doing.do(
                Scope.RELEASE, lambda who: acts.start_ab(new.version, who, new.reason, new.share, until), started
            )

    async def _ask(
        self, title: str, button: str, explain: str, *, danger: bool = False, side_by_side: bool = False
    ) -> NewRollout | None:
        versions = await run.io_bound(self._desk.versions)
        if versions is None:  # the server shuts down
            return None
        if not versions:
            tell("There is no version to choose: release one with plumbline-cloud release RUN --version V.", bad=True)
            return None
        return await ask_version(title, button, explain, versions, danger=danger, side_by_side=side_by_side)


def _row(past: PastRollout, now: float) -> dict[str, Cell]:
    return {
        "rollout": (f"{past.id}", f"/rollouts/{past.id}"),
        "version": past.version,
        "kind": past.kind,
        "state": (past.state.value, past.tone.value),
        "stations": past.outcome,
        "began": f"{ago(now, past.began_at)} by {past.author or 'an older version'}",
        "why": past.why,
    }
