"""What people do to one station from its page: who may, what is told, and what a page left open can no longer do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from nicegui import ui
from playwright.sync_api import Page, expect

from cloud.api.auth import Person, Role
from cloud.dashboard.shell import COOKIE, Shell
from cloud.dashboard.station_page import StationActs, StationReads, station_page
from cloud.store.certificates import CertificateRow, Certificates
from cloud.store.station_history import StationHistory
from contract.errors import RefusedError
from contract.messages import Accounting, Header, HealthNote, Summary
from contract.sketches.wire import to_wire
from tests.browser.choosing import choose
from tests.browser.conftest import serve_pages
from tests.cloud.drift.conftest import StationLine
from tests.fakes.big_fleet import fill, fleet_source
from tests.fakes.cloud_tables import Tables, open_tables, received

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
DONE: list[tuple[str, str, str, str]] = []
PEOPLE: dict[str, Person] = {}


@pytest.fixture(autouse=True)
def people() -> None:
    DONE.clear()
    PEOPLE.update({role.value: Person(f"{role.value} anna", role) for role in Role})


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tables = open_tables(Path(tmp_path_factory.mktemp("acts")) / "cloud.db")
    now = time.time()
    names = fill(tables, 3, now)
    _windows(tables, names[1])
    Certificates(tables.database).record(
        CertificateRow("ab12", "station", names[1], "ca", "k", now - 9e6, now + 5 * 86_400, now - 9e6), "operator"
    )
    app, shell = FastAPI(), Shell(PEOPLE.get, open_to_look=False)

    def stop(station: str, who: str, why: str) -> None:
        if why == "refuse":
            raise RefusedError("it is being recalled", hint="wait for the rollout")
        DONE.append(("stop", station, who, why))

    reads = StationReads(
        status=tables.stations.one,
        history=StationHistory(tables.database),
        drift=lambda _: [],
        accuracy=lambda _: "",
        baseline=lambda _: None,
        labels=lambda _: ("good", "<b>scratch</b>"),
    )
    acts = StationActs(lambda *told: DONE.append(("re-enrol", *told)), stop)
    station_page(shell, fleet_source(tables, names, names[:1]), reads, acts)
    ui.run_with(app, show_welcome_message=False, reconnect_timeout=0.2)
    yield from serve_pages(app)
    tables.database.close()


def _windows(tables: Tables, station: str) -> None:
    line, now = StationLine(station), time.time()
    for number, camera in enumerate(("left", "right") * 5):
        line.at = now - 1800.0 * (10 - number)
        r = line.record()
        header = Header(r.station, r.boot, r.seq, r.started_at, r.ended_at, 0.0, True, "1" * 64, camera=camera)
        health = HealthNote(memory_mib=120.0, hottest_c=61.0, limit_c=95.0, rung=2, disk_free_mib=5000)
        told = Summary(header, Accounting(captured=32, passed=30, rejected=2), to_wire(r.window), health=health)
        tables.summaries.commit(received(told, at=r.ended_at), [])


@pytest.mark.slow
def test_an_engineer_has_a_camera_learnt_anew_with_a_reason(url: str, open_page: Open) -> None:
    page = open_page(f"{url}/station/line00001", {COOKIE: "engineer"})
    expect(page.get_by_text("5 windows in the last day")).to_be_visible()
    page.get_by_role("button", name="Learn its normal anew").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Learn the normal of the camera 'left' of line00001 anew?")
    dialog.get_by_label("Reason").fill("new lamp")
    dialog.get_by_role("button", name="Learn anew").dblclick()
    expect(page.get_by_text("the camera 'left' of line00001 learns its normal anew.")).to_be_visible()
    assert DONE == [("re-enrol", "line00001/left", "engineer anna", "new lamp")]


@pytest.mark.slow
def test_stopping_asks_why_and_a_refusal_is_told_with_what_to_do(url: str, open_page: Open) -> None:
    page = open_page(f"{url}/station/line00002", {COOKIE: "releaser"})
    expect(page.get_by_role("button", name="Learn its normal anew")).to_have_count(0)
    for reason in ("refuse", "a finger in the belt"):
        page.get_by_role("button", name="Stop this station").click()
        page.get_by_label("Reason").fill(reason)
        page.get_by_role("button", name="Stop it").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("line00002 was ordered to stop")).to_be_visible()
    assert DONE == [("stop", "line00002", "releaser anna", "a finger in the belt")]
    page.get_by_role("button", name="Stop this station").click()
    page.get_by_label("Reason").fill("refuse")
    page.get_by_role("button", name="Stop it").click()
    expect(page.get_by_text("It was not done: it is being recalled")).to_contain_text("wait for the rollout")


def test_a_viewer_can_do_nothing(url: str, open_page: Open) -> None:
    page = open_page(f"{url}/station/line00001", {COOKIE: "viewer"})
    expect(page.get_by_text("5 windows in the last day")).to_be_visible()
    for name in ("Stop this station", "Learn its normal anew"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_who_loses_the_right_while_the_dialog_is_open_does_nothing_any_more(url: str, open_page: Open) -> None:
    page = open_page(f"{url}/station/line00001", {COOKIE: "admin"})
    page.get_by_role("button", name="Stop this station").click()
    page.get_by_label("Reason").fill("too late")
    PEOPLE["admin"] = Person("admin anna", Role.VIEWER)
    page.get_by_role("button", name="Stop it").click()
    told = page.get_by_text("It was not done: to pause and abort rollouts, and stop stations")
    expect(told).to_contain_text("sign in as one of: engineer, releaser, admin")
    assert DONE == []


def test_the_page_tells_what_the_station_sees_answers_takes_and_how_it_fares(url: str, open_page: Open) -> None:
    page = open_page(f"{url}/station/line00001", {COOKIE: "viewer"})
    expect(page.get_by_text("It is still learning its normal.")).to_be_visible()
    expect(page.get_by_text("Last told: 61 °C of 95, 120 MiB of memory, step 2 of the degrade ladder")).to_be_visible()
    expect(page.get_by_text("93.8% pass, 6.2% reject, 0.0% review")).to_be_visible()
    expect(page.get_by_text("Of late half of the frames took up to")).to_be_visible()
    expect(page.get_by_text("<b>scratch</b>", exact=False).first).to_be_visible()
    expect(page.locator(".pl-facts")).to_contain_text("5 days")
    expect(page.locator(".pl-facts")).to_contain_text("COMMITTED: it keeps its bundle")
    choose(page, page.get_by_role("combobox", name="Camera"), "right")
    choose(page, page.get_by_role("combobox", name="Time shown"), "the last 6 hours")
    expect(page.get_by_text("5 windows in the last 6 hours")).to_be_visible()
    choose(page, page.get_by_role("combobox", name="Statistic"), "grain")
    expect(page.get_by_text("Half of the frames have a grain below")).to_be_visible()
