"""The real server whose database goes while it runs, and before it starts: what it answers, and who is told."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud.__main__ import main
from cloud.api.answers import UNUSABLE
from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.hook import Hook


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
def test_serve_says_that_its_database_is_gone_by_every_way_that_is_left(
    plant: CloudPlant, hook: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert httpx.get(f"{plant.url}/healthz", timeout=60).json() == {"detail": UNUSABLE}
    health = httpx.get(f"{plant.url}/healthz", headers=operator, timeout=60)
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
    listing = ["alerts", "list", "--all", "--json", "--config", str(plant.home / "cloud.toml")]

    def listed() -> list[dict[str, Any]]:
        capsys.readouterr()
        assert main(listing) == 0
        notices = json.loads(capsys.readouterr().out)["notices"]
        return [each for each in notices if each["need"]["key"] == "database"]

    assert len(wait_for(listed)) == 1
    assert plant.stop(signal.SIGTERM) == 0
    assert len(told(hook, "opened")) == len(told(hook, "resolved")) == 1


@pytest.mark.usefixtures("logging_as_before")
def test_serve_that_cannot_open_its_database_tells_once_however_often_it_is_started(
    plant: CloudPlant, hook: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    database, told_file, config = (plant.home / name for name in ("cloud.db", "database-outage.json", "cloud.toml"))
    database.write_bytes(b"no database at all" * 500)
    serve = ["serve", "--config", str(config)]
    wait_for(lambda: main(serve) == 1 and hook.taken)
    for _ in range(3):
        assert main(serve) == 1
    assert len(told(hook, "opened")) == 1 and len(hook.messages()) == 1
    assert "no usable database" in capsys.readouterr().err
    database.unlink()
    assert main(serve) == 1
    assert "moved away or deleted" in capsys.readouterr().err, "an empty one in its place would say nothing"
    assert not database.exists() and told_file.exists()
    config.write_text(config.read_text().replace(f'"{hook.url}"', '"file:not/there"'))
    assert main(serve) == 1
    assert "moved away or deleted" in capsys.readouterr().err, "a channel that cannot be told hides nothing"
