"""The drift page: what is wrong with what cameras see, since when, what is being done, and the evidence over time."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from typing import Any
from urllib.parse import quote

from nicegui import run, ui
from starlette.requests import Request

from cloud.api.auth import Scope
from cloud.dashboard.drift_chart import evidence_chart
from cloud.dashboard.drift_view import (
    LISTED,
    AlarmView,
    DriftBooks,
    DriftView,
    RetrainView,
    SeriesView,
    chart_words,
    drift_view,
    matching,
    series_view,
)
from cloud.dashboard.parts import (
    Cell,
    Column,
    Kind,
    Page,
    Tone,
    act,
    ago,
    ask_reason,
    badge,
    card,
    chart,
    count,
    empty,
    heading,
    link,
    live,
    paged_table,
    words,
)
from cloud.dashboard.shell import Shell, Visit
from cloud.drift.causes import cause_in_words
from cloud.ports.alarms import Alarm
from contract.errors import PlumblineError

_READ_S = 3.0
_ENDED = "Your session has ended, or you may not do this: sign in again. Nothing was done."


def install_drift(shell: Shell, books: DriftBooks) -> None:
    """Add the page "/drift". Call it before `ui.run_with`."""

    @ui.page("/drift")
    def page(request: Request, series: str = "") -> None:
        if (entered := shell.enter(request, "Drift", "/drift", Scope.READ)) is None:
            return
        visit, column = entered
        with column:
            _DriftScreen(visit, books, series[:200])


class _DriftScreen:
    def __init__(self, visit: Visit, books: DriftBooks, series: str) -> None:
        self._visit, self._books, self._series = visit, books, series
        self._drawn: tuple[Any, ...] | None = None
        self._notice = ui.label().classes("pl-banner pl-info drift-notice").props('role="status"')
        self._notice.set_visibility(False)
        self._headline = words("").classes("drift-headline")
        self._alarms = ui.column().classes("w-full gap-3 drift-alarms")
        with card("Evidence of one camera"):
            with ui.row().classes("items-end gap-2"):
                self._search = ui.input("Find a station or camera", value=series).props("outlined dense")
                self._search.on("keydown.enter", self._find)
                act("Find", self._find, quiet=True)
            self._found = ui.row().classes("gap-2 drift-found")
            self._one = ui.column().classes("w-full gap-2 drift-one")
            with self._one:
                self._title = heading("", 3)
                self._said = words("").classes("drift-sentence")
                self._evidence = words("", muted=True).classes("drift-evidence")
                self._chart = chart("Evidence of a change over time, by the station's clock", height="18rem")
                self._accuracy = words("").classes("drift-accuracy")
                self._re_enrol = act("Learn this camera anew …", self._ask_re_enrol, quiet=True)
        with card("Being learnt"):
            self._enrolling = words("").classes("drift-enrolling")
            columns = (Column("series", "Camera"), Column("how", "How far"))
            self._learning = paged_table(
                "enrolling", columns, title="Cameras being learnt", nothing="No camera is being learnt."
            )
        with card("Retrains"):
            self._retrains = paged_table(
                "retrains",
                (
                    Column("id", "#", Kind.LINK),
                    Column("series", "For"),
                    Column("state", "State"),
                    Column("began", "Began"),
                    Column("why", "Why"),
                    Column("version", "Version", Kind.LINK),
                    Column("figures", "Measured"),
                ),
                title="Retrains, newest first",
                nothing="No retrain so far: one is started once a drift alarm has labels enough.",
            )
        self._live = live(visit, self._read, self._show, _READ_S, what="The drift state")

    def _read(self) -> tuple[DriftView, str, SeriesView | None]:
        fleet = drift_view(self._books)
        # Who came for an alarm that many share sees one of them; for no camera in particular, the one that matters most.
        shared = next((a.members[0] for a in fleet.alarms if a.members and a.alarm.series == self._series), "")
        series = shared or self._series or next((m for a in fleet.alarms for m in a.members or (a.alarm.series,)), "")
        series = series or next(iter(fleet.alarmed), "")
        return fleet, series, series_view(self._books, series) if series else None

    def _show(self, found: tuple[DriftView, str, SeriesView | None]) -> None:
        fleet, asked, one = found
        newest = f" (the newest {LISTED} are shown)" if fleet.alarms_in_all > LISTED else ""
        self._headline.set_text(
            f"{count(fleet.alarms_in_all, 'alarm')} open{newest}; {count(fleet.alarmed_in_all, 'camera')} of {fleet.watched:,} "
            f"{'drifts' if fleet.alarmed_in_all == 1 else 'drift'}, {fleet.enrolling_in_all:,} being learnt."
        )
        drawn = (fleet.alarms, fleet.alarmed, bool(fleet.watched), self._may_tune())
        if drawn != self._drawn:
            self._drawn = drawn
            self._alarms.clear()
            with self._alarms:
                self._draw_alarms(fleet)
        more = fleet.enrolling_in_all - len(fleet.enrolling)
        self._enrolling.set_text(f"The first {LISTED} are listed; find others by name." if more > 0 else "")
        rows = [{"series": series, "how": how} for series, how in fleet.enrolling]
        self._learning.show(Page(rows, len(rows)))
        self._retrains.show(Page([_row(each, fleet.at) for each in fleet.retrains], len(fleet.retrains)))
        self._show_one(asked, one)

    def _draw_alarms(self, fleet: DriftView) -> None:
        if not fleet.watched:
            empty("No camera is watched yet.", "Each one is from the first window that its station sends.")
        elif not fleet.alarms:
            empty(
                "No alarm is open.", "A camera whose picture changes for good opens one, with its cause in a sentence."
            )
        for each in fleet.alarms:
            self._draw_alarm(each, fleet.at)
        own = {series for each in fleet.alarms for series in (each.alarm.series, *each.members)}
        others = [series for series in fleet.alarmed if series not in own]
        if others:
            with card("Also drifting", 3), ui.row().classes("gap-2"):
                for series in others:
                    link(series, f"/drift?series={quote(series, safe='')}")

    def _draw_alarm(self, each: AlarmView, now: float) -> None:
        alarm = each.alarm
        sharing = each.members_in_all
        title = f"{alarm.series}: {count(sharing, 'camera')} share a cause" if sharing else alarm.series
        with card(title, 3).classes("drift-alarm"):
            with ui.row().classes("gap-2 items-center"):
                badge(cause_in_words(alarm.cause), Tone.BAD)
                words(f"open since {_time(alarm.opened_at)} ({ago(now, alarm.opened_at)})", muted=True)
            words(alarm.sentence).classes("drift-cause font-bold")
            words(f"What is done: {each.doing}.").classes("drift-doing")
            with ui.row().classes("gap-2 items-center"):
                for series in each.members or (alarm.series,):
                    link(f"Evidence of {series}", f"/drift?series={quote(series, safe='')}")
                if sharing > len(each.members):
                    words(f"and {sharing - len(each.members):,} more", muted=True)
            if self._may_tune():
                with ui.row().classes("gap-2"):
                    act("Take it as the new normal …", partial(self._settle, alarm), quiet=True)
                    if each.may_retrain:
                        act("Start a retrain …", partial(self._retrain, alarm))

    def _show_one(self, asked: str, one: SeriesView | None) -> None:
        self._one.set_visibility(bool(asked))
        self._chart.set_visibility(one is not None)
        self._re_enrol.set_visibility(one is not None and self._may_tune())
        self._title.set_text(asked)
        if one is None:
            self._said.set_text(f"No camera of the name '{asked}' has sent a window: look for a part of its name.")
            self._evidence.set_text("")
            self._accuracy.set_text("")
            return
        self._shown = one
        shared = f" It is part of the alarm of {', '.join(one.shared_by)}." if one.shared_by else ""
        self._said.set_text(f"{one.sentence}.{shared}")
        self._evidence.set_text(f"What contributed: {'; '.join(one.evidence)}." if one.evidence else "")
        self._chart.show(
            partial(evidence_chart, points=one.points, threshold=one.threshold_log10),
            chart_words(one.points, one.threshold_log10),
        )
        self._accuracy.set_text("\n".join(filter(None, (one.audited, one.estimated, one.shares))))

    async def _find(self) -> None:
        text = str(self._search.value or "")[:200]
        found = await run.io_bound(matching, self._books, text)
        if found is None:
            return
        self._found.clear()
        with self._found:
            if not found:
                words(f"No camera's name holds '{text}'.")
            for series in found:
                link(series, f"/drift?series={quote(series, safe='')}")
        if text in found or len(found) == 1:
            self._series = text if text in found else found[0]
            await self._live.refresh()

    async def _settle(self, alarm: Alarm) -> None:
        explain = (
            "What its cameras see from now on is their normal; the alarm is closed. Right after service or a wanted change; "
            "wrong while something is broken, for then nobody is told of it any more."
        )
        why = await ask_reason(
            f"Take what {alarm.series} sees as its normal", "Learn anew", explain=explain, danger=True
        )
        if why is not None:
            await self._do(partial(self._settle_now, alarm, why), f"{alarm.series} is learnt anew.")

    def _settle_now(self, alarm: Alarm, why: str) -> str:
        if not any(each.id == alarm.id for each in self._books.alarms.open()):
            return f"Alarm {alarm.id} is closed by now. Nothing was done."
        return self._learn_anew(alarm.series, why)

    async def _ask_re_enrol(self) -> None:
        series = self._shown.series
        why = await ask_reason(
            f"Learn {series} anew",
            "Learn anew",
            explain="What it sees from now on is its normal; until that is learnt, no drift of it is found.",
            danger=True,
        )
        if why is not None:
            await self._do(partial(self._learn_anew, series, why), f"{series} is learnt anew.")

    def _learn_anew(self, series: str, why: str) -> str:
        person = self._visit.person
        if person is None or not person.may(Scope.TUNE):
            return _ENDED
        self._books.drift.re_enrol(series, person.name, why)
        return ""

    async def _retrain(self, alarm: Alarm) -> None:
        why = await ask_reason(
            f"Start a retrain for {alarm.series}",
            "Start it",
            explain="It learns from the labels that are there, must pass the gate, and is then rolled out as any release.",
        )
        if why is not None:
            await self._do(partial(self._retrain_now, alarm, why), f"A retrain for {alarm.series} is started.")

    def _retrain_now(self, alarm: Alarm, why: str) -> str:
        person = self._visit.person
        if person is None or not person.may(Scope.TUNE):
            return _ENDED
        self._books.drift.start_retrain(alarm.id, person.name, why)
        return ""

    async def _do(self, what: partial[str], done: str) -> None:
        try:
            told = await run.io_bound(what)
        except PlumblineError as error:
            told = f"Not done: {error.one_line()}"
        if told is not None:
            self._notice.set_text(told or done)
            self._notice.classes(remove="pl-info pl-bad", add="pl-bad" if told else "pl-info")
            self._notice.set_visibility(True)
        await self._live.refresh()

    def _may_tune(self) -> bool:
        return self._visit.may(Scope.TUNE)


def _row(each: RetrainView, now: float) -> dict[str, Cell]:
    return {
        "id": (f"{each.id}", f"/models/failed/{each.id}" if each.state == "failed" else ""),
        "series": each.series,
        "state": each.state,
        "began": ago(now, each.started_at),
        "why": f"{each.trigger}: {each.reason}",
        "version": (each.version, f"/models/{quote(each.version, safe='')}")
        if each.state == "released"
        else each.version or "none yet",
        "figures": each.figures,
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
