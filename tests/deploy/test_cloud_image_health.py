"""What docker asks the cloud's container, asked of a real server: one whose database is away must not be started again for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx

from cloud.api.app import make_app
from tests.cloud.api.conftest import serve
from tests.fixtures_broker import free_port

ROOT = Path(__file__).parents[2]


def healthcheck(url: str) -> int:
    """Run the image's HEALTHCHECK against `url` and return its exit status."""
    lines = (ROOT / "deploy" / "Dockerfile.cloud").read_text("utf-8").replace("\\\n", " ").splitlines()
    (line,) = (line for line in lines if line.startswith("HEALTHCHECK "))
    program, *words = json.loads(line.partition(" CMD ")[2])
    assert program == "python" and "http://127.0.0.1:8080/" in words[-1], "the port that the image exposes"
    # As long as it likes here: a busy machine is no unwell server.
    asked = words[-1].replace("http://127.0.0.1:8080", url).replace("timeout=4", "timeout=60")
    return subprocess.run([sys.executable, *words[:-1], asked], capture_output=True, timeout=120).returncode


def test_one_that_answers_is_healthy_though_its_database_is_away_and_one_that_does_not_is_not() -> None:
    why = [""]
    served = serve(make_app([], why_unwell=lambda: why[0]))
    url = next(served)
    assert healthcheck(url) == 0
    why[0] = "the database was moved away"
    assert httpx.get(f"{url}/healthz", timeout=60).status_code == 503
    assert healthcheck(url) == 0
    next(served, None)
    assert healthcheck(f"http://127.0.0.1:{free_port()}") != 0
