"""The local API of a station that runs as its own process, over real HTTP and the station's real database."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from PIL import Image

from agent.store.memory import put_fact
from tests.fakes.agent_line import image
from tests.fixtures_broker import free_port
from tests.station_process import Station, wait_for
from tests.tiny_bundle import model_bytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("station")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def station(folder: Path, port: int) -> Iterator[Station]:
    station = Station(folder, 1, extra=f"[api]\nport = {port}\nmax_body_mib = 1\n")
    station.start()
    wait_for(lambda: station.rows() > 100)
    yield station
    station.close()


@pytest.fixture
def api(station: Station, port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client


def png(level: int) -> bytes:
    body = io.BytesIO()
    Image.fromarray(image(level)).save(body, "PNG")
    return body.getvalue()


def test_a_station_at_work_is_healthy(api: httpx.Client) -> None:
    answer = api.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "station": "s1", "simulated": True})


def test_status_is_what_the_command_prints(api: httpx.Client, station: Station) -> None:
    shown, printed = api.get("/v1/status").json(), station.status()
    assert set(shown) == set(printed)
    for name in ("station", "bundle", "bundle_name", "boot", "simulated", "running", "source"):
        assert shown[name] == printed[name]


def test_a_decision_leads_back_to_its_model_artefact_and_thresholds(api: httpx.Client, station: Station) -> None:
    """P9."""
    newest = api.get("/v1/decisions", params={"limit": 1}).json()["decisions"][0]
    found = api.get(f"/v1/decisions/{newest['id']}").json()
    with sqlite3.connect(station.folder / "state/agent.sqlite") as connection:
        row = connection.execute(
            "SELECT part, verdict, cause, label, confidence, latency_ms, bundle FROM results WHERE id = ?",
            (newest["id"],),
        ).fetchone()
    connection.close()
    assert tuple(found[name] for name in ("part", "verdict", "cause", "label", "confidence", "latency_ms")) == row[:6]
    model = found["model"]
    assert model["bundle"] == row[6] == hashlib.sha256((station.folder / "tiny.plb").read_bytes()).hexdigest()
    assert (model["known"], model["name"], model["version"]) == (True, "tiny", "1")
    assert model["artefact"]["sha256"] == hashlib.sha256(model_bytes()).hexdigest()
    assert model["artefact"]["certain"] is True
    assert model["thresholds"] == {"pass_at": 0.5, "reject_at": 0.9, "method": "fixed"}
    assert set(model["lineage"]) == {"dataset", "recipe", "parent", "code", "gate"}
    assert found["asked_cloud"] is False


def test_decisions_are_found_by_part_newest_first(api: httpx.Client) -> None:
    part = api.get("/v1/decisions?limit=1").json()["decisions"][0]["part"]
    rows = api.get("/v1/decisions", params={"part": part}).json()["decisions"]
    assert rows and {row["part"] for row in rows} == {part}
    many = [row["id"] for row in api.get("/v1/decisions?limit=50").json()["decisions"]]
    assert len(many) == 50 and many == sorted(many, reverse=True)
    assert api.get("/v1/decisions", params={"part": "' OR 1=1 --"}).json()["decisions"] == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/decisions/999999999", 404),
        ("/v1/decisions/0", 404),
        ("/v1/decisions/9223372036854775808", 404),
        ("/v1/decisions/-1", 404),
        ("/v1/decisions/1%20OR%201", 404),
        ("/v1/decisions/..%2f..%2fetc%2fpasswd", 404),
        ("/v1/decisions?limit=0", 400),
        ("/v1/decisions?limit=1e3", 400),
        ("/v1/decisions?limit=100000", 400),
        ("/v1/decisions?prat=x", 400),
        ("/v1/decisions?part=" + "x" * 2000, 400),
        ("/v1/infer", 405),
        ("/nothing", 404),
    ],
)
def test_a_wrong_question_gets_its_reason(api: httpx.Client, path: str, code: int) -> None:
    answer = api.get(path)
    assert answer.status_code == code
    assert answer.json()["error"]


def test_an_image_is_judged_by_the_bundle_in_charge_and_not_recorded(api: httpx.Client, station: Station) -> None:
    bright, dark = (api.post("/v1/infer", content=png(level)) for level in (230, 20))
    assert (bright.status_code, dark.status_code) == (200, 200)
    assert (bright.json()["verdict"], dark.json()["verdict"]) == ("PASS", "REJECT")
    assert bright.json()["bundle"] == api.get("/v1/status").json()["bundle"]
    assert bright.json()["recorded"] is False
    blank = io.BytesIO()
    Image.new("L", (16, 16), 255).save(blank, "PNG")
    found = api.post("/v1/infer", content=blank.getvalue()).json()
    assert (found["verdict"], found["cause"]) == ("REVIEW", "blank_frame")


@pytest.mark.parametrize("body", [b"", b"no image", png(200)[:50], b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_bad_image_is_422_and_review(api: httpx.Client, body: bytes) -> None:
    answer = api.post("/v1/infer", content=body)
    assert (answer.status_code, answer.json()["verdict"], answer.json()["cause"]) == (422, "REVIEW", "bad_image")
    assert api.post("/v1/infer", content=png(230)).json()["verdict"] == "PASS"


def test_a_body_over_the_limit_is_refused_before_it_is_read(api: httpx.Client) -> None:
    assert api.post("/v1/infer", content=b"x" * ((1 << 20) + 1)).status_code == 413
    assert api.get("/healthz").status_code == 200


def test_metrics_agree_with_the_database(api: httpx.Client, station: Station) -> None:
    before = station.status()["captured"]
    text = api.get("/metrics").text
    values = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}
    frames = sum(value for name, value in values.items() if name.startswith("plumbline_frames_total{"))
    # The recorder commits up to a tenth of a second later than a frame is counted.
    wait_for(lambda: station.status()["captured"] >= frames)
    assert before <= frames
    assert values["plumbline_latency_seconds_count"] == frames
    assert values['plumbline_latency_seconds_bucket{le="+Inf"}'] == frames
    assert values["plumbline_simulated"] == 1
    assert values["plumbline_outbox_summaries"] > 0
    assert values["plumbline_outbox_bytes"] > values["plumbline_outbox_summaries"]
    assert values["plumbline_windows_total"] > 0
    assert values["plumbline_disk_free_bytes"] > 0
    assert "plumbline_update_state" not in text  # it follows no orders: that is not IDLE


def test_questions_and_images_do_not_make_the_line_late(api: httpx.Client, station: Station) -> None:
    until = time.monotonic() + 60.0
    rows, asked = station.rows(), 0
    while asked < 20 or station.rows() - rows < 300:
        assert time.monotonic() < until, "the line stands still while questions come"
        api.post("/v1/infer", content=png(230))
        api.get("/v1/status")
        api.get("/metrics")
        asked += 1
    assert station.status()["review_causes"].get("late", 0) == 0


def test_another_program_on_the_port_is_one_line(station: Station, port: int, tmp_path: Path) -> None:
    other = Station(tmp_path, 1, extra=f"[api]\nport = {port}\n")
    ran = subprocess.run(
        (sys.executable, "-m", "agent", "run", "--config", str(other.config)),
        capture_output=True,
        text=True,
        check=False,
    )
    other.close()
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("error: port") and "held by another program" in last
    assert "Traceback" not in ran.stderr


def test_doctor_looks_at_a_running_station_and_leaves_it_alone(station: Station, api: httpx.Client) -> None:
    boot = station.status()["boot"]
    ran = subprocess.run(
        (sys.executable, "-m", "agent", "doctor", "--config", str(station.config), "--json"),
        capture_output=True,
        check=False,
    )
    found = {check["name"]: check for check in json.loads(ran.stdout)["checks"]}
    assert ran.returncode == 1  # its broker is not there
    assert {name for name, check in found.items() if check["level"] == "FAIL"} == {"broker"}
    assert found["api"]["level"] == found["database"]["level"] == found["camera"]["level"] == "ok"
    assert "SIMULATED" in found["camera"]["found"]
    assert api.get("/healthz").status_code == 200 and station.status()["boot"] == boot


def test_a_station_without_a_bundle_answers_review(tmp_path: Path) -> None:
    port = free_port()
    bare = Station(tmp_path, 1, provisioned=False, extra=f"[api]\nport = {port}\n")
    bare.start()
    try:
        wait_for(lambda: bare.rows() > 0)
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/infer", content=png(230), timeout=60)
        assert (answer.status_code, answer.json()["verdict"], answer.json()["cause"]) == (503, "REVIEW", "no_model")
        found = httpx.get(f"http://127.0.0.1:{port}/v1/decisions/1", timeout=60).json()
        assert (found["verdict"], found["cause"], found["model"]) == ("REVIEW", "no_model", None)
        assert bare.end(signal.SIGTERM) == 0
    finally:
        bare.close()


@pytest.mark.slow
def test_while_a_drift_alarm_is_open_no_image_that_is_sent_passes(tmp_path: Path) -> None:
    port = free_port()
    fogged = Station(tmp_path, 1, extra=f"[api]\nport = {port}\n")
    try:
        fogged.start()
        wait_for(lambda: fogged.rows() > 0)
        assert fogged.end(signal.SIGTERM) == 0
        with closing(sqlite3.connect(tmp_path / "state/agent.sqlite", isolation_level=None)) as connection:
            put_fact(connection, "drift_alarm", "lens: sharpness -8 sd")
        before = fogged.rows()
        fogged.start()
        wait_for(lambda: fogged.rows() > before)
        bright, dark = (
            httpx.post(f"http://127.0.0.1:{port}/v1/infer", content=png(level), timeout=60).json()
            for level in (230, 20)
        )
        assert (bright["verdict"], bright["cause"], bright["label"]) == ("REVIEW", "drifted", "good")
        assert (dark["verdict"], dark["cause"]) == ("REJECT", "")
        assert fogged.end(signal.SIGTERM) == 0
    finally:
        fogged.close()
