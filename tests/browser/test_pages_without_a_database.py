"""A page asked for with a cookie that cannot be looked up says that, and nothing of what the database's driver said."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from nicegui import ui
from starlette.requests import Request

from cloud.api.answers import UNUSABLE
from cloud.api.auth import Person
from cloud.dashboard.shell import COOKIE, Shell
from contract.errors import TransientError
from tests.browser.conftest import serve_pages

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    def cut(_cookie: str) -> Person | None:
        raise TransientError('connection to server at "db.plant.example" (10.1.2.3), port 5432 failed')

    shell, app = Shell(cut, open_to_look=False), FastAPI()

    @ui.page("/")
    def page(request: Request) -> None:
        assert shell.enter(request, "Here", "/") is None

    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)


def test_a_stranger_hears_that_the_database_cannot_be_used(url: str) -> None:
    answer = httpx.get(url, headers={"Cookie": f"{COOKIE}=a-session"}, timeout=60)
    assert answer.status_code == 503 and UNUSABLE in answer.text and "10.1.2.3" not in answer.text
    assert "sign in as one of" in httpx.get(url, timeout=60).text
