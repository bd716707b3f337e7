"""The fleet page in a real Chromium, served by the real command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.messages import ReportedState, StationState
from tests.browser.chromium import HOW_TO_INSTALL, Chromium, find_chromium
from tests.fakes.cloud_plant import CloudPlant
from tests.fakes.cloud_tables import Tables, open_tables, received, summary

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason=HOW_TO_INSTALL),
]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudPlant]:
    """A fleet with a past."""
    made = CloudPlant(tmp_path_factory.mktemp("lively"))
    made.live_a_little()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def empty_plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudPlant]:
    """A fleet without a station, served to other machines too."""
    made = CloudPlant(tmp_path_factory.mktemp("empty"))
    config = made.home / "cloud.toml"
    config.write_text(config.read_text().replace('[api]\nhost = "127.0.0.1"', '[api]\nhost = "0.0.0.0"'))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    binary = find_chromium()
    assert binary is not None
    browser = Chromium(binary, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def tables(plant: CloudPlant) -> Iterator[Tables]:
    opened = open_tables(plant.home / "cloud.db")
    yield opened
    opened.database.close()


def _rows(browser: Chromium, table: str) -> list[list[str]]:
    cells = "[...row.cells].map(cell => cell.innerText)"
    script = f"[...document.querySelectorAll('.table-{table} tbody tr')].map(row => {cells})"
    rows: list[list[str]] = browser.run(script)
    return rows


def test_an_operator_sees_the_whole_fleet_at_a_glance(plant: CloudPlant, chromium: Chromium) -> None:
    chromium.said.clear()
    chromium.open(plant.url)
    text = chromium.wait_for("lens: sharpness -")
    assert "2 of 3 stations online · 1 open alarm · 3 parts waiting for an inspector, 1 labelled" in text
    assert "SIMULATED: line1, line2 have no camera; what they see is simulated." in text
    first, second, third = _rows(chromium, "stations")
    assert first[:9] == [
        "line1", "online", "v1", "within the enrolled range", "ROLLED_BACK: agreed on 41 % of frames",
        "1,280", "1,000", "160", "120",
    ]  # fmt: skip
    assert second[3].startswith("lens: sharpness -") and second[3].endswith("outputs unchanged")
    assert third[:4] == ["line3", "offline", "none yet", "enrolling: 0 of 24 windows"] and third[-1] == "never"
    (alarm,) = _rows(chromium, "alarms")
    assert alarm[1] == "line2" and alarm[3] == "open" and alarm[4].startswith("lens: sharpness -")
    assert [row[1:5] for row in _rows(chromium, "rollouts")] == [
        ["v2", "ABORTED", "line1 back, line2 skipped, line3 skipped", "line1: agreed on 41 % of frames"],
        ["v1", "DONE", "line1 committed, line2 committed", "every wave is committed"],
    ]
    acts = [row[3] for row in _rows(chromium, "acts")]
    assert acts[:2] == ["label", "drift alarm"] and "abort" in acts
    assert chromium.said == []


@pytest.mark.parametrize("width", [1400, 1100])
def test_nothing_runs_out_of_the_window_sideways(plant: CloudPlant, chromium: Chromium, width: int) -> None:
    chromium._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    chromium.open(plant.url)
    chromium.wait_for("lens: sharpness -")
    assert chromium.run("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('.q-table__middle')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert chromium.run(wide) == 0


def test_the_page_follows_the_fleet_without_a_reload(plant: CloudPlant, chromium: Chromium, tables: Tables) -> None:
    chromium.open(plant.url)
    chromium.wait_for("2 of 3 stations online")
    tables.stations.commit([StationState("line3", "b", True, 0.0)], [], time.time())
    tables.summaries.commit(received(summary("line3", 1, passed=4321), at=time.time()), [])
    text = chromium.wait_for("4,321")
    assert "3 of 3 stations online" in text


def test_who_was_never_added_is_named_with_what_to_do(plant: CloudPlant, chromium: Chromium, tables: Tables) -> None:
    chromium.open(plant.url)
    chromium.wait_for("stations online")
    assert "without having been added" not in chromium.text()
    tables.summaries.commit(received(summary("ghost", 1), at=time.time()), [])
    text = chromium.wait_for("ghost speaks on the broker without having been added")
    assert "plumbline-cloud station add NAME" in text


def test_what_a_station_says_is_text_and_never_markup(plant: CloudPlant, chromium: Chromium, tables: Tables) -> None:
    chromium.open(plant.url)
    evil = "<img src=x onerror=\"document.title='owned'\"> {{ 6*7 }} </td><b>bold</b>"
    tables.stations.commit([], [ReportedState("line3", "b", 0.0, "f" * 64, "IDLE", reason=evil)], time.time())
    tables.audit.append(time.time(), evil, "act", evil)
    chromium.wait_for(evil)
    assert chromium.run("document.querySelectorAll('td img, td b').length") == 0
    assert chromium.run("document.title") == "Fleet · Plumbline"


def test_the_server_ends_when_told_and_its_log_has_no_traceback(plant: CloudPlant, tmp_path: Path) -> None:
    # Before the test that takes a table away: its faults are in the log, as they should be.
    assert plant.stop() in (0, 130)  # 0 where the shell that started us ignores SIGINT, as for a job in the background
    log = plant.log.read_text()
    plant.start()
    assert "Traceback" not in log and "Warning" not in log, log


def test_the_page_says_when_the_data_cannot_be_read_and_recovers(
    plant: CloudPlant, chromium: Chromium, tables: Tables
) -> None:
    chromium.open(plant.url)
    chromium.wait_for("lens: sharpness -")
    with tables.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE samples RENAME TO samples_away")
    try:
        text = chromium.wait_for("The fleet's data cannot be read; what is below may be old.")
        assert "no such table: samples" in text and "lens: sharpness -" in text
    finally:
        with tables.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE samples_away RENAME TO samples")
    until = time.monotonic() + 90
    while "cannot be read" in chromium.text():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_an_empty_fleet_says_what_to_do_first(empty_plant: CloudPlant, chromium: Chromium) -> None:
    chromium.open(f"{empty_plant.url}/sign-in?next=/")
    chromium.wait_for("Your token")
    token = (empty_plant.home / "secrets" / "operator.token").read_text().strip()
    chromium.run(f"document.getElementById('token').value = '{token}'; document.forms[0].submit()")
    text = chromium.wait_for("plumbline-cloud station add NAME")
    assert "No alarm so far." in text and "No rollout so far" in text and "operator\tsign in" in text
    assert "SIMULATED" not in text and "cannot be read" not in text
    chromium.open("about:blank")


def test_off_loopback_nobody_sees_the_page_without_the_token(empty_plant: CloudPlant) -> None:
    page = httpx.get(empty_plant.url + "/").text
    assert "sign in as one of: viewer, engineer, releaser, admin" in page and "station add" not in page
    assert httpx.get(empty_plant.url + "/healthz").status_code == 200


def test_the_headline_tells_what_inspectors_disagree_on(plant: CloudPlant, chromium: Chromium, tables: Tables) -> None:
    chromium.open(plant.url)
    chromium.wait_for("3 parts waiting for an inspector, 1 labelled")
    (labelled,) = [name for name, acts in tables.samples.labels.all().items() if acts]
    tables.samples.label(labelled, "quite another", "a second inspector", time.time())
    headline = chromium.wait_for("(1 because two people disagree)")
    assert "4 parts waiting for an inspector (1 because two people disagree), 0 labelled" in headline
