"""The overview: what needs somebody now, in words, and how the fleet stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nicegui import ui
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cloud.api.auth import Scope
from cloud.dashboard.fleet_source import FleetSource
from cloud.dashboard.overview_figures import BudgetCards, CostTable, clock, enrolling_in_words, mix_chart, mix_in_words
from cloud.dashboard.parts import (
    Cell,
    Tone,
    ago,
    badge,
    card,
    chart,
    count,
    empty,
    link,
    live,
    words,
)
from cloud.dashboard.runbooks_page import runbook_path
from cloud.dashboard.shared_read import SharedRead
from cloud.dashboard.shell import Shell
from cloud.ports.needs import Need, Severity
from cloud.ports.promises import Budget
from cloud.store.fleet_rows import DriftPhase, FleetCounts
from cloud.store.verdict_mix import VerdictMix

REFRESH_S, SLOW_REFRESH_S, MIX_S = 2.0, 10.0, 10.0
_SHOWN_NEEDS = 30
_URGENCY = {
    Severity.PAGE: ("now", Tone.BAD),
    Severity.TICKET: ("today", Tone.WARN),
    Severity.INFO: ("to know", Tone.INFO),
}


@dataclass(frozen=True, slots=True)
class OverviewReads:
    """What the overview asks beside the fleet; each is called in a thread.

    `rollout` and `review` are one line each with where it leads; `costs` rows of plain values under one another, whose keys are
    the columns' titles. `well_since`: when the last thing that needed somebody was over, Unix seconds, 0 where none ever was.
    """

    mix: Callable[[], VerdictMix]
    rollout: Callable[[], tuple[str, str]]
    review: Callable[[], tuple[str, str]]
    well_since: Callable[[], float]
    budgets: Callable[[], Sequence[Budget]] = field(default=tuple)
    costs: Callable[[], Sequence[Mapping[str, Cell]]] = field(default=tuple)


@dataclass(frozen=True, slots=True)
class _Now:
    at: float
    needs: Sequence[Need]
    counts: FleetCounts
    rollout: tuple[str, str]
    review: tuple[str, str]
    well_since: float


def overview_page(shell: Shell, source: FleetSource, reads: OverviewReads) -> None:
    """Put the page at /."""
    mix = SharedRead(reads.mix, MIX_S, source.now)

    @ui.page("/")
    def overview(request: Request) -> Response | None:
        person = shell.visit(request).person
        if person is not None and not person.may(Scope.READ) and person.may(Scope.REVIEW):
            # Who only labels is sent on by signing in, not away.
            return RedirectResponse("/review")
        if (entered := shell.enter(request, "Overview", "/")) is None:
            return None
        visit, column = entered
        with column:
            trouble = ui.column().classes("w-full")
            with ui.row().classes("w-full gap-4 items-stretch no-wrap pl-halves"):
                with card("What needs somebody").classes("grow pl-needs"):
                    needs = _Needs()
                with ui.column().classes("gap-4 w-96 shrink-0"):
                    with card("Fleet"):
                        fleet = _Fleet()
                    with card("Under way"):
                        rollout, review = _Line(), _Line()
            with card("Promises"):
                budgets = BudgetCards()
            with card("Verdicts of late"):
                drawn = chart("Verdicts of late", height="14rem")
            with card("Costs"):
                costs = CostTable()

            def show(now: _Now) -> None:
                needs.show(now.needs, now.well_since, now.at, now.counts)
                fleet.show(now.counts)
                rollout.show(*now.rollout)
                review.show(*now.review)

            def show_slow(found: tuple[VerdictMix, Sequence[Budget], Sequence[Mapping[str, Cell]]]) -> None:
                said = mix_in_words(found[0])
                if found[0].buckets:
                    drawn.show(lambda colours: mix_chart(colours, found[0]), said)
                else:
                    drawn.say(said)
                budgets.show(found[1])
                costs.show(found[2])

            with trouble:
                live(visit, lambda: _read(source, reads), show, REFRESH_S, what="The fleet's data")
                live(
                    visit,
                    lambda: (mix(), reads.budgets(), reads.costs()),
                    show_slow,
                    SLOW_REFRESH_S,
                    what="Verdicts, promises and costs",
                )
        return None


def _read(source: FleetSource, reads: OverviewReads) -> _Now:
    return _Now(source.now(), source.needs(), source.counts(), reads.rollout(), reads.review(), reads.well_since())


class _Needs:
    def __init__(self) -> None:
        self._place = ui.column().classes("w-full gap-3")
        self._shown: object = None
        with self._place:
            words("Looking ...", muted=True)

    def show(self, needs: Sequence[Need], well_since: float, now: float, counts: FleetCounts) -> None:
        urgent = [need for need in needs if need.severity is not Severity.INFO]
        well = "" if urgent else well_in_words(well_since, now, counts)
        if (shown := (tuple(needs), well)) == self._shown:
            return
        self._shown = shown
        self._place.clear()
        with self._place:
            if counts.total == 0:
                empty(
                    "No station yet.",
                    "Add the first one: plumbline-cloud station add NAME --out FOLDER, and start its agent with that folder."
                    " Until a model is released and rolled out to it, every part goes to REVIEW: plumbline-cloud train --help.",
                )
            elif well:
                with ui.row().classes("items-baseline gap-2"):
                    badge("all is well", Tone.GOOD)
                    words(well)
            with ui.element("ul").classes("w-full flex flex-col gap-3 list-none p-0 m-0"):
                for need in needs[:_SHOWN_NEEDS]:
                    _need(need)
            if len(needs) > _SHOWN_NEEDS:
                words(f"and {len(needs) - _SHOWN_NEEDS:,} more, less urgent", muted=True)


def _need(need: Need) -> None:
    urgency, tone = _URGENCY[need.severity]
    with ui.element("li").classes("flex flex-nowrap gap-3 items-baseline pl-need"):
        with ui.element("div").classes("w-24 shrink-0"):
            badge(urgency, tone)
        with ui.column().classes("gap-0 min-w-0 grow"):
            words(need.what).classes("font-medium")
            with ui.row().classes("gap-3 items-baseline"):
                # What is about the server itself has no page but this one.
                if need.link == "/":
                    words(need.kind, muted=True)
                else:
                    link(f"Look at it: {need.kind}", need.link)
                if need.runbook:
                    link("What to do", runbook_path(need)).props["aria-label"] = f"What to do: {need.kind}"


class _Fleet:
    def __init__(self) -> None:
        self._links: dict[str, ui.link] = {}
        self._lines: dict[str, ui.element] = {}
        with ui.element("ul").classes("list-none p-0 m-0 flex flex-col gap-1 pl-counts"):
            for key, path in (
                ("online", "/fleet?link=online"),
                ("by_http", "/fleet?link=by+HTTP"),
                ("http_alone", "/fleet?link=by+HTTP,+never+by+MQTT"),
                ("offline", "/fleet?link=offline"),
                ("unheard", "/fleet?drift=never+heard"),
                ("drifting", f"/fleet?drift={DriftPhase.ALARMED.value}"),
                ("enrolling", f"/fleet?drift={DriftPhase.ENROLLING.value}"),
                ("updating", "/fleet?update=under+way"),
                ("rolled_back", "/fleet?update=ROLLED_BACK"),
                ("simulated", "/fleet?simulated=yes"),
                ("revoked", f"/fleet?drift={DriftPhase.REVOKED.value}"),
            ):
                with ui.element("li").classes("flex gap-2") as self._lines[key]:
                    self._links[key] = link("", path)

    def show(self, counts: FleetCounts) -> None:
        said = {
            "online": f"{counts.online:,} of {count(counts.total, 'station')} online",
            "by_http": f"{counts.by_http:,} heard by HTTP alone",
            "http_alone": f"{counts.http_alone:,} heard by HTTP and never by MQTT, added over a day ago",
            "offline": f"{counts.offline:,} offline",
            "unheard": f"{counts.unheard:,} never heard by MQTT, added over a day ago",
            "drifting": f"{counts.drifting:,} drifting",
            "enrolling": enrolling_in_words(counts),
            "updating": f"{counts.updating:,} updating",
            "rolled_back": f"{counts.rolled_back:,} went back to their last bundle",
            "simulated": f"{counts.simulated:,} simulated",
            "revoked": f"{counts.revoked:,} revoked",
        }
        for key, text in said.items():
            self._links[key].set_text(text)
            self._lines[key].set_visibility(key in ("online", "drifting") or getattr(counts, key) > 0)


class _Line:
    """One sentence and where it leads."""

    def __init__(self) -> None:
        with ui.row().classes("gap-2 items-baseline"):
            self._words = words("")
            self._link = link("Show", "/")

    def show(self, text: str, path: str) -> None:
        self._words.set_text(text)
        self._link.props["href"] = path
        self._link.set_text("Show")
        self._link.set_visibility(bool(path))
        self._link.props["aria-label"] = f"Show: {text}"
        self._link.update()


def well_in_words(since: float, now: float, counts: FleetCounts) -> str:
    """Return that nothing needs anybody, and since when; "" for a fleet of nobody."""
    if counts.total == 0:
        return ""
    when = "so far" if since <= 0 else f"since {clock(since)} ({ago(now, since)})"
    return f"Nothing needs anybody, {when}."
