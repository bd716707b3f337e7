"""The fleet page (NiceGUI on the API's own FastAPI app)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from nicegui import run, ui

from cloud.dashboard.fleet_view import FleetView

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
_EMPTY = {
    "stations": "No station yet: plumbline-cloud station add NAME --out FOLDER",
    "alarms": "No alarm so far.",
    "rollouts": "No rollout so far: plumbline-cloud rollout start --version V",
    "acts": "Nothing was done yet.",
}


def install_dashboard(app: FastAPI, view: Callable[[], FleetView]) -> None:
    """Put the pages on `app`."""

    @ui.page("/", title="Plumbline fleet")
    async def fleet() -> None:
        ui.query("body").classes("bg-slate-50")
        with ui.column().classes("w-full max-w-screen-2xl mx-auto p-4 gap-4"):
            with ui.row().classes("items-baseline gap-4"):
                ui.label("Plumbline").classes("text-2xl font-bold")
                headline = ui.label().classes("text-lg")
            simulated = ui.label("Images on this fleet are simulated.").classes(
                "bg-amber-200 px-3 py-1 rounded font-medium"
            )
            tables = {name: _table(name, title) for name, title in _titles().items()}

        async def refresh() -> None:
            found = await run.io_bound(view)
            if found is None:  # NiceGUI answers None while the server shuts down
                return
            alarms = f"{found.alarms_open} open alarm{'s' if found.alarms_open != 1 else ''}"
            review = f"{found.review_waiting} parts wait for an inspector, {found.review_labelled} labelled"
            dead = f", {found.dead_letters} dead letters" if found.dead_letters else ""
            headline.set_text(f"{len(found.stations)} stations, {alarms}, {review}{dead}")
            simulated.set_visibility(found.simulated)
            for name, table in tables.items():
                table.rows = getattr(found, name)
                table.update()

        await refresh()
        ui.timer(REFRESH_S, refresh)

    ui.run_with(app, title="Plumbline", show_welcome_message=False)


def _titles() -> dict[str, str]:
    return {"stations": "Stations", "alarms": "Drift alarms", "rollouts": "Rollouts", "acts": "Audit log, newest first"}


def _table(name: str, title: str) -> ui.table:
    columns: list[dict[str, Any]] = [{"name": k, "label": t, "field": k, "align": "left"} for k, t in _TABLES[name]]
    table = ui.table(columns=columns, rows=[], row_key=_TABLES[name][0][0], title=title)
    table.props(f'dense flat bordered wrap-cells no-data-label="{_EMPTY[name]}"').classes(f"w-full table-{name}")
    return table
