"""The fleet page (NiceGUI on the API's own FastAPI app)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from nicegui import run, ui

from cloud.api.auth import Scope
from cloud.dashboard.fleet_view import FleetView
from cloud.dashboard.shell import Shell

_log = logging.getLogger(__name__)

REFRESH_S = 1.0

_TABLES: dict[str, tuple[tuple[str, str], ...]] = {
    "stations": (
        ("station", "Station"),
        ("link", "Link"),
        ("model", "Model"),
        ("drift", "Drift"),
        ("update", "Last update"),
        ("frames", "Frames"),
        ("pass", "Pass"),
        ("reject", "Reject"),
        ("review", "Review"),
        ("missing", "Missing summaries"),
        ("heard", "Heard"),
    ),
    "alarms": (
        ("alarm", "Alarm"),
        ("station", "Station"),
        ("since", "Opened"),
        ("state", "State"),
        ("what", "What was seen"),
        ("answer", "Retrain"),
    ),
    "decisions": (
        ("series", "Camera"),
        ("decision", "Retrain?"),
        ("called", "Called for by"),
        ("reason", "Why"),
        ("decided", "Since"),
    ),
    "rollouts": (
        ("rollout", "Rollout"),
        ("version", "Version"),
        ("state", "State"),
        ("stations", "Stations"),
        ("why", "Why"),
    ),
    "acts": (("id", "#"), ("when", "When"), ("who", "Who"), ("act", "Act"), ("detail", "Detail")),
}
_NUMBERS = frozenset({"frames", "pass", "reject", "review", "missing"})
_TITLES = {
    "stations": "Stations",
    "alarms": "Drift alarms",
    "decisions": "Retrain decisions, newest first",
    "rollouts": "Rollouts",
    "acts": "Audit log, newest first",
}
_EMPTY = {
    "stations": "No station yet: plumbline-cloud station add NAME --out FOLDER",
    "alarms": "No alarm so far.",
    "decisions": "Nothing called for a retrain so far.",
    "rollouts": "No rollout so far: plumbline-cloud rollout start --version V",
    "acts": "Nothing was done yet.",
}

# Colour says at a glance what the words beside it say too. Vue expressions over a row; see Quasar's QTable slots.
_COLOURS = {
    ("stations", "link"): "props.row.link == 'online' ? 'text-green-800' : 'text-red-800 font-bold'",
    ("stations", "drift"): "props.row.phase == 'alarmed' ? 'text-red-800 font-bold' : ''",
    ("stations", "update"): "props.row.update.startsWith('ROLLED_BACK') ? 'text-red-800' : ''",
    ("stations", "missing"): "props.row.missing > 0 ? 'text-red-800 font-bold' : ''",
    ("alarms", "state"): "props.row.state == 'open' ? 'text-red-800 font-bold' : 'text-gray-600'",
    ("rollouts", "state"): (
        "({DONE: 'text-green-800', RUNNING: 'text-blue-800 font-bold', ABORTING: 'text-red-800 font-bold',"
        " ABORTED: 'text-red-800'})[props.row.state]"
    ),
}


def install_dashboard(app: FastAPI, shell: Shell, view: Callable[[], FleetView]) -> None:
    """Put the pages on `app`."""

    @ui.page("/", title="Plumbline fleet")
    async def fleet(request: Request) -> None:
        if (entered := shell.enter(request, "Fleet", "/")) is None:
            return
        visit, column = entered
        ui.query("body").classes("bg-slate-50")
        with column:
            with ui.row().classes("items-baseline gap-4"):
                ui.label("Plumbline").classes("text-2xl font-bold")
                headline = ui.label().classes("text-lg")
            trouble = ui.label().classes("trouble w-full bg-red-100 text-red-900 px-3 py-2 rounded font-medium")
            trouble.set_visibility(False)
            broker = ui.label("The broker is not reached: nothing comes in. Start it, or set [broker] in cloud.toml.")
            broker.classes("broker w-full bg-red-200 px-3 py-2 rounded font-medium")
            broker.set_visibility(False)
            signing = ui.label().classes("signing w-full bg-red-100 text-red-900 px-3 py-2 rounded font-medium")
            signing.set_visibility(False)
            simulated = ui.label().classes("simulated w-full bg-amber-200 px-3 py-2 rounded font-medium")
            simulated.set_visibility(False)
            strangers = ui.label().classes("strangers w-full bg-amber-100 px-3 py-2 rounded font-medium")
            strangers.set_visibility(False)
            tables = {name: _table(name) for name in _TABLES}

        async def refresh() -> None:
            try:
                if not await run.io_bound(visit.may, Scope.READ):
                    ui.navigate.reload()  # signed out meanwhile: the page says so
                    return
                found = await run.io_bound(view)
            except Exception as error:  # noqa: BLE001 - the page's outermost guard: shown, logged, and tried again
                _log.exception("the fleet page cannot read its data")
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                trouble.set_text(f"The fleet's data cannot be read; what is below may be old. {reason}")
                trouble.set_visibility(True)
                return
            if found is None:  # NiceGUI answers None while the server shuts down
                return
            trouble.set_visibility(False)
            headline.set_text(_headline(found))
            simulated.set_text(_simulated(found))
            simulated.set_visibility(bool(found.simulated))
            strangers.set_text(_strangers(found))
            strangers.set_visibility(bool(found.strangers))
            broker.set_visibility(not found.broker_connected)
            signing.set_text(found.signing)
            signing.set_visibility(bool(found.signing))
            for name, table in tables.items():
                if table.rows != (rows := getattr(found, name)):
                    table.rows = rows

        await refresh()
        ui.timer(REFRESH_S, refresh)

    ui.run_with(app, title="Plumbline", show_welcome_message=False)


def _headline(found: FleetView) -> str:
    stations = f"{found.online} of {_count(len(found.stations), 'station')} online"
    disputed = f" ({found.review_disputed} because two people disagree)" if found.review_disputed else ""
    review = (
        f"{_count(found.review_waiting, 'part')} waiting for an inspector{disputed}, {found.review_labelled} labelled"
    )
    dead = f" · {_count(found.dead_letters, 'dead letter')}" if found.dead_letters else ""
    return f"{stations} · {_count(found.alarms_open, 'open alarm')} · {review}{dead}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _simulated(found: FleetView) -> str:
    names = found.simulated
    return f"SIMULATED: {_who(names)} {'has' if len(names) == 1 else 'have'} no camera; what they see is simulated."


def _strangers(found: FleetView) -> str:
    names = found.strangers
    return (
        f"{_who(names)} {'speaks' if len(names) == 1 else 'speak'} on the broker without having been added: what comes is"
        " kept, no order goes out. plumbline-cloud station add NAME, or take away the access to the broker."
    )


def _who(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{len(names)} stations"


def _table(name: str) -> ui.table:
    table = ui.table(columns=[_column(k, t) for k, t in _TABLES[name]], rows=[], row_key=_TABLES[name][0][0])
    table.props("dense flat bordered wrap-cells").classes(f"w-full table-{name}")
    table.add_slot("no-data", f'<div class="text-gray-600 py-1">{_EMPTY[name]}</div>')
    table.props(f'title="{_TITLES[name]}"')
    for (owner, key), colour in _COLOURS.items():
        if owner == name:
            cell = f'<q-td :props="props" :class="{colour}">{{{{ props.value }}}}</q-td>'
            table.add_slot(f"body-cell-{key}", cell)
    return table


def _column(key: str, title: str) -> dict[str, Any]:
    column: dict[str, Any] = {"name": key, "label": title, "field": key, "align": "left"}
    if key in _NUMBERS:
        column |= {"align": "right", ":format": "value => value.toLocaleString('en')"}
    return column
