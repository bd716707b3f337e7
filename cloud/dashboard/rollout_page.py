"""The page of one rollout: its waves, each of its stations, what happened to it, and of an A/B rollout the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from nicegui import run, ui
from starlette.requests import Request

from cloud.api.auth import Scope
from cloud.dashboard.ab_words import arm_words, difference_words
from cloud.dashboard.charts import axis
from cloud.dashboard.parts import (
    Cell,
    Column,
    Kind,
    Page,
    PageRequest,
    Palette,
    ago,
    card,
    chart,
    empty,
    link,
    live,
    paged_table,
    words,
)
from cloud.dashboard.rollout_buttons import Doing, SteerButtons
from cloud.dashboard.rollout_card import RolloutCard
from cloud.dashboard.rollouts_page import RolloutDesk
from cloud.dashboard.rollouts_view import STATE_WORDS, RolloutView, rollout_view, why_in_words
from cloud.dashboard.shell import Shell
from cloud.dashboard.time_words import exact
from cloud.dashboard.visit import Visit
from cloud.ports.rollouts import Rollout
from cloud.rollout.ab_report import AbReport
from cloud.rollout.evidence import read_evidence
from cloud.rollout.plan import read_plan
from cloud.rollout.rollout_states import MemberState
from cloud.store.rollout_reading import Said, SeenMember, Wanted
from contract.errors import NotFound

REFRESH_S = 2.0

_STATIONS = (
    Column("station", "Station", Kind.LINK, sortable=True),
    Column("wave", "Wave", sortable=True),
    Column("state", "State", Kind.BADGE, sortable=True),
    Column("link", "Link"),
    Column("ordered", "Ordered", sortable=True),
    Column("why", "Why"),
)
_ACTS = (
    Column("when", "When"),
    Column("exact", "Exactly"),
    Column("who", "Who"),
    Column("act", "Act"),
    Column("detail", "Detail"),
)


def install_rollout_page(shell: Shell, desk: RolloutDesk) -> None:
    """Add /rollouts/{id}."""

    @ui.page("/rollouts/{rollout}")
    async def page(request: Request, rollout: int) -> None:
        if (entered := shell.enter(request, f"Rollout {rollout}", "/rollouts", Scope.READ)) is None:
            return
        visit, column = entered
        with column:
            link("All rollouts", "/rollouts")
            try:
                found = await run.io_bound(desk.reading.one, rollout) if 0 < rollout < 2**31 else None
            except NotFound:
                found = None
            if found is None:
                empty(f"There is no rollout {rollout}.", "Choose one of the list of all rollouts.")
                return
            _Rollout(visit, desk, found)


@dataclass(frozen=True, slots=True)
class _Found:
    view: RolloutView
    report: AbReport | None
    asked: tuple[Wanted, PageRequest]
    stations: Page
    said: Sequence[Said]
    now: float


class _Rollout:
    """What is on the page. Its stations are read a page at a time, however many there are."""

    def __init__(self, visit: Visit, desk: RolloutDesk, rollout: Rollout) -> None:
        self._desk, self._id = desk, rollout.id
        self._wanted = Wanted()
        self._live = live(visit, self._read, self._show, REFRESH_S, what="The rollout")
        with card().classes("rollout-now"):
            self._card = RolloutCard()
            self._steer = SteerButtons(Doing(visit, desk.acts, self._live.refresh))
        self._report = _Report() if rollout.kind == "ab" else None
        with card("Stations"):
            with ui.row().classes("items-end gap-4"):
                states = {"": "any state", **{state.value: said for state, (said, _) in STATE_WORDS.items()}}
                self._state = ui.select(states, label="State", value="").props("outlined dense").classes("w-48")
                names = read_plan(rollout.plan).waves
                waves = {
                    -1: "any wave",
                    **{n: name for n, name in enumerate(names) if not (n == 0 and name == "shadow")},
                }
                self._wave = ui.select(waves, label="Wave", value=-1).props("outlined dense").classes("w-48")
                self._text = ui.input("Name holds").props('outlined dense debounce="300" maxlength="63"')
                for field in (self._state, self._wave, self._text):
                    field.on_value_change(self._filter)
            self._stations = paged_table(
                "stations",
                _STATIONS,
                title="Stations of the rollout",
                nothing="No station matches. Take a filter away to see more.",
                read=lambda asked: self._page(self._wanted, asked),
            )
        with card("What happened"):
            self._acts = paged_table(
                "timeline", _ACTS, title="Timeline, newest first", nothing="Nothing yet.", page_rows=1_000
            )

    def _read(self) -> _Found:
        desk, asked = self._desk, (self._wanted, self._stations.asked)
        rollout = desk.reading.one(self._id)
        return _Found(
            view=rollout_view(desk.reading, desk.approvals, rollout),
            report=read_evidence(rollout.evidence).ab,
            asked=asked,
            stations=self._page(*asked),
            said=desk.reading.timeline(self._id),
            now=desk.now(),
        )

    def _page(self, wanted: Wanted, asked: PageRequest) -> Page:
        if asked.sort:
            wanted = replace(wanted, sort=asked.sort, descending=asked.descending)
        found, total = self._desk.reading.stations(self._id, wanted, asked.start, asked.limit)
        names = read_plan(self._desk.reading.one(self._id).plan).waves
        return Page([_station(each, names, self._desk.now()) for each in found], total)

    def _show(self, found: _Found) -> None:
        self._card.show(found.view, found.now)
        self._steer.show(found.view)
        if found.asked == (self._wanted, self._stations.asked):
            self._stations.show(found.stations)
        rows = [
            {"when": ago(found.now, e.at), "exact": exact(e.at), "who": e.actor, "act": e.act, "detail": e.detail}
            for e in found.said
        ]
        self._acts.show(Page(rows, len(rows)))
        if self._report is not None:
            self._report.show(found.report)

    async def _filter(self) -> None:
        states = (MemberState(self._state.value),) if self._state.value else ()
        wave = self._wave.value if self._wave.value is not None and self._wave.value >= 0 else None
        text = "".join(letter for letter in str(self._text.value or "") if letter.isprintable())
        self._wanted = Wanted(states, wave, text)
        await self._stations.first()


class _Report:
    """The report of an A/B rollout: what each arm decided, as bars, and by how much they differ, in words."""

    def __init__(self) -> None:
        with card("The two side by side"):
            self._waits = words("There is no report yet: both arms must have run for a while.", muted=True)
            self._chart = chart("Share of each verdict, by arm")
            self._lines = (
                ui.column().classes("w-full gap-1 ab-differences").props('role="list" aria-label="Differences"')
            )
        self._chart.set_visibility(False)
        self._shown: AbReport | None = None

    def show(self, report: AbReport | None) -> None:
        """Show the report."""
        if report is None or report == self._shown:
            return
        self._shown = report
        self._waits.set_visibility(False)
        self._chart.set_visibility(True)
        self._chart.show(lambda colours: _bars(report, colours), ". ".join(arm_words(arm) for arm in report.arms))
        self._lines.clear()
        with self._lines:
            for each in report.differences:
                words(difference_words(each, report.confidence)).props('role="listitem"')


def _bars(report: AbReport, colours: Palette) -> dict[str, Any]:
    verdicts = sorted({name for arm in report.arms for name in arm.mix})
    return {
        "xAxis": axis(colours, type="category", data=verdicts),
        "yAxis": axis(colours, type="value", min=0, max=100, name="% of frames"),
        "series": [
            {
                "type": "bar",
                "name": f"{arm.arm}: {arm.version}",
                "data": [round(100.0 * arm.mix.get(name, 0.0), 2) for name in verdicts],
            }
            for arm in report.arms
        ],
    }


def _station(seen: SeenMember, waves: Sequence[str], now: float) -> dict[str, Cell]:
    member = seen.member
    said, tone = STATE_WORDS[member.state]
    return {
        "station": (member.station, f"/station/{quote(member.station, safe='')}"),
        "wave": (waves[member.wave] if member.wave < len(waves) else f"wave {member.wave}") + _arm(member.arm),
        "state": (said, tone.value),
        "link": "online" if seen.online else "by HTTP" if seen.by_http else "offline",
        "ordered": "" if member.ordered_at is None else ago(now, member.ordered_at),
        "why": why_in_words(seen),
    }


def _arm(arm: str) -> str:
    return f" (arm {arm})" if arm else ""
