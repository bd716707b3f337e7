"""The fleet: a table by the page, and a map with one cell a station."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import msgspec
from nicegui import ui
from nicegui.events import ValueChangeEventArguments
from starlette.requests import Request

from cloud.dashboard.fleet_address import NO_MODEL, FleetAddress, address_of
from cloud.dashboard.fleet_map import FleetMap
from cloud.dashboard.fleet_source import FleetSource
from cloud.dashboard.parts import (
    Column,
    Kind,
    Page,
    PageRequest,
    Tone,
    act,
    ago,
    count,
    live,
    paged_table,
    words,
)
from cloud.dashboard.shell import Shell
from cloud.dashboard.visit import Visit
from cloud.store.fleet_rows import UNDER_WAY, DriftPhase, FleetCounts, FleetFacets, FleetRow, LinkState

REFRESH_S, MAP_REFRESH_S = 2.0, 10.0
ROWS = 50

_COLUMNS = (
    Column("station", "Station", Kind.LINK, sortable=True),
    Column("site", "Site", sortable=True),
    Column("link", "Link", Kind.BADGE, sortable=True),
    Column("drift", "Drift", Kind.BADGE, sortable=True),
    Column("seen", "What is seen"),
    Column("model", "Model", sortable=True),
    Column("update", "Last update", sortable=True),
    Column("frames", "Frames", Kind.NUMBER, sortable=True),
    Column("reject", "Reject", Kind.NUMBER, sortable=True),
    Column("review", "Review", Kind.NUMBER, sortable=True),
    Column("missing", "Missing", Kind.NUMBER, sortable=True),
    Column("heard", "Heard", sortable=True),
)
LINK_TONES = {
    LinkState.ONLINE: Tone.GOOD,
    LinkState.HTTP: Tone.INFO,
    LinkState.HTTP_ALONE: Tone.WARN,
    LinkState.OFFLINE: Tone.BAD,
    LinkState.NEVER: Tone.PLAIN,
    LinkState.REVOKED: Tone.PLAIN,
}
DRIFT_TONES = {
    DriftPhase.ALARMED: Tone.BAD,
    DriftPhase.ENROLLING: Tone.INFO,
    DriftPhase.UNHEARD: Tone.PLAIN,
    DriftPhase.QUIET: Tone.GOOD,
    DriftPhase.REVOKED: Tone.PLAIN,
}
_NOTHING = "No station here. Take filters away; or add the first one: plumbline-cloud station add NAME --out FOLDER"


@dataclass(frozen=True, slots=True)
class _Found:
    page: Page
    counts: FleetCounts
    facets: FleetFacets
    versions: dict[str, str]


def fleet_page(shell: Shell, source: FleetSource) -> None:
    """Put the page at /fleet."""

    @ui.page("/fleet")
    async def fleet(request: Request) -> None:
        if (entered := shell.enter(request, "Fleet", "/fleet")) is None:
            return
        visit, column = entered
        with column:
            await _FleetView(visit, source, address_of(dict(request.query_params))).first()


class _FleetView:
    """One open page."""

    def __init__(self, visit: Visit, source: FleetSource, address: FleetAddress) -> None:
        self._source, self._address = source, address
        self._headline = words("")
        self._headline.classes("text-lg pl-headline")
        self._filters()
        with ui.row().classes("items-center gap-3"):
            self._view = act("", self._turn_view, quiet=True)
            act("Take all filters away", self._clear, quiet=True)
        self._trouble_at = ui.column().classes("w-full")
        with ui.column().classes("w-full") as self._table_side:
            self._table = paged_table(
                "stations",
                _COLUMNS,
                title="Stations",
                nothing=_NOTHING,
                page_rows=ROWS,
                on_change=self._asked,
                asked=PageRequest(address.first(), ROWS, address.sort, address.descending == "yes"),
            )
        with ui.column().classes("w-full") as self._map_side:
            self._map = FleetMap()
        with self._trouble_at:
            self._live = live(visit, self._read, self._show, REFRESH_S, what="The fleet's data")
            self._map_live = live(visit, self._read_map, self._map.show, MAP_REFRESH_S, what="The map's data")
        self._show_view()

    async def first(self) -> None:
        """Show the rows with the page itself."""
        await self._live.first()

    def _filters(self) -> None:
        a = self._address
        with ui.row().classes("pl-card w-full items-end gap-3 pl-filters").props('role="search" aria-label="Filters"'):
            self._text = ui.input("Name or site", value=a.text)
            self._text.on_value_change(self._look_for)
            self._text.props("outlined dense clearable debounce=250 maxlength=120").classes("w-48")
            self._selects = {
                "site": _select("Site", a.site),
                "board": _select("Board", a.board),
                "link": _select("Link", a.link, {each.value: each.value for each in LinkState}),
                "drift": _select("Drift", a.drift, {each.value: each.value for each in DriftPhase}),
                "model": _select("Model", a.model),
                "update": _select("Update", a.update),
                "simulated": _select("Simulated", a.simulated, {"yes": "simulated", "no": "with a camera"}),
                "needs": _select("Needs somebody", a.needs, {"yes": "needs somebody"}),
            }
            for name, select in self._selects.items():
                select.on_value_change(lambda event, name=name: self._filter(name, event.value))

    async def _look_for(self, event: ValueChangeEventArguments[str | None]) -> None:
        await self._filter("text", event.value)

    async def _filter(self, name: str, value: str | None) -> None:
        if getattr(self._address, name) == (value or ""):
            return
        self._address = replace(self._address, **{name: (value or "")[:120], "start": ""})
        self._tell_address()
        self._table.asked = PageRequest(0, ROWS, self._table.asked.sort, self._table.asked.descending)
        await self._live.refresh()
        if self._address.view == "map":
            await self._map_live.refresh()

    async def _clear(self) -> None:
        self._address = replace(FleetAddress(), view=self._address.view)
        self._text.set_value("")
        for select in self._selects.values():
            select.set_value("")
        self._tell_address()
        await self._live.refresh()
        await self._map_live.refresh()

    async def _asked(self, asked: PageRequest) -> None:
        descending, start = "yes" if asked.descending else "", str(asked.start) if asked.start else ""
        self._address = replace(self._address, sort=asked.sort, descending=descending, start=start)
        self._tell_address()
        await self._live.refresh()

    async def _turn_view(self) -> None:
        self._address = replace(self._address, view="" if self._address.view == "map" else "map")
        self._tell_address()
        self._show_view()
        await self._map_live.refresh()

    def _show_view(self) -> None:
        on_map = self._address.view == "map"
        self._map_side.set_visibility(on_map)
        self._table_side.set_visibility(not on_map)
        self._view.set_text("Show the table" if on_map else "Show the map")

    def _tell_address(self) -> None:
        path = msgspec.json.encode(self._address.path()).decode()
        ui.run_javascript(f"history.replaceState(history.state, '', {path})")

    def _read(self) -> _Found:
        source, asked, address = self._source, self._table.asked, self._address
        versions = source.versions()
        chosen = address.chosen(versions, source.needy() if address.needs else frozenset())
        found = source.page(
            chosen, address.sort_by(), descending=asked.descending, start=asked.start, limit=asked.limit
        )
        now, seen = source.now(), source.drift_in_words([row.station for row in found.rows])
        rows = [row_of(row, versions, seen.get(row.station, ""), now) for row in found.rows]
        return _Found(Page(rows, found.total), source.counts(), source.facets(), versions)

    def _show(self, found: _Found) -> None:
        self._headline.set_text(headline(found.counts, found.page.total))
        self._table.show(found.page)
        facets, a = found.facets, self._address
        _offer(self._selects["site"], {name: f"{name} ({n:,})" for name, n in facets.sites.items() if name}, a.site)
        _offer(self._selects["board"], {name: f"{name} ({n:,})" for name, n in facets.boards.items() if name}, a.board)
        models = {
            found.versions.get(digest, digest)
            or NO_MODEL: f"{found.versions.get(digest, digest[:12]) or NO_MODEL} ({n:,})"
            for digest, n in facets.bundles.items()
        }
        _offer(self._selects["model"], models, a.model)
        updates = {name: f"{in_words(name)} ({n:,})" for name, n in facets.updates.items() if name}
        _offer(self._selects["update"], {UNDER_WAY: UNDER_WAY, **updates}, a.update)

    def _read_map(self) -> Sequence[Any]:
        if self._address.view != "map":
            return ()
        source, address = self._source, self._address
        return source.cells(address.chosen(source.versions(), source.needy() if address.needs else frozenset()))


def headline(counts: FleetCounts, shown: int) -> str:
    """Return the fleet in one line; `shown` stations are what is filtered for."""
    never = f", {counts.never:,} never heard" if counts.never else ""
    alone = f" ({counts.http_alone:,} of them never by MQTT)" if counts.http_alone else ""
    asking = counts.by_http + counts.http_alone
    by_http = f", {asking:,} by HTTP{alone}" if asking else ""
    online = f"{counts.online:,} of {count(counts.total, 'station')} online{by_http}{never}"
    parts = [online, f"{counts.drifting:,} drifting"]
    if counts.updating:
        parts.append(f"{counts.updating:,} updating")
    if counts.rolled_back:
        parts.append(f"{counts.rolled_back:,} went back to their last bundle")
    if shown != counts.total:
        parts.append(f"{shown:,} shown")
    return " · ".join(parts)


def row_of(row: FleetRow, versions: dict[str, str], seen: str, now: float) -> dict[str, Any]:
    """Return a station as the table's row."""
    return {
        "station": (row.station, station_path(row.station)),
        "site": row.site,
        "link": (row.link.value, LINK_TONES[row.link]),
        "drift": (row.drift.value, DRIFT_TONES[row.drift]),
        "seen": seen,
        "model": versions.get(row.bundle, row.bundle[:12]) or "none yet",
        "update": in_words(row.update_state) + (f": {row.reason}" if row.reason else ""),
        "frames": row.captured,
        "reject": row.rejected,
        "review": row.review,
        "missing": row.missing,
        "heard": "by HTTP, of late" if row.link in (LinkState.HTTP, LinkState.HTTP_ALONE) else ago(now, row.heard_at),
    }


def station_path(station: str) -> str:
    """Return where a station's page is."""
    return f"/station/{quote(station, safe='')}"


def in_words(update_state: str) -> str:
    """Return an update's state as people say it."""
    return update_state.replace("_", " ").lower() or "none yet"


def _select(label: str, value: str, options: dict[str, str] | None = None) -> ui.select:
    shown = {"": "any", **(options or {})}
    if value and value not in shown:
        shown[value] = value
    return ui.select(shown, label=label, value=value).props("outlined dense options-dense").classes("min-w-36")


def _offer(select: ui.select, options: dict[str, str], chosen: str) -> None:
    offered = {"": "any", **options}
    if chosen and chosen not in offered:
        offered[chosen] = chosen
    if select.options != offered:
        select.set_options(offered, value=chosen)
