"""deploy/observability: every metric that rules, dashboards and docs name is exposed by a real server and a real station."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.promql import names_in
from tests.fakes.cloud_plant import CloudPlant
from tests.fixtures_broker import ROOT, free_port, start_broker
from tests.station_process import Station

HERE = ROOT / "deploy" / "observability"
BOARDS = sorted((HERE / "grafana" / "dashboards").glob("*.json"))
HOW = "THE ALERT RULES ARE NOT TESTED: no promtool (apt-get install prometheus prometheus-alertmanager, or ./scripts/promtool)"
# What a station has only where a part of it is there: a broker, orders, other models, heat that can be read, a cloud that answered.
SOMETIMES = {
    "plumbline_hottest_celsius", "plumbline_hottest_trip_celsius", "plumbline_model_loaded", "plumbline_update_state",
    "plumbline_acknowledged_timestamp_seconds", "plumbline_power_watts", "plumbline_rail_watts", "plumbline_supply_events_total",
    "plumbline_gpu_load", "plumbline_disk_worn", "plumbline_disk_written_bytes_total", "plumbline_memory_available_bytes",
    "plumbline_memory_stalled",
}  # fmt: skip


def tool(name: str) -> str:
    """Return a program of Prometheus; where there is none it says so loudly, and in CI fails."""
    own = ROOT / ".venv" / "prometheus" / "usr" / "bin" / name
    found = shutil.which(name) or (str(own) if own.exists() else None)
    if found is None:
        assert not os.environ.get("CI"), HOW
        print(f"\n*** {HOW} ***", file=sys.__stderr__)
        pytest.skip(HOW)
    return found


def families(text: str) -> dict[str, str]:
    """Return what each exposed family says of itself, by the name that its samples have in PromQL."""
    found: dict[str, str] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = family.documentation
        if family.type == "histogram":
            found |= dict.fromkeys((f"{name}_bucket", f"{name}_sum", f"{name}_count"), family.documentation)
    return found


def measured(text: str) -> set[str]:
    """Return the names of families of which there is a figure."""
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return what a real server with a past and a real station with a broker answer; both have ended since."""
    folder = tmp_path_factory.mktemp("exposed")
    broker = start_broker(folder / "broker")
    plant = CloudPlant(folder)
    config = plant.home / "cloud.toml"
    config.write_text(config.read_text().split("[broker]")[0] + f"[broker]\nport = {broker.port}\n")
    plant.live_a_little()
    plant.start()
    (folder / "station").mkdir()
    port = free_port()
    plc = f'[plc]\nkind = "modbus"\nport = {free_port()}\ntriggers = false\n'
    station = Station(folder / "station", broker.port, extra=f"{plc}[api]\nport = {port}\n")
    station.start()
    try:
        token = (plant.home / "secrets" / "operator.token").read_text().strip()
        cloud = httpx.get(f"{plant.url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=60)
        assert cloud.status_code == 200, cloud.text
        return cloud.text, _scraped(f"http://127.0.0.1:{port}/metrics")
    finally:
        station.end(signal.SIGTERM)
        station.log.close()
        plant.stop()
        broker.kill()


@pytest.fixture(scope="module")
def exposed(scraped: tuple[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what each says of the families that it exposes."""
    return families(scraped[0]), families(scraped[1])


def _scraped(url: str) -> str:
    """Return what a station says once it has decided on frames."""
    until = time.monotonic() + 90.0
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            text = httpx.get(url, timeout=30).text
            if "plumbline_frames_total{" in text:
                return text
        time.sleep(0.1)
    raise AssertionError("the station does not answer")


def rules() -> list[dict[str, Any]]:
    files = sorted((HERE / "rules").glob("*.yml"))
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """Return every expression of rules and dashboards, by where it stands."""
    found = {f"rule {rule.get('alert') or rule['record']}": rule["expr"] for rule in rules()}
    for file in BOARDS:
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                found[f"{file.stem}: {panel['title']} {target['refId']}"] = target["expr"]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                found[f"{file.stem}: ${variable['name']}"] = variable["definition"]
    return found


def test_every_metric_that_is_named_is_exposed(exposed: tuple[dict[str, str], dict[str, str]]) -> None:
    cloud, station = exposed
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    known = {*cloud, *station, *recorded, *SOMETIMES, "up", "ALERTS", "site", "station"}
    unknown = {where: missing for where, text in expressions().items() if (missing := names_in(text) - known)}
    assert unknown == {}
    assert len(expressions()) > 100


def test_what_is_named_has_figures_on_a_server_with_a_past(scraped: tuple[str, str]) -> None:
    named = {name for text in expressions().values() for name in names_in(text)} & families(scraped[0]).keys()
    # There is no rollout under way, no retrain, nobody to tell, and no certificate on this plant.
    not_here = {
        "plumbline_cloud_rollout_wave", "plumbline_cloud_rollout_held", "plumbline_cloud_rollout_stations",
        "plumbline_cloud_rollout_failures", "plumbline_cloud_rollout_failure_limit", "plumbline_cloud_notice_posts",
        "plumbline_cloud_notice_posts_waiting", "plumbline_cloud_certificate_end_timestamp_seconds",
        "plumbline_cloud_retrains",
    }  # fmt: skip
    assert named - measured(scraped[0]) - not_here == set(), "a rule or a board that can never show anything"


def documented() -> dict[str, str]:
    text = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    return dict(re.findall(r"^\| `([a-z_]+)` \| (.+?) \|$", text, re.MULTILINE))


def test_docs_name_what_is_exposed_and_nothing_else(exposed: tuple[dict[str, str], dict[str, str]]) -> None:
    cloud, station = exposed
    real = {
        name: what for name, what in (cloud | station).items() if not re.search(r"_(bucket|sum|count|created)$", name)
    }
    told = documented()
    assert real.keys() - told.keys() == set(), "exposed, and not in docs/metrics.md"
    assert told.keys() - real.keys() - SOMETIMES == set(), "in docs/metrics.md, and not exposed"
    assert {name: told[name] for name in real} == real, "the words differ"


def test_names_say_what_they_are(exposed: tuple[dict[str, str], dict[str, str]]) -> None:
    cloud, station = exposed
    assert all(name.startswith("plumbline_cloud_") for name in cloud), cloud.keys()
    assert all(name.startswith(("plumbline_", "process_")) for name in station)
    # A station asks the cloud, and counted it so before the cloud had metrics; no other name is both's.
    assert set(cloud) & set(station) == set()


def test_promtool_accepts_the_rules_and_the_config(tmp_path: Path) -> None:
    promtool = tool("promtool")
    for words in (["check", "rules", *map(str, (HERE / "rules").glob("*.yml"))],):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    copy = tmp_path / "prometheus"
    shutil.copytree(HERE, copy)
    (copy / "secrets").mkdir()
    for name in ("cloud.token", "station.token"):
        (copy / "secrets" / name).write_text("a token")
    done = subprocess.run([promtool, "check", "config", str(copy / "prometheus.yml")], capture_output=True, text=True)
    assert done.returncode == 0 and "rules found" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_alerts_ring_when_they_should() -> None:
    file = HERE / "rules-tests" / "alerts_test.yml"
    done = subprocess.run([tool("promtool"), "test", "rules", str(file)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def test_amtool_accepts_who_is_told_and_pages_go_to_the_pager() -> None:
    amtool, file = tool("amtool"), str(HERE / "alertmanager.yml")
    done = subprocess.run([amtool, "check-config", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    for severity, receiver in (("page", "pager"), ("ticket", "tickets")):
        words = (amtool, "config", "routes", "test", f"--config.file={file}", f"severity={severity}")
        assert subprocess.run(words, capture_output=True, text=True, timeout=60).stdout.strip() == receiver


def test_each_alert_says_how_soon_what_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 35
    for rule in alerts:
        assert rule["alert"].startswith("Plumbline") and rule["labels"].keys() == {"severity", "topic"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        notes = rule["annotations"]
        assert notes.keys() == {"summary", "description", "runbook_url"} and all(notes.values())
        assert re.fullmatch(r"\{\{ \$externalLabels\.runbooks \}\}#[a-z-]+", notes["runbook_url"]), rule["alert"]
    tested = set(re.findall(r"alertname: (\w+)", (HERE / "rules-tests" / "alerts_test.yml").read_text()))
    assert len(tested) >= 15 and tested <= {rule["alert"] for rule in alerts}


def test_what_inhibits_names_alerts_and_topics_that_there_are() -> None:
    config = yaml.safe_load((HERE / "alertmanager.yml").read_text())
    alerts = {rule["alert"]: rule["labels"]["topic"] for rule in rules() if "alert" in rule}
    text = json.dumps(config["inhibit_rules"])
    assert set(re.findall(r"Plumbline\w+", text)) <= alerts.keys()
    topics = {word for found in re.findall(r'topic=~?\\"([a-z|]+)\\"', text) for word in found.split("|")}
    assert topics and topics <= set(alerts.values())


@pytest.mark.parametrize("file", BOARDS, ids=lambda path: path.stem)
def test_dashboards_are_whole(file: Path) -> None:
    board = json.loads(file.read_text())
    assert board["schemaVersion"] >= 39 and board["uid"] == f"plumbline-{file.stem}" and board["title"]
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) >= 10
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["title"] and panel["description"] and panel["targets"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}" and panel["fieldConfig"]["defaults"]["unit"]
        assert all(
            target["expr"].strip() and target["datasource"]["uid"] == "${datasource}" for target in panel["targets"]
        )
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        used = {name for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])}
        assert used <= variables.keys()


def test_dashboards_have_ids_of_their_own_and_are_provisioned() -> None:
    assert [file.stem for file in BOARDS] == ["debug", "executive", "on-call"]
    provider = yaml.safe_load((HERE / "grafana/provisioning/dashboards/plumbline.yml").read_text())["providers"][0]
    compose = yaml.safe_load((ROOT / "deploy" / "compose.observability.yaml").read_text())
    mounts = [volume.split(":") for volume in compose["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in {parts[1] for parts in mounts}
    for service in compose["services"].values():
        assert service["cap_drop"] == ["ALL"] and service["read_only"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "nothing is open to the plant unasked"
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or source.startswith("$") or (ROOT / "deploy" / source).exists()


def test_stations_are_found_by_file() -> None:
    config = yaml.safe_load((HERE / "prometheus.yml").read_text())
    (job,) = [each for each in config["scrape_configs"] if each["job_name"] == "plumbline-station"]
    assert job["file_sd_configs"] == [{"files": ["stations/*.json"]}]
    example = json.loads((HERE / "stations" / "example.json").read_text())
    assert all(entry["targets"] and entry["labels"].keys() == {"station", "site"} for entry in example)
