"""The real server whose database goes while it runs, and before it starts: what it answers, and who is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.hook import Hook
from tests.fixtures_broker import ROOT


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.stop()


@pytest.fixture
def plant(tmp_path: Path, hook: Hook) -> Iterator[CloudPlant]:
    made = CloudPlant(tmp_path)
    with (made.home / "cloud.toml").open("a") as config:
        config.write(f'[alerts]\ndatabase_after_s = 1.0\n[alerts.webhooks]\nchat = "{hook.url}"\n')
    yield made
    if made.running:
        made.kill()


def wait_for(what: Callable[[], Any]) -> Any:
    until = time.monotonic() + 120.0
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)
    return found


def told(hook: Hook, event: str) -> list[dict[str, Any]]:
    return [m for m in hook.messages() if (m["key"], m["event"]) == ("database", event)]


def of_metric(text: str, name: str) -> float:
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.mark.slow
def test_serve_says_that_its_database_is_gone_by_every_way_that_is_left(plant: CloudPlant, hook: Hook) -> None:
    plant.start()
    operator = {"Authorization": f"Bearer {(plant.home / 'secrets' / 'operator.token').read_text().strip()}"}
    body = {"person": "prometheus", "role": "viewer"}
    made = httpx.post(f"{plant.url}/v1/tokens", json=body, headers=operator, timeout=60).raise_for_status().json()

    def metrics(token: str = made["token"]) -> httpx.Response:
        return httpx.get(f"{plant.url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=60)

    before = metrics()
    assert of_metric(before.text, "plumbline_cloud_database_usable") == 1.0
    file = plant.home / "cloud.db"
    away = file.rename(plant.home / "away.db")
    (opened,) = wait_for(lambda: told(hook, "opened"))
    assert "moved away or deleted" in opened["what"] and opened["severity"] == "page"
    health = httpx.get(f"{plant.url}/healthz", timeout=60)
    assert health.status_code == 503 and "moved away or deleted" in health.json()["detail"]
    assert httpx.get(f"{plant.url}/livez", timeout=60).status_code == 200
    during = metrics()
    assert during.status_code == 200
    assert of_metric(during.text, "plumbline_cloud_database_usable") == 0.0
    assert of_metric(during.text, "plumbline_cloud_readable") == 0.0
    assert of_metric(during.text, "plumbline_cloud_database_away_seconds") > 0.0
    away.rename(file)
    wait_for(lambda: told(hook, "resolved"))
    wait_for(lambda: httpx.get(f"{plant.url}/healthz", timeout=60).status_code == 200)
    command = (
        sys.executable,
        "-m",
        "cloud",
        "alerts",
        "list",
        "--all",
        "--json",
        "--config",
        plant.home / "cloud.toml",
    )

    def listed() -> list[dict[str, Any]]:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        return [each for each in json.loads(said)["notices"] if "moved away" in each["what"]]

    assert len(wait_for(listed)) == 1
    assert plant.stop(signal.SIGTERM) == 0
    assert len(told(hook, "opened")) == len(told(hook, "resolved")) == 1


@pytest.mark.slow
def test_serve_that_cannot_open_its_database_tells_once_however_often_it_is_started(
    plant: CloudPlant, hook: Hook
) -> None:
    (plant.home / "cloud.db").write_bytes(b"no database at all" * 500)
    command = (sys.executable, "-m", "cloud", "serve", "--config", plant.home / "cloud.toml")
    for _ in range(3):
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 1 and "no usable database" in ended.stderr
        time.sleep(1.0)
    assert len(told(hook, "opened")) == 1 and len(hook.messages()) == 1
    (plant.home / "cloud.db").unlink()
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "moved away or deleted" in ended.stderr, "an empty one in its place says nothing"
    (plant.home / "database-outage.json").rename(plant.home / "kept.json")
    plant.start()
    plant.kill()
    (plant.home / "kept.json").rename(plant.home / "database-outage.json")
    plant.start()
    wait_for(lambda: told(hook, "resolved"))
    assert len(hook.messages()) == 2
