"""The dashboard's pages on the API's own application."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import FastAPI
from nicegui import ui


def install_dashboard(app: FastAPI, pages: Sequence[Callable[[], None]]) -> None:
    """Put pages on `app`: each of `pages` registers its own with `ui.page`."""
    for page in pages:
        page()
    ui.run_with(app, title="Plumbline", language="en-US", dark=None, show_welcome_message=False)
