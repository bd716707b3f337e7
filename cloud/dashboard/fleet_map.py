"""The map of the fleet: one cell a station, by site; its colour and its shape say how it stands."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any
from urllib.parse import quote

from nicegui import ui
from nicegui.events import EChartPointClickEventArguments

from cloud.dashboard.parts import Chart, Palette, Tone, chart, count, words
from cloud.store.fleet_rows import ENDED_UPDATES, DriftPhase, FleetCell, LinkState
from contract.update_states import UpdateState

# (what it is, its colour, its shape), in the order in which they win; shapes tell them apart without colours.
_STATES: tuple[tuple[str, Tone, str], ...] = (
    ("drifting", Tone.BAD, "triangle"),
    ("offline", Tone.WARN, "diamond"),
    ("went back to its last bundle", Tone.WARN, "pin"),
    ("updating", Tone.INFO, "circle"),
    ("enrolling", Tone.PLAIN, "roundRect"),
    ("never heard", Tone.PLAIN, "emptyCircle"),
    ("never heard by MQTT", Tone.WARN, "emptyDiamond"),
    ("revoked", Tone.PLAIN, "arrow"),
    ("online, in range", Tone.GOOD, "rect"),
)
_ACROSS = 120
_MOST_NAMED_SITES = 60
_TIP = "p => p.value[2] + '\\n' + p.value[3] + '\\n' + p.seriesName"


def state_of(cell: FleetCell) -> str:
    """Return the one thing about a station that a person would look at first."""
    if cell.drift is DriftPhase.REVOKED:
        return "revoked"
    if cell.drift is DriftPhase.ALARMED:
        return "drifting"
    if cell.link is LinkState.NEVER:
        return "never heard"
    if cell.link is LinkState.OFFLINE:
        return "offline"
    if cell.drift is DriftPhase.UNHEARD:
        return "never heard by MQTT"
    if cell.update_state == UpdateState.ROLLED_BACK.value:
        return "went back to its last bundle"
    if cell.update_state not in ENDED_UPDATES:
        return "updating"
    return "enrolling" if cell.drift is DriftPhase.ENROLLING else "online, in range"


def places(cells: Sequence[FleetCell]) -> tuple[list[tuple[int, int]], dict[int, str]]:
    """Return (column, row) of each cell, and the site that begins in a row; few sites begin a row each, many follow on."""
    sites = [(site, len(list(members))) for site, members in groupby(cells, key=lambda cell: cell.site)]
    across = min(_ACROSS, max(24, math.ceil(math.sqrt(len(cells) * 3))))
    if len(sites) > _MOST_NAMED_SITES:
        return [(number % across, number // across) for number in range(len(cells))], {}
    found: list[tuple[int, int]] = []
    named: dict[int, str] = {}
    row = 0
    for site, members in sites:
        named[row] = site or "no site"
        found += [(number % across, row + number // across) for number in range(members)]
        row += math.ceil(members / across)
    return found, named


class FleetMap:
    """The map in a page; a click on a cell opens its station. By keyboard the table leads there."""

    def __init__(self) -> None:
        words(
            "One mark a station, site after site. A click opens the station; the table shows the same stations by keyboard.",
            muted=True,
        )
        self._chart: Chart = chart("Map of the fleet", height="12rem", on_point=self._open)
        self._shown: Sequence[FleetCell] = ()

    def show(self, cells: Sequence[FleetCell]) -> None:
        """Draw the stations."""
        if cells == self._shown:
            return
        self._shown = cells
        where, named = places(cells)
        rows = max((row for _, row in where), default=0) + 1
        counts = Counter(map(state_of, cells))
        said = ", ".join(f"{counts[state]:,} {state}" for state, _, _ in _STATES if counts[state])
        self._chart.style(f"height: {min(max(rows * 9 + 90, 160), 1400)}px")
        self._chart.show(
            lambda colours: _options(colours, cells, where, named, rows),
            f"{count(len(cells), 'station')}: {said}" if cells else "no station to show",
        )

    def _open(self, event: EChartPointClickEventArguments) -> None:
        value = event.value
        if isinstance(value, list) and len(value) > 2 and any(cell.station == value[2] for cell in self._shown):
            ui.navigate.to(f"/station/{quote(str(value[2]), safe='')}")


def _options(
    colours: Palette,
    cells: Sequence[FleetCell],
    where: Sequence[tuple[int, int]],
    named: dict[int, str],
    rows: int,
) -> dict[str, Any]:
    by_state: dict[str, list[list[Any]]] = {}
    for cell, (column, row) in zip(cells, where, strict=True):
        by_state.setdefault(state_of(cell), []).append([column, row, cell.station, cell.site])
    across = max((column for column, _ in where), default=0) + 1
    return {
        "tooltip": {
            "trigger": "item",
            "renderMode": "richText",
            ":formatter": _TIP,
            "backgroundColor": colours.surface,
            "borderColor": colours.muted,
            "textStyle": {"color": colours.text},
        },
        "grid": {"left": 8, "right": 8, "top": 44, "bottom": 8, "containLabel": True},
        "xAxis": {"type": "value", "min": -0.5, "max": across - 0.5, "show": False},
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [named.get(row, "")[:40] for row in range(rows)],
            "axisLabel": {"color": colours.text, "interval": 0, "show": bool(named)},
            "axisLine": {"show": False},
            "axisTick": {"show": False},
        },
        "series": [
            {
                "type": "scatter",
                "name": state,
                "symbol": shape,
                "symbolSize": 13 if tone is Tone.BAD else 7,
                "itemStyle": {"color": colours.of(tone), "opacity": 1.0},
                "cursor": "pointer",
                "data": by_state[state],
            }
            for state, tone, shape in reversed(_STATES)
            if state in by_state
        ],
    }
