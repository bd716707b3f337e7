"""docs/api.md says what the routes and the parsers say."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.docs.page_blocks import DOCS, ROOT


def test_the_api_page_is_current_and_names_every_command() -> None:
    # A process of its own: the dashboard's library has one application a process.
    command = (sys.executable, "-m", "scripts.draw_api", "--check")
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text = (DOCS / "api.md").read_text("utf-8")
    for said in (
        "`POST /v1/rollouts`",
        "`GET /v1/decisions/{id}`",
        "`POST /v1/renew/{station}`",
        "`plumbline-agent update apply",
    ):
        assert said in text, said
