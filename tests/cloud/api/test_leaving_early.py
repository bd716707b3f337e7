"""Browsers that leave before their answer is there, against the real command: no fault of the server's, and none is logged."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx
import pytest
from nicegui import core
from starlette.middleware.base import BaseHTTPMiddleware

from tests.cloud.api.whole_app import open_whole_app
from tests.fakes.cloud_plant import CloudPlant


@pytest.mark.slow
def test_browsers_that_leave_early_leave_no_traceback(tmp_path: Path) -> None:
    plant = CloudPlant(tmp_path)
    plant.start()
    asked = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /fleet HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /_nicegui_ws/socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\ntoken=",
        b"POST /v1/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{",
        b"POST /_nicegui_ws/socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 900\r\n\r\n4",
    ]  # fmt: skip
    for wait_s in (0.0, 0.0, 0.001, 0.01, 0.03, 0.06, 0.1):
        for request in asked:
            lines = [socket.create_connection(("127.0.0.1", plant.port)) for _ in range(4)]
            for line in lines:
                line.sendall(request)
            time.sleep(wait_s)
            for line in lines:
                line.close()
    time.sleep(3.0)
    until = time.monotonic() + 60
    while 'code="499"' not in (counted := httpx.get(f"{plant.url}/metrics", timeout=60).text):
        assert time.monotonic() < until, "nobody who left is counted"
        time.sleep(0.2)
    plant.stop()
    log = plant.log.read_text()
    assert "Traceback" not in log and "Exception" not in log, log
    assert 'code="500"' not in counted


def test_nothing_before_the_pages_waits_for_their_answers_in_a_task_of_its_own(tmp_path: Path) -> None:
    for whole in open_whole_app(tmp_path):
        before = [*core.app.user_middleware, *whole.app.user_middleware]
        kinds = [each.cls for each in before if isinstance(each.cls, type)]
        assert kinds and not [kind for kind in kinds if issubclass(kind, BaseHTTPMiddleware)]
