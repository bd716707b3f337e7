"""The whole application as `serve` makes it, its loops at rest: real tables, real files, every route."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from nicegui import core

from cloud.__main__ import main
from cloud.settings import CloudSettings, load_settings
from cloud.wiring import Aggregator
from tests.cloud.api.conftest import serve
from tests.fakes.cloud_tables import T0, Tables, note, open_tables, received, summary


@dataclass(frozen=True, slots=True)
class WholeApp:
    """A served application. `tokens` by role; `operator` and `inspector` are those of the files."""

    url: str
    devices_url: str
    app: FastAPI
    device_app: FastAPI
    settings: CloudSettings
    tables: Tables
    operator: str
    inspector: str

    def token(self, person: str, role: str, days: float | None = None) -> tuple[int, str]:
        """Make a token through the API and return its number and it."""
        body = {"person": person, "role": role, "days": days}
        made = httpx.post(f"{self.url}/v1/tokens", json=body, headers=bearer(self.operator)).raise_for_status().json()
        return made["id"], made["token"]


def bearer(token: str) -> dict[str, str]:
    """Return the header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


def open_whole_app(folder: Path, more_config: str = "", database: str = "") -> Iterator[WholeApp]:
    """Make a home with mutual TLS prepared (so that every route is there), and serve both applications without it.

    `database`: a URL, "" for a file of SQLite in the home.
    """
    home = folder / "plant"
    with contextlib.redirect_stdout(io.StringIO()):
        made = ["init", "--home", str(home), "--secure", "--broker-name", "localhost"]
        assert main(made) == 0
    config = home / "cloud.toml"
    before = f'database = "{database}"\n' if database else ""
    config.write_text(before + config.read_text() + more_config)
    settings = load_settings(config)
    _as_if_alone()
    aggregator = Aggregator(settings)
    tables = open_tables(settings.database_url())
    tables.add_online("line1", "line2")
    notes = tuple(note(f"x{n}", at=T0 + n) for n in range(3))
    tables.summaries.commit(received(summary("line1", 1, samples=notes)), [])
    people, devices = serve(aggregator.app), serve(aggregator.device_app)
    yield WholeApp(
        next(people), next(devices), aggregator.app, aggregator.device_app, settings, tables,
        settings.token(settings.api.operator_token_file), settings.token(settings.api.inspector_token_file),
    )  # fmt: skip
    next(people, None)
    next(devices, None)
    tables.database.close()
    aggregator._improve.close()  # what `stop` does, of an aggregator that was never started
    aggregator._stores.database.close()
    _as_if_alone()


def _as_if_alone() -> None:
    # NiceGUI has one application a process, and takes no further pages once that has begun to answer.
    core.app.middleware_stack = None


def routes_of(app: FastAPI) -> list[str]:
    """Return every operation under /v1 and beside it, as "GET /v1/fleet"; NiceGUI's own are not among them."""
    return sorted(
        f"{method} {route.path}"
        for route in iter_route_contexts(app.routes)
        for method in (route.methods or set()) - {"HEAD"}
    )
